"""The three cells of an exercise, tagged ``task:ID``, ``exercise:ID`` and ``check:ID``, in this order.

Minutes, difficulty and points come from the course table and hints from `course.exercises`; both are filled into the
task cell here, so that a source states neither.
"""

from __future__ import annotations

import re
from html import escape
from itertools import zip_longest
from pathlib import Path

from nbformat import NotebookNode

from auxlib.errors import CourseError
from course.config import ExerciseEntry, Notebook
from course.outputs import tags

CELLS = {"task": "markdown", "exercise": "code", "check": "code"}


def fill_tasks(cells: list[NotebookNode], row: Notebook, path: Path) -> None:
    """Complete the task cells in place.

    Raises:
        CourseError: the cells are not those of the table's exercises; names file and exercise.
    """
    marked = [(tag, cell) for cell in cells for tag in tags(cell) if tag.partition(":")[0] in CELLS and ":" in tag]
    _check_order([tag for tag, _ in marked], row, path)
    for tag, cell in marked:
        if cell.cell_type != (kind := CELLS[tag.partition(":")[0]]):
            raise CourseError(f"{path}: the cell {tag} must be a {kind} cell.")
    tasks = [cell for tag, cell in marked if tag.startswith("task:")]
    for cell, exercise in zip(tasks, row.exercises, strict=True):
        cell.source = _filled(cell.source, exercise, path)


def facts(exercise: ExerciseEntry) -> str:
    """Return the text behind the title: ``6 minutes · difficulty 1/5 · importance 4/5 · 2 points``."""
    ratings = f"difficulty {exercise.difficulty}/5 · importance {exercise.importance}/5"
    return f"{_count(exercise.minutes, 'minute')} · {ratings} · {_count(exercise.points, 'point')}"


def _check_order(actual: list[str], row: Notebook, path: Path) -> None:
    expected = [f"{kind}:{exercise.id}" for exercise in row.exercises for kind in CELLS]
    if unknown := [tag for tag in actual if tag not in expected]:
        id = unknown[0].partition(":")[2]
        known = ", ".join(exercise.id for exercise in row.exercises) or "none"
        raise CourseError(f"{path}: cell {unknown[0]}: exercise {id} is not in course.toml, which lists {known}.")
    for want, have in zip_longest(expected, actual):
        if want != have:
            id = (want or have).partition(":")[2]
            place = f"found {have}" if have else "the source ends"
            raise CourseError(f"{path}: exercise {id}: expected the cell {want or 'to occur once'} next, {place}.")


def _filled(source: str, exercise: ExerciseEntry, path: Path) -> str:
    title = re.compile(rf"^> \*\*Exercise {re.escape(exercise.id)} · .+\*\*$", re.MULTILINE)
    filled, count = title.subn(lambda line: f"{line[0]} · {facts(exercise)}", source)
    if count != 1:
        raise CourseError(
            f"{path}: exercise {exercise.id}: its task needs one line `> **Exercise {exercise.id} · title**` "
            f"with nothing behind it, found {count}."
        )
    return f"{filled.rstrip()}\n\n{_hints(exercise, path)}"


def _hints(exercise: ExerciseEntry, path: Path) -> str:
    from course.exercises.exercise import load_exercise  # brings torch; a notebook without exercises does not need it

    try:
        hints = load_exercise(exercise.id).hints
    except CourseError as error:
        raise CourseError(f"{path}: exercise {exercise.id}: {error}") from error
    return "\n".join(f"<details><summary>Hint {n}</summary>{_html(hint)}</details>" for n, hint in enumerate(hints, 1))


def _html(hint: str) -> str:
    """Convert a hint's Markdown (code and single stressed words) to HTML; Markdown is not parsed inside HTML blocks."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(hint.split()), quote=False))
    return re.sub(r"(?<!\S)\*(\w+)\*(?![\w*])", r"<em>\1</em>", text)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + "s" * (number != 1)
