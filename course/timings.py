"""What does a notebook cost? ``notebooks/receipts.json`` keeps what runs of profile ``quick`` took, measured.

``python -m auxlib notebooks --execute`` writes it. Two runs never take the same time, and a header that changed with
each would be noise in every commit. So a receipt stays while a new measurement lies within a third of it (or within 3 s
and 100 MB), and readers see it rounded: seconds to the nearest of `STEPS`, memory to 0.1 GB.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from auxlib.errors import CourseError
from course.config import Course, Notebook

if TYPE_CHECKING:
    from course.execute import Outcome

STEPS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600)


@dataclass(frozen=True)
class Timing:
    """What one run took: seconds, and the kernel's peak memory in MB where the system tells."""

    seconds: float
    memory_mb: int | None

    def about_seconds(self) -> int:
        """Seconds for readers."""
        return min(STEPS, key=lambda step: abs(step - self.seconds))

    def in_words(self) -> str:
        """``about 30 s with 0.6 GB of memory``."""
        memory = "" if self.memory_mb is None else f" with {max(self.memory_mb, 100) / 1000:.1f} GB of memory"
        return f"about {self.about_seconds()} s{memory}"

    def resembles(self, other: Timing) -> bool:
        """Whether ``other`` is the same measurement, but for noise."""
        memory = [self.memory_mb, other.memory_mb]
        same = None not in memory and abs(memory[0] - memory[1]) <= max(100, memory[0] / 3)
        return abs(self.seconds - other.seconds) <= max(3, self.seconds / 3) and (same or memory[0] == memory[1])


def path_of(course: Course) -> Path:
    """Where the receipts are."""
    return course.folder / "receipts.json"


def load_timings(course: Course) -> dict[str, Timing]:
    """Receipts by slug; a notebook that was never kept from a run has none. A broken file is a CourseError."""
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
    """What the run took whose ``run.json`` is in this folder, by slug; notebooks that failed are left out."""
    raw = json.loads((run / "run.json").read_text(encoding="utf-8"))["notebooks"]
    return {done["slug"]: Timing(done["seconds"], done["memory_mb"]) for done in raw if not done["error"]}


def record_timings(course: Course, outcomes: Sequence[Outcome]) -> None:
    """Write down what these runs took, leave those of other notebooks, and forget notebooks that have left."""
    known = {row.slug for row in course.notebooks}
    kept = {slug: receipt for slug, receipt in load_timings(course).items() if slug in known}
    for done in outcomes:
        fresh, old = Timing(done.seconds, done.memory_mb), kept.get(done.slug)
        if done.error is None and not (old and old.resembles(fresh)):
            kept[done.slug] = fresh
    text = json.dumps({slug: asdict(kept[slug]) for slug in sorted(kept)}, indent=1)
    path_of(course).write_text(text + "\n", encoding="utf-8")


def longest_first(rows: Sequence[Notebook], receipts: dict[str, Timing]) -> list[Notebook]:
    """The order in which none is left over at the end; one without a receipt may be the longest of all."""
    return sorted(rows, key=lambda row: -receipts[row.slug].seconds if row.slug in receipts else -inf)


def disagreements(receipts: dict[str, Timing], run: dict[str, Timing]) -> list[str]:
    """Where what a run took contradicts the receipts; both by slug.

    Machines differ and are noisy, so seconds are compared relative to the machine: receipts are scaled by the median
    ratio over the notebooks. What is left to chance: factor 4 plus 30 s, for a noisy neighbour, a cold cache and units
    that only some machines have; factor 2 plus 300 MB of memory.
    """
    bare = [f"{slug}: no receipt; run `python -m auxlib notebooks --execute`" for slug in run.keys() - receipts]
    both = sorted(run.keys() & receipts)
    pace = median([run[slug].seconds / receipts[slug].seconds for slug in both] or [1.0])
    wrong = []
    for slug in both:
        old, new = receipts[slug], run[slug]
        if _apart(new.seconds, pace * old.seconds, factor=4, slack=30):
            scaled = f"{old.seconds:.0f} s at this machine's pace of {pace:.2f}"
            wrong.append(f"{slug}: took {new.seconds:.0f} s, its receipt says {scaled}")
        if None not in (old.memory_mb, new.memory_mb) and _apart(new.memory_mb, old.memory_mb, factor=2, slack=300):
            wrong.append(f"{slug}: used {new.memory_mb} MB, its receipt says {old.memory_mb} MB")
    return sorted(bare) + wrong


def _apart(one: float, other: float, factor: float, slack: float) -> bool:
    return max(one, other) > factor * min(one, other) + slack
