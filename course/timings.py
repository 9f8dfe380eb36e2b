"""Measured time and memory of each notebook: the file ``notebooks/receipts.json``.

``python -m auxlib notebooks --execute`` writes it from runs of profile ``quick``. No two runs take the same time, and a
header that changed with each run would be noise in every commit. A recorded timing therefore stays while a new
measurement lies within a third of it (or within 3 s and 100 MB), and readers see it rounded: seconds to the nearest of
`STEPS`, memory to 0.1 GB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from statistics import median

from auxlib.errors import CourseError
from course.config import Course, Notebook

STEPS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600)


@dataclass(frozen=True)
class Outcome:
    """Result of executing one notebook.

    Attributes:
        seconds: wall time.
        memory_mb: peak resident memory of the kernel; None on Windows, which does not report it.
        error: one line when the notebook failed, else None.
    """

    slug: str
    seconds: float
    memory_mb: int | None
    error: str | None


@dataclass(frozen=True)
class Timing:
    """Seconds of one run and the kernel's peak memory in MB; memory is None where the system does not report it."""

    seconds: float
    memory_mb: int | None

    def about_seconds(self) -> int:
        """Return the seconds rounded for readers."""
        return min(STEPS, key=lambda step: abs(step - self.seconds))

    def in_words(self) -> str:
        """Return a text such as ``about 30 s with 0.6 GB of memory``."""
        memory = "" if self.memory_mb is None else f" with {max(self.memory_mb, 100) / 1000:.1f} GB of memory"
        return f"about {self.about_seconds()} s{memory}"

    def resembles(self, other: Timing) -> bool:
        """Return whether the two measurements agree up to noise."""
        if self.memory_mb is None or other.memory_mb is None:
            same_memory = self.memory_mb == other.memory_mb
        else:
            same_memory = abs(self.memory_mb - other.memory_mb) <= max(100, self.memory_mb / 3)
        return abs(self.seconds - other.seconds) <= max(3, self.seconds / 3) and same_memory


def path_of(course: Course) -> Path:
    """Return the path of the recorded timings."""
    return course.folder / "receipts.json"


def load_timings(course: Course) -> dict[str, Timing]:
    """Load the recorded timings by slug; a notebook without a recorded run has no entry.

    Raises:
        CourseError: the file is not a table of timings.
    """
    path = path_of(course)
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {slug: Timing(float(item["seconds"]), item["memory_mb"]) for slug, item in raw.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CourseError(
            f"{path} is no table of receipts ({error}); delete it and run `python -m auxlib notebooks --execute`."
        ) from error


def measured(run: Path) -> dict[str, Timing]:
    """Load the timings of the run in this folder from its ``run.json``, by slug, without notebooks that failed."""
    raw = json.loads((run / "run.json").read_text(encoding="utf-8"))["notebooks"]
    return {item["slug"]: Timing(item["seconds"], item["memory_mb"]) for item in raw if not item["error"]}


def record_timings(course: Course, outcomes: Sequence[Outcome]) -> None:
    """Record the timings of these runs; keep those of other notebooks, drop notebooks that left the course."""
    known = {row.slug for row in course.notebooks}
    timings = {slug: timing for slug, timing in load_timings(course).items() if slug in known}
    for outcome in outcomes:
        new, old = Timing(outcome.seconds, outcome.memory_mb), timings.get(outcome.slug)
        if outcome.error is None and not (old and old.resembles(new)):
            timings[outcome.slug] = new
    text = json.dumps({slug: asdict(timings[slug]) for slug in sorted(timings)}, indent=1)
    path_of(course).write_text(text + "\n", encoding="utf-8")


def longest_first(rows: Sequence[Notebook], timings: Mapping[str, Timing]) -> list[Notebook]:
    """Sort by decreasing time, so that no long notebook runs alone at the end; unknown times come first."""
    return sorted(rows, key=lambda row: -timings[row.slug].seconds if row.slug in timings else -inf)


def disagreements(recorded: Mapping[str, Timing], run: Mapping[str, Timing]) -> list[str]:
    """Return one line for each notebook of a run that contradicts the recorded timings.

    Machines differ and are noisy, so seconds are compared relative to the machine: recorded seconds are scaled by the
    median ratio over the notebooks. Allowed are a factor of 4 plus 30 s (other load, a cold cache, instructions that
    only some machines have), and a factor of 2 plus 300 MB of memory.
    """
    missing = [f"{slug}: no receipt; run `python -m auxlib notebooks --execute`" for slug in run.keys() - recorded]
    both = sorted(run.keys() & recorded)
    pace = median([run[slug].seconds / recorded[slug].seconds for slug in both] or [1.0])
    wrong = []
    for slug in both:
        old, new = recorded[slug], run[slug]
        if _differ(new.seconds, pace * old.seconds, factor=4, slack=30):
            scaled = f"{old.seconds:.0f} s at this machine's pace of {pace:.2f}"
            wrong.append(f"{slug}: took {new.seconds:.0f} s, its receipt says {scaled}")
        old_mb, new_mb = old.memory_mb, new.memory_mb
        if old_mb is not None and new_mb is not None and _differ(new_mb, old_mb, factor=2, slack=300):
            wrong.append(f"{slug}: used {new_mb} MB, its receipt says {old_mb} MB")
    return sorted(missing) + wrong


def _differ(a: float, b: float, factor: float, slack: float) -> bool:
    return max(a, b) > factor * min(a, b) + slack
