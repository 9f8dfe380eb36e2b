"""Tables of the Y-Tuning results, for README and notebook 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.tables import Row

GOALS = {"r8": 0.98, "20ng": 0.96, "vader-movie": 0.96}  # shares of full fine-tuning's accuracy, fixed before the run


def task_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each task and system: accuracy and cost."""
    return [_task_row(task, system) for task, table in results["tasks"].items() for system in table["systems"].values()]


def _task_row(task: str, system: Mapping[str, Any]) -> Row:
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


def accuracy_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each task, one column for each system: test accuracy, mean ± deviation over seeds."""
    return [
        {"task": task} | {system["label"]: _accuracy(system) for system in table["systems"].values()}
        for task, table in results["tasks"].items()
    ]


def _accuracy(system: Mapping[str, Any]) -> str:
    return "failed" if "error" in system else _spread([system["accuracy"], system["accuracy_sd"]])


def goal_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each task: its goals and what was reached."""
    return [_goal_row(task, table) for task, table in results["tasks"].items()]


def _goal_row(task: str, table: Mapping[str, Any]) -> Row:
    share, goal = table["ytuning"] / table["full"], GOALS.get(task)
    return {
        "task": f"{task} ({table['labels']} labels, {table['texts']:,} texts)",
        "of full fine-tuning": f"{share:.1%}" + ("" if goal is None else f" (asked {goal:.0%})"),
        "above the linear probe": f"{100 * (table['ytuning'] - table['linear']):+.1f} points",
        "weights": f"{table['params_percent']:.2f} %",
        "full ÷ ours, one training": f"{table['flops_ratio_full']:.1f}",
        "… read once for all seeds": f"{table['flops_ratio_seeds']:.1f}",
    }


def use_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each system that was trained on few texts of every label."""
    return [
        {"system": system["label"], **{f"{each} of each label": _spread(system[each]) for each in results["each"]}}
        for system in results["few"].values()
    ]


def _spread(values: list[float]) -> str:
    mean, sd = values
    return f"{mean:.3f} ± {sd:.3f}"
