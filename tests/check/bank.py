"""Which wrong answers do people really give? ``tests/planted/NN_slug.py`` holds them, one cell each.

``# %% 2.1 · misconception`` opens a cell, ``# says: …`` is a fragment of the message that this answer must receive and
no other planted answer of the same exercise may. The first cell, ``# %% setup``, stands before each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jupytext

from auxlib.check.exercise import Answer, Exercise, Verdict, load_exercise

PLANTED = Path(__file__).parents[1] / "planted"


@dataclass(frozen=True)
class Planted:
    """One wrong answer: the exercise's id, what its author believes, what the check must say, and the code."""

    exercise: str
    misconception: str
    says: str
    source: str

    def function(self) -> Answer:
        """Run the code and return the function that bears the exercise's name."""
        return defined(self.source, load_exercise(self.exercise))


@cache
def planted() -> tuple[Planted, ...]:
    """All planted answers, in the order of files and cells; an exercise's first one is the classic mistake."""
    return tuple(answer for path in sorted(PLANTED.glob("[0-9]*.py")) for answer in _read(path))


def examined() -> dict[Planted, Verdict]:
    """Every planted answer with the verdict it receives."""
    return {answer: load_exercise(answer.exercise).judge(answer.function()) for answer in planted()}


def survivors(verdicts: Mapping[Planted, Verdict]) -> dict[Planted, str]:
    """The planted answers that were not rejected with a message of their own, and why not."""
    return {answer: why for answer in verdicts if (why := _survives(answer, verdicts))}


def kill_rate(verdicts: Mapping[Planted, Verdict] | None = None) -> tuple[int, int]:
    """How many planted answers were rejected with a message of their own, and how many there are."""
    verdicts = examined() if verdicts is None else verdicts
    return len(verdicts) - len(survivors(verdicts)), len(verdicts)


def defined(source: str, exercise: Exercise) -> Answer:
    """Run a cell's code and return the function that the exercise asks for."""
    namespace: dict[str, object] = {}
    exec(compile(source, f"<{exercise.id}>", "exec"), namespace)
    return namespace[exercise.reference.__name__]


def _survives(answer: Planted, verdicts: Mapping[Planted, Verdict]) -> str | None:
    verdict = verdicts[answer]
    others = [other for other in verdicts if other.exercise == answer.exercise and other is not answer]
    if verdict.passed or not verdict.attempted:
        return "accepted" if verdict.passed else "taken for the stub"
    if answer.says not in verdict.says:
        return f'rejected with "{verdict.says}"'
    twins = [other.misconception for other in others if answer.says in verdicts[other].says]
    return f'its message is also that of "{twins[0]}"' if twins else None


def _read(path: Path) -> Iterator[Planted]:
    setup, *cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    if setup.metadata.get("title") != "setup":
        raise ValueError(f"{path}: its first cell must be `# %% setup`")
    for cell in cells:
        title = re.fullmatch(r"(\d+\.\d+) · (.+)", cell.metadata.get("title", ""))
        says = re.match(r"# says: (.+)\n", cell.source)
        if not (title and says):
            raise ValueError(f"{path}: expected `# %% 2.1 · misconception`, then `# says: …`; found {cell.source!r}")
        yield Planted(title[1], title[2], says[1].strip(), f"{setup.source}\n\n\n{cell.source}\n")
