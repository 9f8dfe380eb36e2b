"""Which wrong answers do people really give? ``notebooks/mistakes/NN_slug.py`` holds them, one cell each.

``# %% 2.1 · misconception`` opens a cell, ``# says: …`` is a fragment of the message that this answer must receive and
no other planted answer of the same exercise may. The first cell, ``# %% setup``, stands before each of them. The tests
prove that every check rejects all of its own; a teacher reads them to know what will be handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auxlib.errors import CourseError
from course.build import source_cells
from course.exercises.exercise import Answer, Verdict, load_exercise

FOLDER = Path("notebooks") / "mistakes"


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: the exercise's id, what its author believes, what the check must say, and the code."""

    exercise: str
    misconception: str
    says: str
    setup: str  # imports, and what several answers of a notebook share
    code: str

    @property
    def source(self) -> str:
        """One cell that runs by itself."""
        return f"{self.setup}\n\n\n{self.code}\n"

    def function(self) -> Answer:
        """Run the code and return the function that bears the exercise's name."""
        namespace: dict[str, object] = {}
        exec(compile(self.source, f"<{self.exercise}>", "exec"), namespace)
        return namespace[load_exercise(self.exercise).name]

    def verdict(self) -> Verdict:
        """What the check says to it."""
        return load_exercise(self.exercise).judge(self.function())


def read_mistakes(root: Path) -> tuple[Mistake, ...]:
    """All planted answers of a repository, by file and cell; an exercise's first one is the classic mistake."""
    if not (paths := sorted((root / FOLDER).glob("[0-9]*.py"))):
        raise CourseError(f"{root / FOLDER} holds no planted answers; run this in a clone of the repository.")
    return tuple(answer for path in paths for answer in _read(path))


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
