"""Planted mistakes: common wrong answers to the exercises, in ``notebooks/mistakes/NN_slug.py``, one per cell.

``# %% 2.1 · misconception`` opens a cell; ``# says: …`` is a fragment of the message that the check must give to this
answer and to no other planted answer of the same exercise. The first cell, ``# %% setup``, is prepended to the others.
The tests prove that every check rejects all mistakes planted for it; teachers read them to know what to expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlib.errors import CourseError
from course.build import source_cells
from course.exercises.exercise import Answer, Verdict, load_exercise

FOLDER = Path("notebooks") / "mistakes"


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: the exercise's id, the misconception, a fragment of the check's message, and the code."""

    exercise: str
    misconception: str
    says: str
    setup: str  # imports, and what several answers of a notebook share
    code: str

    @property
    def source(self) -> str:
        """Source that runs by itself."""
        return f"{self.setup}\n\n\n{self.code}\n"

    def function(self) -> Answer:
        """Run the code and return the function with the exercise's name."""
        namespace: dict[str, Any] = {}
        exec(compile(self.source, f"<{self.exercise}>", "exec"), namespace)
        return namespace[load_exercise(self.exercise).name]

    def verdict(self) -> Verdict:
        """Return the check's verdict on it."""
        return load_exercise(self.exercise).judge(self.function())


def read_mistakes(root: Path) -> tuple[Mistake, ...]:
    """Read all planted mistakes, by file and cell; the first one of an exercise is its classic mistake.

    Raises:
        CourseError: there are none, or a cell does not have the documented form.
    """
    if not (paths := sorted((root / FOLDER).glob("[0-9]*.py"))):
        raise CourseError(f"{root / FOLDER} holds no planted mistakes; run this in a clone of the repository.")
    return tuple(mistake for path in paths for mistake in _read(path))


def _read(path: Path) -> Iterator[Mistake]:
    setup, *cells = source_cells(path)
    if setup.metadata.get("title") != "setup":
        raise CourseError(f"{path}: its first cell must be `# %% setup`.")
    for cell in cells:
        title = re.fullmatch(r"(\d+\.\d+) · (.+)", cell.metadata.get("title", ""))
        says = re.match(r"# says: (.+)\n", cell.source)
        if not (title and says):
            raise CourseError(f"{path}: expected `# %% 2.1 · misconception`, then `# says: …`; found {cell.source!r}.")
        yield Mistake(title[1], title[2], says[1].strip(), setup.source, cell.source[says.end() :])
