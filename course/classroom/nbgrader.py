"""Export to nbgrader: the notebooks with its markers and metadata, as a ``source`` folder.

An exercise becomes a solution cell; a locked test cell before its check asserts the verdict and carries the points; the
other cells stay as they are. nbgrader then generates the students' version, collects, and grades; see its own guide.
"""

from __future__ import annotations

from typing import Any

import nbformat
from nbformat import NotebookNode

from course.build import BEGIN, END, generate
from course.config import Course, ExerciseEntry, Notebook
from course.exercises.exercise import load_exercise
from course.outputs import tags

TEST = '''\
"""Worth {points} points: nbgrader counts them when this cell raises nothing."""
from course.exercises.exercise import load_exercise

verdict = load_exercise("{id}").judge({name})
assert verdict.passed, verdict.says'''


def nbgrader_files(course: Course) -> dict[str, bytes]:
    """Return one assignment for each notebook with exercises, by path."""
    rows = [row for row in course.notebooks if row.exercises]
    return {f"source/{row.slug}/{row.slug}.ipynb": nbformat.writes(source(course, row)).encode() for row in rows}


def source(course: Course, row: Notebook) -> NotebookNode:
    """Return the worked notebook as an instructor's version for nbgrader."""
    worked = generate(course, row)
    exercises = {exercise.id: exercise for exercise in row.exercises}
    cells = []
    for cell in worked.cells:
        kinds = dict(tag.split(":") for tag in tags(cell) if tag.startswith(("exercise:", "check:")))
        if id := kinds.get("exercise"):
            cell.source = cell.source.replace(BEGIN, "### BEGIN SOLUTION").replace(END, "### END SOLUTION")
            cell.metadata["nbgrader"] = _metadata(f"exercise-{id}", solution=True)
        if id := kinds.get("check"):  # before it: the check's cell ends by putting a function that works in its place
            cells.append(_test(exercises[id], cell.id))
        cells.append(cell)
    worked.cells = cells
    return worked


def _test(exercise: ExerciseEntry, beside: str) -> NotebookNode:
    name = load_exercise(exercise.id).name
    cell = nbformat.v4.new_code_cell(TEST.format(id=exercise.id, name=name, points=exercise.points), id=f"{beside}-t")
    cell.metadata["nbgrader"] = _metadata(f"test-{exercise.id}", grade=True, locked=True, points=exercise.points)
    return cell


def _metadata(grade_id: str, **more: Any) -> NotebookNode:
    plain = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return nbformat.from_dict({**plain, **more, "grade_id": grade_id.replace(".", "-")})
