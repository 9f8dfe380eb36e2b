"""Kill rate of the checks: planted wrong answers that are rejected with a message of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from course.classroom.mistakes import Mistake, read_mistakes
from course.exercises.exercise import Verdict

ROOT = Path(__file__).parents[3]


@cache
def planted() -> tuple[Mistake, ...]:
    """Return all planted answers of this repository."""
    return read_mistakes(ROOT)


def examined() -> dict[Mistake, Verdict]:
    """Return every planted answer with its verdict."""
    return {answer: answer.verdict() for answer in planted()}


def survivors(verdicts: Mapping[Mistake, Verdict]) -> dict[Mistake, str]:
    """Return the planted answers that were not rejected with a message of their own, and the reasons."""
    return {answer: why for answer in verdicts if (why := _survives(answer, verdicts))}


def kill_rate(verdicts: Mapping[Mistake, Verdict] | None = None) -> tuple[int, int]:
    """Return the number of planted answers rejected with a message of their own, and of all planted answers."""
    verdicts = examined() if verdicts is None else verdicts
    return len(verdicts) - len(survivors(verdicts)), len(verdicts)


def _survives(answer: Mistake, verdicts: Mapping[Mistake, Verdict]) -> str | None:
    verdict = verdicts[answer]
    others = [other for other in verdicts if other.exercise == answer.exercise and other is not answer]
    if verdict.passed or not verdict.attempted:
        return "accepted" if verdict.passed else "taken for the stub"
    if answer.says not in verdict.says:
        return f'rejected with "{verdict.says}"'
    twins = [other.misconception for other in others if answer.says in verdicts[other].says]
    return f'its message is also that of "{twins[0]}"' if twins else None
