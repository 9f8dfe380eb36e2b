"""Questions of the exercises: title and "what if" paragraph of each task cell."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auxlib.errors import CourseError
from course.build import source_cells
from course.config import Course, Notebook
from course.outputs import tags

TITLE = re.compile(r"^> \*\*Exercise \S+ · (.+)\*\*$", re.MULTILINE)
WHAT_IF = re.compile(r"^\*What if\*.+?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Question:
    """Content of one task cell: the exercise's id and title, and the "what if" paragraph on one line."""

    id: str
    title: str
    what_if: str | None


def questions(course: Course, row: Notebook) -> dict[str, Question]:
    """Read the questions of a notebook's source by exercise id, in its order.

    Raises:
        CourseError: a task has no title.
    """
    path = course.source(row.slug)
    tasks = {
        tag.removeprefix("task:"): cell for cell in source_cells(path) for tag in tags(cell) if tag.startswith("task:")
    }
    return {id: _question(id, cell.source, f"{path}, task:{id}") for id, cell in tasks.items()}


def _question(id: str, text: str, where: str) -> Question:
    title, what_if = TITLE.search(text), WHAT_IF.search(text)
    if title is None:
        raise CourseError(f"{where}: expected a line `> **Exercise {id} · title**`.")
    return Question(id, title[1], " ".join(what_if[0].split()) if what_if else None)
