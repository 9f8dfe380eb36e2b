"""The speed experiment: its parts are measured one by one, in this process, and kept until all are there.

What is timed is timed in turn with what it is compared with, and recorded as a ratio; so the record depends on the
machine alone and has no behaviour probe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from auxlib.data.storage import write_json_atomic
from experiments.benchmarking import hardware_info, package_versions
from experiments.records import RECORDS, Record
from experiments.runner import Experiment, TrialRunner
from experiments.speed.course import course_figures
from experiments.speed.decode import decode_figures, prefix_figures
from experiments.speed.memory import memory_figures
from experiments.speed.storyland import storyland_figures
from experiments.speed.table import speed_rows
from experiments.speed.time_to_accuracy import time_to_accuracy_figures
from experiments.speed.train import epoch_figures

PARTS: dict[str, Callable[[], Record]] = {
    "decode": lambda: decode_figures() | prefix_figures(),
    "train": epoch_figures,
    "memory": memory_figures,
    "reach": time_to_accuracy_figures,
    "course": course_figures,
    "storyland": storyland_figures,
}


def measure_part(part: str, folder: Path) -> Record:
    """Measure one part and keep its figures in a folder."""
    figures = rounded(PARTS[part]()) | {"machine": hardware_info(), "versions": package_versions()}
    write_json_atomic(folder / f"{part}.json", figures)
    return figures


def record_part(part: str, root: Path) -> Record:
    """Measure one part; when no part is missing any more, write the record."""
    folder = root / "build" / "speed"
    figures = measure_part(part, folder)
    files = [folder / f"{name}.json" for name in PARTS]
    if all(file.is_file() for file in files):
        parts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        write_json_atomic(root / RECORDS["speed"].path, merge_parts(parts))
    return figures


def run_experiment(run: TrialRunner) -> list[Record]:
    """Measure all parts, in this process: trials in other processes would disturb each other's clocks."""
    return [measure_part(part, run.folder) for part in PARTS]


def merge_parts(parts: Sequence[Record]) -> Record:
    """Return all figures side by side, with the machines on which they were measured."""
    merged: Record = {}
    for part in reversed(parts):
        merged |= part
    merged["machines"] = sorted({json.dumps(part["machine"], sort_keys=True) for part in parts})
    return merged


def rounded(value: Any) -> Any:
    """Return a value with all floats in it rounded to three significant digits."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


EXPERIMENT = Experiment(RECORDS["speed"], run=run_experiment, assemble=merge_parts, tables=(speed_rows,))
