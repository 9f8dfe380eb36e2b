"""Marks that an executed notebook printed itself, in the lines of its check cells.

``2.1  ✓ …`` and ``2.1  ✗ …  (hint 1 of 3: …)`` and ``2.1  not attempted yet.``; points come from the course table. Only
cells tagged ``check:ID`` are read, and only lines that begin with their ID. The grader does not read them; it judges
functions (`course.classroom.grade`).
"""

from __future__ import annotations

import re

from nbformat import NotebookNode

from course.classroom.grade import Mark, Score
from course.config import Notebook
from course.outputs import tags

MARK = r"^{id}  (?:(?P<mark>[✓✗]) (?P<says>.*?)(?:  \(hint \d of \d: [^()]*\(.*\)\))?|not attempted yet\.)$"


def score(row: Notebook, executed: NotebookNode) -> Score:
    """Read the marks of an executed notebook, worked or submitted."""
    marks = []
    for exercise in row.exercises:
        line = _last_verdict(exercise.id, executed)
        mark, says = (line["mark"], line["says"]) if line else (None, None)
        points = exercise.points if mark == "✓" else 0
        marks.append(Mark(exercise.id, mark == "✓", mark is not None, says or "not attempted yet.", points))
    return Score(row.slug, tuple(marks), sum(exercise.points for exercise in row.exercises))


def _last_verdict(id: str, executed: NotebookNode) -> re.Match[str] | None:
    """Return the last verdict line that the exercise's check cells printed."""
    cells = [cell for cell in executed.cells if f"check:{id}" in tags(cell)]
    printed = "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.get("name") == "stdout")
    lines = list(re.finditer(MARK.format(id=re.escape(id)), printed, re.MULTILINE))
    return lines[-1] if lines else None
