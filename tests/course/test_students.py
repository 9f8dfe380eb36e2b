"""Four students go through the assignments: blank, half, classic and complete. Each reaches the end and its points.

They run under the profile ``brief``, as many at a time as there are cores. Half and classic share the notebooks out
between them, which saves minutes. The complete one is the worked notebook: if the last quick run executed these very
sources, its marks are read there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from auxlib.data.assets import asset_path
from course.build import generate, student
from course.classroom.grade import Score
from course.config import Notebook, load_course, load_profile
from course.execute import check_parameters, execute, in_own_process
from course.outputs import check_executed, tags
from tests.course.exercises.bank import planted
from tests.course.printed_marks import score

COURSE = load_course()
BRIEF = load_profile(COURSE, "brief")
Sit = Callable[[Notebook, str], Score]


def goes(name: str, every: int = 1, start: int = 0) -> pytest.MarkDecorator:
    """Send a student through the notebooks that have exercises: all of them, or every second."""
    chosen = [row for row in COURSE.notebooks if row.exercises][start::every]
    rows = [pytest.param(row, name, id=row.slug) for row in chosen]
    return pytest.mark.parametrize(("row", "name"), rows)


def worked(row: Notebook) -> dict[str, str]:
    """The solutions in the worked notebook, by exercise id."""
    cells = [(tag, cell.source) for cell in generate(COURSE, row).cells for tag in tags(cell)]
    return {tag.removeprefix("exercise:"): source for tag, source in cells if tag.startswith("exercise:")}


def half(row: Notebook) -> dict[str, str]:
    """The solutions to the first half of the exercises."""
    solved = [exercise.id for exercise in row.exercises[: (len(row.exercises) + 1) // 2]]
    return {id: source for id, source in worked(row).items() if id in solved}


def classic(row: Notebook) -> dict[str, str]:
    """The first planted answer to each exercise."""
    ids = {exercise.id for exercise in row.exercises}
    return {answer.exercise: answer.source for answer in reversed(planted()) if answer.exercise in ids}


STUDENTS: dict[str, Callable[[Notebook], dict[str, str]]] = {
    "blank": lambda row: {},
    "half": half,
    "classic": classic,
    "complete": worked,
}


@pytest.fixture(scope="module")
def sit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sit]:
    """The score of a student on a notebook. What the collected tests will ask for is begun at once."""
    sittings: dict[tuple[str, str], Future[Score]] = {}
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = [(item.callspec.params["row"], item.callspec.params["name"]) for item in items]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, name in asked:
            if name != "complete" or last_run(row, COURSE.build_dir("quick")) is None:
                folder = tmp_path_factory.mktemp(f"{name}-{row.number:02d}")
                sittings[row.slug, name] = pool.submit(_sit, row, STUDENTS[name](row), folder)
        yield lambda row, name: sittings[row.slug, name].result()
        pool.shutdown(cancel_futures=True)


@goes("blank")
def test_a_blank_assignment_runs_to_its_end_and_is_worth_nothing(row: Notebook, name: str, sit: Sit) -> None:
    found = sit(row, name)
    assert found.points == 0
    assert [mark.says for mark in found.marks] == ["not attempted yet."] * len(row.exercises)
    assert not any(mark.attempted for mark in found.marks)


@goes("half", every=2)
def test_half_of_the_answers_bring_exactly_their_points(row: Notebook, name: str, sit: Sit) -> None:
    found, solved = sit(row, name), half(row)
    assert [mark.id for mark in found.marks if mark.passed] == list(solved)
    assert found.points == sum(exercise.points for exercise in row.exercises if exercise.id in solved)
    assert not any(mark.attempted for mark in found.marks[len(solved) :])


@goes("classic", every=2, start=1)
def test_the_classic_mistakes_are_worth_nothing_and_each_is_named(row: Notebook, name: str, sit: Sit) -> None:
    found = sit(row, name)
    expected = {answer.exercise: answer.says for answer in reversed(planted())}
    assert found.points == 0
    assert len({mark.says for mark in found.marks}) == len(row.exercises)
    for mark in found.marks:
        assert mark.attempted
        assert expected[mark.id] in mark.says


@goes("complete")
def test_the_worked_notebook_brings_all_points(row: Notebook, name: str, sit: Sit) -> None:
    executed = last_run(row, COURSE.build_dir("quick"))
    if executed is None:
        found = sit(row, name)
    else:
        check_executed(executed, row.slug, "quick")
        found = score(row, executed)
    assert found.points == found.possible == sum(exercise.points for exercise in row.exercises) > 0


def test_a_run_of_other_sources_is_not_taken_for_the_worked_notebook(tmp_path: Path) -> None:
    row = COURSE.select(["02"])[0]
    assert last_run(row, tmp_path) is None
    notebook = generate(COURSE, row)
    nbformat.write(notebook, tmp_path / f"{row.slug}.ipynb")
    assert last_run(row, tmp_path) is not None
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\nSEED = 1"
    nbformat.write(notebook, tmp_path / f"{row.slug}.ipynb")
    assert last_run(row, tmp_path) is None


def handed_in(row: Notebook, answers: dict[str, str]) -> NotebookNode:
    """An assignment whose exercise cells hold these answers; the others are as handed out."""
    notebook = student(generate(COURSE, row), row.slug)
    for cell in notebook.cells:
        for id in (tag.removeprefix("exercise:") for tag in tags(cell) if tag.startswith("exercise:")):
            cell.source = answers.get(id, cell.source)
    return notebook


def last_run(row: Notebook, folder: Path) -> NotebookNode | None:
    """The worked notebook as the last run into a folder left it, when it ran the code that the source holds now."""
    path = folder / f"{row.slug}.ipynb"
    executed = nbformat.read(path, 4) if path.is_file() else None
    return executed if executed and _code(executed) == _code(generate(COURSE, row)) else None


def _sit(row: Notebook, answers: dict[str, str], folder: Path) -> Score:
    if missing := [name for name in row.needs if asset_path(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: python -m auxlib fetch {' '.join(missing)}")
    source, target = folder / f"{row.slug}.ipynb", folder / "executed.ipynb"
    nbformat.write(handed_in(row, answers), source)
    parameters = BRIEF.parameters(row.slug)
    check_parameters(source, parameters)
    done = in_own_process(row.slug, partial(execute, source, target, "brief", parameters, BRIEF.cell_timeout, 1))
    assert done.error is None
    return score(row, nbformat.read(target, 4))


def _code(notebook: NotebookNode) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "injected-parameters" not in tags(cell)]
