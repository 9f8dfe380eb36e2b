"""Everybody is graded: four students as they should be, and more than fifteen whose files are broken.

The ways are those that users of graders complain of: cells deleted, copied, retyped and moved, files renamed, cut off
or of another kind, and answers that wait for input, never end, take all memory, end the process or reach for the
network.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from auxlib.__main__ import main
from auxlib.errors import CourseError
from course.classroom.autograde import Limits
from course.classroom.feedback import feedback, rows, write
from course.classroom.grade import Graded, Mark, collect, grade
from course.outputs import tags
from tests.course.classroom.conftest import COURSE, SHEET, hand_in, the_sheet
from tests.course.test_students import STUDENTS, handed_in, worked

COMBINE = "def combine_two(lm_logits, aux_logits):\n    "


def answer(source: str) -> dict[str, str]:
    """One exercise solved in this way, the others as they should be."""
    return worked(the_sheet()) | {"2.1": COMBINE + source}


def changed(change: Callable[[list[NotebookNode]], list[NotebookNode]]) -> NotebookNode:
    """The solved notebook with its cells changed."""
    book = handed_in(the_sheet(), worked(the_sheet()))
    book.cells = change(book.cells)
    return book


def retyped(cells: list[NotebookNode]) -> list[NotebookNode]:
    kinds = [cell for cell in cells if "exercise:2.1" in tags(cell)]
    for cell in kinds:
        cell.cell_type = "markdown"
    return cells


def without_metadata(cells: list[NotebookNode]) -> list[NotebookNode]:
    for cell in cells:
        cell.metadata, cell.id = nbformat.from_dict({}), "same"
    return cells


def with_a_stub_at_the_end(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [*cells, nbformat.v4.new_code_cell(COMBINE + "...  # your code here")]


def torn(cells: list[NotebookNode]) -> list[NotebookNode]:
    for cell in cells:
        if "exercise:2.1" in tags(cell):
            cell.source += "\n    return )"
    return cells


CELLS: dict[str, tuple[Callable, int]] = {  # what has happened to the cells, and the points that are left of 12
    "only_answers": (lambda cells: [c for c in cells if any(t.startswith("exercise:") for t in tags(c))], 12),
    "copied": (lambda cells: [cell for cell in cells for _ in range(2)], 12),
    "backwards": (lambda cells: cells[::-1], 12),
    "retyped": (retyped, 12),
    "no_metadata": (without_metadata, 12),
    "stub_again": (with_a_stub_at_the_end, 12),
    "torn": (torn, 10),
    "one_gone": (lambda cells: [cell for cell in cells if "exercise:2.1" not in tags(cell)], 10),
    "nothing_left": (lambda cells: [], 0),
}
ANSWERS = {  # what an answer does, and what is said of it; the other three exercises are right
    "waits": ("return input()", "raised"),
    "endless": ("while True:\n        pass", "had not come to an end"),
    "greedy": ("return [0] * 10**11", "raised MemoryError"),
    "leaves": ("import os\n    os._exit(0)", "ended the process"),
    "exits": ("raise SystemExit", "raised SystemExit"),
    "phones": ("import socket\n    socket.create_connection(('127.0.0.1', 9))", "not allowed while grading"),
    "runs": ("import subprocess\n    subprocess.run(['true'])", "not allowed while grading"),
    "writes": ("open('/tmp/handed_in_by_a_student', 'w')", "not allowed while grading"),
    "peeks": (
        "from course.exercises.exercise import load_exercise\n    return load_exercise('2.1').reference",
        "asks for the reference solution",
    ),
    "learned_by_heart": (
        "import torch\n    if torch.initial_seed() == 0:\n"
        "        return (lm_logits + aux_logits).softmax(-1)\n    return lm_logits.softmax(-1)",
        "right on the check's own examples only",
    ),
}
FILES = {"empty": b"", "cut_off": b'{"cells": [{"cell_type": "code", "sou', "a_picture": b"\x89PNG\r\n\x1a\n"}
LIMITS = Limits(seconds=5)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graded]:
    folder = tmp_path_factory.mktemp("handed_in")
    for name, solve in STUDENTS.items():
        hand_in(folder / name, the_sheet(), solve(the_sheet()))
    for name, (source, _) in ANSWERS.items():
        hand_in(folder / name, the_sheet(), answer(source))
    for name, (change, _) in CELLS.items():
        (folder / name).mkdir()
        (folder / name / f"{SHEET}.ipynb").write_text(json.dumps(changed(change)), encoding="utf-8")
    for name, content in FILES.items():
        (folder / name).mkdir()
        (folder / name / f"{SHEET}.ipynb").write_bytes(content)
    return {one.student: one for one in grade(COURSE, [folder], LIMITS)}


def mark(graded: Graded, id: str = "2.1") -> Mark:
    return next(mark for mark in graded.score.marks if mark.id == id)


@pytest.mark.parametrize(("student", "points"), [("blank", 0), ("half", 5), ("classic", 0), ("complete", 12)])
def test_four_students_get_what_they_deserve(student: str, points: int, graded: dict[str, Graded]) -> None:
    assert (graded[student].score.points, graded[student].score.possible) == (points, 12)
    assert {mark.attempted for mark in graded[student].score.marks} == {
        "blank": {False},
        "half": {True, False},
        "classic": {True},
        "complete": {True},
    }[student]


@pytest.mark.parametrize("name", CELLS)
def test_cells_may_be_in_any_state(name: str, graded: dict[str, Graded]) -> None:
    assert graded[name].score.points == CELLS[name][1], [mark.says for mark in graded[name].score.marks]
    if name == "torn":
        assert mark(graded[name]).says.startswith("the cell that defines `combine_two` is no Python")
    if name == "one_gone":
        assert mark(graded[name]).says == "there is no function `combine_two`."


@pytest.mark.parametrize("name", ANSWERS)
def test_one_bad_answer_costs_its_own_points_and_no_others(name: str, graded: dict[str, Graded]) -> None:
    assert ANSWERS[name][1] in mark(graded[name]).says
    assert graded[name].score.points == 10
    assert not Path("/tmp/handed_in_by_a_student").exists()


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_notebook_is_said_and_nobody_else_suffers(name: str, graded: dict[str, Graded]) -> None:
    assert graded[name].score is None
    assert "cannot be read as a notebook" in graded[name].note


def test_every_worked_notebook_gets_all_of_its_points() -> None:
    """A teacher's rehearsal: each solution finds what it needs of its notebook, and nothing in it looks like a peek."""
    books = [COURSE.built(row.slug) for row in COURSE.notebooks if row.exercises]
    found = [mark for one in grade(COURSE, books) for mark in one.score.marks]
    assert len(found) == sum(len(row.exercises) for row in COURSE.notebooks)
    assert not [(mark.id, mark.says) for mark in found if not mark.passed]


def test_what_is_written_down_agrees_with_itself(graded: dict[str, Graded], tmp_path: Path) -> None:
    everybody = list(graded.values())
    with write(tmp_path, everybody).open(encoding="utf-8") as stream:
        table = {row["student"]: row for row in csv.DictReader(stream)}
    assert list(table) == list(graded)
    assert (table["complete"]["total"], table["complete"]["of"], table["empty"]["total"]) == ("12", "12", "0")
    marks = json.loads((tmp_path / "grades.json").read_text(encoding="utf-8"))
    assert {one["student"]: one["points"] for one in marks} == {name: int(row["total"]) for name, row in table.items()}
    page = (tmp_path / "feedback" / "classic.md").read_text(encoding="utf-8")
    assert page.startswith("# classic\n\n**0 of 12 points**\n\n## 02_product_of_experts: 0 of 12")
    assert "a product multiplies" in page
    assert "Hint: Which axis must sum to one?" in page


def test_feedback_holds_no_solution(graded: dict[str, Graded]) -> None:
    page = feedback("classic", [graded["classic"]])
    assert not [line for source in worked(the_sheet()).values() for line in source.splitlines()[2:] if line in page]


def test_a_name_that_a_spreadsheet_would_compute_stays_a_name(tmp_path: Path) -> None:
    write(tmp_path, [Graded("=1+1", tmp_path, None), Graded("ann", tmp_path, None)])
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8").splitlines()[1].startswith("'=1+1,")


def test_a_renamed_file_is_known_by_what_it_defines(tmp_path: Path) -> None:
    hand_in(tmp_path, the_sheet(), {}).rename(tmp_path / "homework (1).ipynb")
    (one,) = collect(COURSE, [tmp_path])
    assert (one.student, one.row.slug) == ("homework (1)", SHEET)
    (tmp_path / "homework (1).ipynb").rename(tmp_path / f"ann_{SHEET}.ipynb")
    assert [one.student for one in collect(COURSE, [tmp_path])] == ["ann"]


def test_of_two_files_the_newer_counts_and_says_so(tmp_path: Path) -> None:
    import os

    path = hand_in(tmp_path / "ann", the_sheet(), {})
    older = path.rename(path.with_stem("first try"))
    hand_in(tmp_path / "ann", the_sheet(), worked(the_sheet()))
    os.utime(older, (1, 1))
    (one,) = collect(COURSE, [tmp_path])
    assert (one.path.stem, one.note) == (SHEET, "first try.ipynb is older and was not looked at.")


def test_a_notebook_of_something_else_is_named(tmp_path: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), tmp_path / "ann.ipynb")
    (one,) = grade(COURSE, [tmp_path])
    assert (one.score, one.note) == (None, "ann.ipynb holds no exercise of this course.")
    assert rows([one]) == [{"student": "ann", "total": 0, "of": 0}]


def test_nothing_to_grade_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CourseError, match="give notebooks, or a folder for each student"):
        collect(COURSE, [tmp_path])
    assert main(["grade", str(tmp_path / "nowhere")]) == 2
    assert "is neither a notebook nor a folder" in capsys.readouterr().err


def test_the_command_prints_the_table_and_says_where_everything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_in(tmp_path / "in" / "ann", the_sheet(), {})
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "ann" in said
    assert str(tmp_path / "out" / "grades.csv") in said
    assert (tmp_path / "out" / "feedback" / "ann.md").is_file()
