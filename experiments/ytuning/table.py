"""How are the recorded results said? One row for each task and system, read as they are; those that other code or data
have made are refused by `report.load_labels`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json
from experiments.claim.table import Row

RESULTS, AGAIN = Path("data/results/full/ytuning.json"), "python -m auxlib run --experiment ytuning"
NEEDED = {"tasks", "few", "unseen", "seeds", "seconds", "machine", "versions", "made_by", "rehearsal"}
ASKED = {"r8": 0.98, "20ng": 0.96, "vader-movie": 0.96}  # of full fine-tuning's accuracy, fixed before the run


def read_labels(root: Path) -> dict[str, Any] | None:
    """The recorded results as they are, or None before there are any."""
    return read_json(root / RESULTS, NEEDED, AGAIN)


def task_rows(found: Mapping[str, Any]) -> list[Row]:
    """Accuracy of every system on every task, and what it cost on each."""
    return [_row(task, system) for task, table in found["tasks"].items() for system in table["systems"].values()]


def _row(task: str, system: Mapping[str, Any]) -> Row:
    if "error" in system:
        return {"task": task, "system": system["label"], "accuracy": f"FAILED: {system['error']}"}
    return {
        "task": task,
        "system": system["label"],
        "accuracy": _accuracy(system),
        "macro-F1": f"{system['macro_f1']:.3f} ± {system['macro_f1_sd']:.3f}",
        "noise 1": f"{system['noisy']['1.0']:.3f}",
        "weights": f"{system['params_percent']:.2f} %",
        "training": f"{(system['train_flops'] + system['read_flops']) / 1e12:,.1f} TFLOP",
        "an epoch": f"{system['epoch_seconds']:.0f} s",
        "memory": f"{system['memory_bytes'] / 1e6:,.0f} MB",
        "a text": f"{system['told_flops'] / 1e9:.2f} GFLOP",
    }


def accuracy_rows(found: Mapping[str, Any]) -> list[Row]:
    """One row for each task, one column for each system: accuracy on test texts, mean and deviation of the seeds."""
    return [
        {"task": task} | {system["label"]: _accuracy(system) for system in table["systems"].values()}
        for task, table in found["tasks"].items()
    ]


def _accuracy(system: Mapping[str, Any]) -> str:
    return "failed" if "error" in system else _spread([system["accuracy"], system["accuracy_sd"]])


def goal_rows(found: Mapping[str, Any]) -> list[Row]:
    """What was to be reached on each task, and what was."""
    return [_asked_row(task, table) for task, table in found["tasks"].items()]


def _asked_row(task: str, table: Mapping[str, Any]) -> Row:
    share, asked = table["ytuning"] / table["full"], ASKED.get(task)
    return {
        "task": f"{task} ({table['labels']} labels, {table['texts']:,} texts)",
        "of full fine-tuning": f"{share:.1%}" + ("" if asked is None else f" (asked {asked:.0%})"),
        "above the linear probe": f"{100 * (table['ytuning'] - table['linear']):+.1f} points",
        "weights": f"{table['params_percent']:.2f} %",
        "full ÷ ours, one training": f"{table['flops_ratio_full']:.1f}",
        "… read once for all seeds": f"{table['flops_ratio_seeds']:.1f}",
    }


def use_rows(found: Mapping[str, Any]) -> list[Row]:
    """Few labels, right and wrong names, and labels that were never trained on."""
    return [
        {"system": system["label"], **{f"{each} of each label": _spread(system[each]) for each in found["each"]}}
        for system in found["few"].values()
    ]


def _spread(values: list[float]) -> str:
    mean, sd = values
    return f"{mean:.3f} ± {sd:.3f}"
