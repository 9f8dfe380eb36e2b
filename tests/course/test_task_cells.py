"""An exercise's three cells: filled from the table and the hints, and refused when one is missing or misplaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from auxlib.errors import CourseError
from course.build import check, generate, student
from course.config import Course, ExerciseEntry
from course.exercises import exercise as rooms
from course.task_cells import facts
from tests.course.conftest import ECHO, HEAD, MakeCourse

TASK = """# %% [markdown] tags=["task:1.1"]
# Now you.
#
# > **Exercise 1.1 · two experts, many rows**
# >
# > Write `answer(x)`.
#
# *What if* x were 0?

"""
SOLVE = '# %% tags=["exercise:1.1"]\ndef answer(x):\n    # SOLUTION\n    return 42\n    # END\n\n'
CHECK = '# %% tags=["check:1.1", "nbval-check-output"]\nprint(answer(1))\n\n'
ROW = "{ id = '1.1', minutes = 1, difficulty = 2, importance = 4, points = 2 }"
HINTS = ("Is a < b & c?", "call `f(a <\n b)`", 'Say "it".')


@pytest.fixture
def build(make_course: MakeCourse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rooms, "load_exercise", lambda id: SimpleNamespace(hints=HINTS))

    def build(*cells: str, row: str = ROW) -> Course:
        return make_course(tmp_path, {"01_a": HEAD + "".join(cells) + ECHO}, built=False, exercises={"01_a": row})

    return build


def test_the_title_and_the_hints_are_filled_in_for_reader_and_student(build) -> None:
    course = build(TASK, SOLVE, CHECK)
    worked = generate(course, course.notebooks[0])
    task = worked.cells[2].source
    said = "> **Exercise 1.1 · two experts, many rows** · 1 minute · difficulty 2/5 · importance 4/5 · 2 points\n> \n"
    assert said.replace("> \n", ">\n") in task
    assert task.endswith(
        "*What if* x were 0?\n\n"
        "<details><summary>Hint 1</summary>Is a &lt; b &amp; c?</details>\n"
        "<details><summary>Hint 2</summary>call <code>f(a &lt; b)</code></details>\n"
        '<details><summary>Hint 3</summary>Say "it".</details>'
    )
    assert student(worked, "01_a").cells[2].source == task


def test_one_is_singular() -> None:
    assert facts(ExerciseEntry("1.1", 6, 1, 4, 1)) == "6 minutes · difficulty 1/5 · importance 4/5 · 1 point"
    assert facts(ExerciseEntry("1.1", 1, 1, 4, 2)) == "1 minute · difficulty 1/5 · importance 4/5 · 2 points"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ((SOLVE, CHECK), r"exercise 1\.1: expected the cell task:1\.1 next, found exercise:1\.1"),
        ((TASK, CHECK), r"exercise 1\.1: expected the cell exercise:1\.1 next, found check:1\.1"),
        ((TASK, SOLVE), r"exercise 1\.1: expected the cell check:1\.1 next, the source ends"),
        ((TASK, CHECK, SOLVE), r"exercise 1\.1: expected the cell exercise:1\.1 next, found check:1\.1"),
        ((TASK, SOLVE, CHECK, CHECK), r"exercise 1\.1: expected the cell to occur once next, found check:1\.1"),
        (
            (TASK, SOLVE, CHECK, CHECK.replace("1.1", "1.9")),
            r"check:1\.9: exercise 1\.9 is not in course\.toml, .*1\.1",
        ),
        ((), r"exercise 1\.1: expected the cell task:1\.1 next, the source ends"),
        ((TASK, SOLVE.replace("%% tags", "%% [markdown] tags"), CHECK), r"exercise:1\.1 must be a code cell"),
        (
            (TASK.replace("rows**", "rows** · 6 minutes"), SOLVE, CHECK),
            r"exercise 1\.1: its task needs one line .* found 0",
        ),
        ((TASK.replace("Exercise 1.1", "Exercise 1.2"), SOLVE, CHECK), r"exercise 1\.1: its task needs one line"),
    ],
)
def test_cells_that_do_not_make_an_exercise_name_file_and_exercise(build, cells: tuple[str, ...], said: str) -> None:
    course = build(*cells)
    with pytest.raises(CourseError, match=r"01_a\.py: .*" + said):
        generate(course, course.notebooks[0])
    assert "01_a.py" in check(course, course.notebooks)[0], "reported with the stale notebooks, not in place of them"


def test_an_exercise_that_nobody_can_check_is_an_error(build, monkeypatch: pytest.MonkeyPatch) -> None:
    course = build(TASK, SOLVE, CHECK)
    monkeypatch.undo()
    monkeypatch.setattr(rooms, "exercises_of", lambda number: {})
    with pytest.raises(CourseError, match=r"01_a\.py: exercise 1\.1: there is no exercise '1\.1'"):
        generate(course, course.notebooks[0])
