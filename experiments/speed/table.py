"""How are the recorded measurements read and said? Rows for notebook 09 and the README, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json
from experiments.claim.table import Row

RESULTS, AGAIN = Path("data/results/full/bench.json"), "make bench"
GOALS = {  # what was to be reached, set before it was measured
    "decode_ratio_b1": ("tokens a second, pair ÷ frozen model, 1 row", "≥ 0.9"),
    "decode_ratio_b8": ("tokens a second, pair ÷ frozen model, 8 rows", "≥ 0.9"),
    "prefix_speedup_256": ("speed of 256 tokens, with cache ÷ without", "≥ 10"),
    "epoch_ratio_lora": ("seconds an epoch, from the cache ÷ LoRA", "≤ 0.1"),
    "first_epoch_ratio_lora": ("the same, reading included", "≤ 0.5"),
    "memory_ratio_lora": ("memory to train, from the cache ÷ LoRA", "≤ 0.35"),
    "time_to_090_ratio_lora": ("seconds to keyword accuracy 0.9, ÷ LoRA", "≤ 0.2"),
    "course_quick_seconds": ("seconds of the whole course, profile quick", "≤ 720"),
}


def read_bench(root: Path) -> dict[str, Any] | None:
    """The recorded measurements as they are, or None before there are any."""
    return read_json(root / RESULTS, set(GOALS), AGAIN)


def speed_rows(found: Mapping[str, Any]) -> list[Row]:
    """One row for each goal and what was measured."""
    return [{"figure": label, "measured": f"{found[key]:.3g}", "goal": goal} for key, (label, goal) in GOALS.items()]
