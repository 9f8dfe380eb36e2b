"""Sources become notebooks: the same every time, with nothing leaking into the student's one."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest

from auxlib.errors import CourseError
from course.build import STUB, build, check, generate, student, without_solution
from course.config import Course
from course.outputs import MAX_IMAGE_KB, with_outputs
from tests.course.conftest import ECHO, HEAD, MakeCourse

SECRET = "forty_two"
SOLVED = f"""{HEAD}# %%
def answer(x: int) -> int:
    '''The answer.'''
    # SOLUTION
    {SECRET} = 42
    return {SECRET}
    # END


def other() -> None:
    pass


# %% tags=["solution"]
print("{SECRET}", answer(1))

# %% [markdown] tags=["solution"]
# The trick is {SECRET}.

{ECHO}"""


@pytest.fixture
def course(make_course: MakeCourse, tmp_path: Path) -> Course:
    return make_course(tmp_path, {"00_a": HEAD + ECHO, "01_b": SOLVED})


def _handout(course: Course, slug: str) -> Path:
    return course.folder / "assignments" / f"{slug}.ipynb"


def _executed(notebook: nbformat.NotebookNode, data: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook as papermill leaves it: an injected cell, counts that skip, timings and widget state."""
    done = nbformat.from_dict(notebook)
    done.metadata.papermill, done.metadata.widgets = {"duration": 1.5}, {"state": {}}
    injected = nbformat.v4.new_code_cell("STEPS = 9", metadata={"tags": ["injected-parameters"]}, execution_count=2)
    done.cells.insert(2, injected)
    for count, cell in enumerate((cell for cell in done.cells if cell.cell_type == "code"), 1):
        cell.execution_count, cell.metadata.execution = count, {"iopub.status.busy": "now"}
    result = nbformat.v4.new_output("execute_result", data=data, execution_count=count)
    cell.outputs = [nbformat.v4.new_output("stream", text="profile: quick\n"), result]
    return done


def test_building_twice_gives_the_same_bytes(course: Course) -> None:
    before = {path: path.read_bytes() for path in course.folder.rglob("*.ipynb")}
    build(course, course.notebooks)
    assert before == {path: path.read_bytes() for path in course.folder.rglob("*.ipynb")}
    assert check(course, course.notebooks) == []


def test_ids_differ_between_cells_and_notebooks_and_ignore_the_text(course: Course) -> None:
    first = [cell.id for cell in generate(course, course.notebooks[0]).cells]
    others = [cell.id for cell in generate(course, course.notebooks[1]).cells]
    assert len({*first, *others}) == len(first) + len(others)
    course.source("00_a").write_text(HEAD + ECHO.replace("profile", "another text"))
    assert [cell.id for cell in generate(course, course.notebooks[0]).cells] == first


def test_the_header_comes_from_the_table_and_holds_the_only_h1(course: Course) -> None:
    top = generate(course, course.notebooks[0]).cells[0].source
    assert top.startswith("# The title of 00_a\n")
    assert top.count("\n# ") == 0
    assert "do one thing" in top
    assert "5 minutes" in top


def test_a_source_without_header_cell_or_without_file_is_an_error(course: Course) -> None:
    course.source("00_a").write_text(ECHO)
    with pytest.raises(CourseError, match=r"00_a\.py: expected one cell.*header.*found 0"):
        generate(course, course.notebooks[0])
    course.source("00_a").unlink()
    with pytest.raises(CourseError, match=r"00_a\.py is missing"):
        generate(course, course.notebooks[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda nb: nb.cells[2].update(source="print(1)"), "source differs"),
        (lambda nb: nb.cells[2].update(id="12345678"), "id differs"),
        (lambda nb: nb.cells[2].metadata.update(tags=[]), "tags differs"),
        (lambda nb: nb.cells.pop(), "2 cells, expected 3"),
        (lambda nb: nb.metadata.pop("kernelspec"), "its kernel is not python3"),
    ],
)
def test_check_bites_after_a_deliberate_edit(course: Course, change, said: str) -> None:
    path = course.built("00_a")
    notebook = nbformat.read(path, 4)
    change(notebook)
    nbformat.write(notebook, path)
    (line,) = check(course, course.notebooks)
    assert said in line
    assert "00_a.ipynb" in line


def test_check_reports_missing_stale_and_stray_files_and_ignores_outputs(course: Course) -> None:
    row = course.notebooks[0]
    nbformat.write(_executed(generate(course, row), {"text/plain": "1"}), course.built("00_a"))
    assert len(check(course, [row])) > 0, "an injected cell does not belong into a committed notebook"
    build(course, [row])
    assert check(course, [row]) == []
    _handout(course, "00_a").write_text("")
    build(course, [row])
    assert not _handout(course, "00_a").exists(), "nothing to solve, nothing to hand out"
    _handout(course, "00_a").write_text(course.built("00_a").read_text())
    course.built("01_b").unlink()
    course.source("00_a").with_name("05_stray.py").write_text("")
    assert [line.split("/")[-1] for line in check(course, course.notebooks)] == [
        "00_a.ipynb should not exist",
        "01_b.ipynb is missing",
        "05_stray.py is not in course.toml",
    ]


def test_no_trace_of_a_solution_reaches_the_student(course: Course) -> None:
    assert SECRET in course.built("01_b").read_text()
    text = _handout(course, "01_b").read_text()
    assert SECRET not in text
    assert "# SOLUTION" not in text
    assert "# END" not in text
    handed_out = nbformat.read(_handout(course, "01_b"), 4)
    assert all(not cell.outputs and cell.execution_count is None for cell in handed_out.cells if "outputs" in cell)


def test_an_unsolved_notebook_still_runs_and_keeps_the_ids_of_the_worked_one(course: Course) -> None:
    worked = generate(course, course.notebooks[1])
    handed_out = student(worked, "01_b")
    space: dict = {}
    exec("\n".join(cell.source for cell in handed_out.cells if cell.cell_type == "code"), space)
    assert space["answer"](1) is None
    assert f"    {STUB}" in handed_out.cells[2].source
    assert {cell.id for cell in handed_out.cells} < {cell.id for cell in worked.cells}


def test_a_notebook_without_exercises_has_no_student_twin(course: Course) -> None:
    assert not _handout(course, "00_a").exists()


@pytest.mark.parametrize("source", ["# SOLUTION\n1", "1\n# END", "# SOLUTION\n# SOLUTION\n# END"])
def test_unbalanced_markers_are_refused_before_anything_leaks(source: str) -> None:
    with pytest.raises(CourseError, match="without"):
        without_solution(source, "here")


def test_outputs_of_a_run_are_kept_without_its_noise(course: Course) -> None:
    row = course.notebooks[0]
    image = base64.b64encode(b"x" * (MAX_IMAGE_KB * 1000 + 900)).decode()
    widget = "application/vnd.jupyter.widget-view+json"
    data = {"text/plain": "<Figure>", "image/png": image, widget: {"model_id": "1"}}
    kept = with_outputs(generate(course, row), _executed(generate(course, row), data))
    assert set(kept.metadata) == {"kernelspec", "language_info"}
    assert [cell.execution_count for cell in kept.cells if cell.cell_type == "code"] == [1, 2]
    assert all(set(cell.metadata) <= {"tags"} for cell in kept.cells)
    stream, result = kept.cells[-1].outputs
    assert stream.text == "profile: quick\n"
    assert result.data == {"text/plain": "<Figure>"}
    assert result.execution_count == 2
    small = with_outputs(generate(course, row), _executed(generate(course, row), {"image/png": image[:1000]}))
    assert "image/png" in small.cells[-1].outputs[1].data


def test_outputs_survive_a_change_of_prose_and_go_with_a_change_of_code(course: Course, tmp_path: Path) -> None:
    row = course.notebooks[0]
    run = tmp_path / "run"
    run.mkdir()
    nbformat.write(_executed(generate(course, row), {"text/plain": "1"}), run / "00_a.ipynb")
    build(course, [row], executed=run)
    course.source("00_a").write_text(HEAD + "# %% [markdown]\n# More prose.\n\n" + ECHO)
    build(course, [row])
    assert nbformat.read(course.built("00_a"), 4).cells[-1].outputs
    course.source("00_a").write_text(HEAD + ECHO + "print(STEPS)")
    build(course, [row])
    assert not nbformat.read(course.built("00_a"), 4).cells[-1].outputs
