"""What came out? Each part is written down when it is done, and all of them together make the recorded results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auxlib.benchmarking import hardware_info, package_versions
from auxlib.data.storage import write_json_atomic
from experiments.speed.course import course_figures
from experiments.speed.decode import decode_figures, prefix_figures
from experiments.speed.memory import memory_figures
from experiments.speed.storyland import storyland_figures
from experiments.speed.table import RESULTS
from experiments.speed.time_to_accuracy import time_to_accuracy_figures
from experiments.speed.train import epoch_figures

Figures = dict[str, Any]
PARTS: dict[str, Callable[[], Figures]] = {
    "decode": lambda: decode_figures() | prefix_figures(),
    "train": epoch_figures,
    "memory": memory_figures,
    "reach": time_to_accuracy_figures,
    "course": course_figures,
    "storyland": storyland_figures,
}


def record_part(part: str, root: Path) -> Figures:
    """Take one part's figures and keep them; when no part is missing, write the results."""
    figures = rounded(PARTS[part]()) | {"machine": hardware_info(), "versions": package_versions()}
    kept = root / "build" / "bench"
    write_json_atomic(kept / f"{part}.json", figures)
    files = [kept / f"{name}.json" for name in PARTS]
    if all(file.is_file() for file in files):
        write_json_atomic(root / RESULTS, merge_parts([json.loads(file.read_text(encoding="utf-8")) for file in files]))
    return figures


def merge_parts(parts: list[Figures]) -> Figures:
    """All figures side by side; parts that were measured elsewhere than the first say so."""
    whole: Figures = {}
    for part in reversed(parts):
        whole |= part
    whole["machines"] = sorted({json.dumps(part["machine"], sort_keys=True) for part in parts})
    return whole


def rounded(value: Any) -> Any:
    """Three digits that mean something, at any depth."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value
