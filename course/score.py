"""What is a notebook worth? An executed one says so itself, in the lines that its check cells printed.

``2.1  ✓ …`` and ``2.1  ✗ …  (hint 1 of 3: …)`` and ``2.1  not attempted yet.``; points come from the course table. Only
cells tagged ``check:ID`` are read, and only lines that begin with their ID: a line printed elsewhere is worth nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nbformat import NotebookNode

from course.config import Notebook
from course.outputs import tags

MARK = r"^{id}  (?:(?P<mark>[✓✗]) (?P<says>.*?)(?:  \(hint \d of \d: [^()]*\(.*\)\))?|not attempted yet\.)$"


@dataclass(frozen=True)
class Mark:
    """What one check said, and the points it brings. An exercise whose check is silent was not attempted."""

    id: str
    passed: bool
    attempted: bool
    says: str
    points: int


@dataclass(frozen=True)
class Score:
    """The marks of one notebook, in the table's order, and the most points that it can bring."""

    slug: str
    marks: tuple[Mark, ...]
    possible: int

    @property
    def points(self) -> int:
        """The points that were reached."""
        return sum(mark.points for mark in self.marks)


def score(row: Notebook, executed: NotebookNode) -> Score:
    """Read the marks of an executed notebook, worked or handed in."""
    said = {exercise.id: _read(exercise.id, executed) for exercise in row.exercises}
    marks = []
    for exercise in row.exercises:
        line = said[exercise.id]
        mark, says = (line["mark"], line["says"]) if line else (None, None)
        points = exercise.points if mark == "✓" else 0
        marks.append(Mark(exercise.id, mark == "✓", mark is not None, says or "not attempted yet.", points))
    return Score(row.slug, tuple(marks), sum(exercise.points for exercise in row.exercises))


def _read(id: str, executed: NotebookNode) -> re.Match[str] | None:
    """The verdict line of one exercise, the last one where several were printed."""
    cells = [cell for cell in executed.cells if f"check:{id}" in tags(cell)]
    printed = "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.get("name") == "stdout")
    lines = list(re.finditer(MARK.format(id=re.escape(id)), printed, re.MULTILINE))
    return lines[-1] if lines else None
