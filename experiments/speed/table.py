"""Table of the speed results, for README and notebook 09."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.tables import Row

GOALS = {  # set before anything was measured
    "decode_ratio_b1": ("tokens a second, pair ÷ frozen model, 1 row", "≥ 0.9"),
    "decode_ratio_b8": ("tokens a second, pair ÷ frozen model, 8 rows", "≥ 0.9"),
    "prefix_speedup_256": ("speed of 256 tokens, with cache ÷ without", "≥ 10"),
    "epoch_ratio_lora": ("seconds an epoch, from the cache ÷ LoRA", "≤ 0.1"),
    "first_epoch_ratio_lora": ("the same, reading included", "≤ 0.5"),
    "memory_ratio_lora": ("memory to train, from the cache ÷ LoRA", "≤ 0.35"),
    "time_to_090_ratio_lora": ("seconds to keyword accuracy 0.9, ÷ LoRA", "≤ 0.2"),
    "course_quick_seconds": ("seconds of the whole course, profile quick", "≤ 720"),
}


def speed_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each goal with the measured figure."""
    return [{"figure": label, "measured": f"{results[key]:.3g}", "goal": goal} for key, (label, goal) in GOALS.items()]
