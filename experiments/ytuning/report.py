"""The Y-Tuning results: mean and standard deviation of every system over its seeds, and the figures of the claim."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from experiments.benchmarking import hardware_info, package_versions
from experiments.records import Record
from experiments.ytuning.plan import EACH, FEW_SHOT_TASK, SEEDS, TASKS
from experiments.ytuning.systems import BY_NAME, SYSTEMS

MEAN = ("train_flops", "read_flops", "told_flops", "memory_bytes", "learning", "epoch_seconds", "best_epoch")


def assemble(records: Sequence[Record]) -> Record:
    """Return the results: for every task and system its test figures, or its error."""
    done = [record for record in records if "error" not in record]

    def of_use(use: str, system: str) -> list[Record]:
        return [record for record in done if record["use"] == use and record["system"] == system]

    few = {name: _few_shot(name, of_use("few", name)) for name in (SYSTEMS | BY_NAME)}
    failed = [record for record in records if "error" in record]
    return {
        "tasks": {task: _task(task, records) for task in TASKS if any(r["task"] == task for r in done)},
        "few": {name: system for name, system in few.items() if len(system) > 1},
        "unseen": {name: _mean_and_sd(of_use("unseen", name), ("accuracy", "seen", "cosine")) for name in BY_NAME},
        "each": list(map(str, EACH)),
        "used": FEW_SHOT_TASK,
        "failed": {f"{r['task']}, {r['system']}, {r['use']}, seed {r['seed']}": r["error"] for r in failed},
        "seeds": len(SEEDS),
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _task(task: str, records: Sequence[Record]) -> Record:
    """Return the figures of the claim on one task, and those of all systems."""
    compared = [record for record in records if record["task"] == task and record["use"] == "all"]
    systems = {name: _system(name, [r for r in compared if r["system"] == name]) for name in SYSTEMS}
    ours, full = systems["ytuning"], systems["full"]
    figures: Record = {name: system.get("accuracy") for name, system in systems.items()}
    if "error" not in ours and "error" not in full:
        train, read, full_train = ours["train_flops"], ours["read_flops"], full["train_flops"]
        figures |= {
            "params_percent": ours["params_percent"],
            "flops_ratio_full": round(full_train / (train + read), 2),
            "flops_ratio_seeds": round(len(SEEDS) * full_train / (len(SEEDS) * train + read), 2),
            "texts": ours["learned_from"],
            "labels": ours["labels"],
            "chance": ours["chance"],
        }
    return figures | {"systems": systems}


def _system(name: str, records: Sequence[Record]) -> Record:
    done = [record for record in records if "error" not in record]
    label: Record = {"label": SYSTEMS[name].label}
    if not done:
        return label | {"error": records[0]["error"] if records else "was not run"}
    first, figures = done[0], _mean_and_sd(done, ("accuracy", "macro_f1"))
    figures |= {key: round(mean(record[key] for record in done), 3) for key in MEAN}
    noisy = {noise: round(mean(record["noisy"][noise] for record in done), 4) for noise in first["noisy"]}
    return {
        **label,
        **figures,
        "noisy": noisy,
        "params_percent": round(100 * figures["learning"] / first["encoder"], 3),
        "setting": SYSTEMS[name].settings[first["setting"]],
        "seeds": len(done),
        **{key: first[key] for key in ("learned_from", "labels", "chance")},
    }


def _few_shot(name: str, records: Sequence[Record]) -> dict[str, Any]:
    """Return the label, and mean and deviation of the accuracy for each number of texts a label."""
    accuracies = {str(each): [r["accuracy"] for r in records if r["each"] == each] for each in EACH}
    spread = {each: [round(mean(values), 4), round(_sd(values), 4)] for each, values in accuracies.items() if values}
    return {"label": (SYSTEMS | BY_NAME)[name].label} | spread


def _mean_and_sd(records: Sequence[Record], keys: Sequence[str]) -> dict[str, float]:
    """Return means, and standard deviations over the seeds; nothing without records."""
    if not records:
        return {}
    means = {key: round(mean(record[key] for record in records), 4) for key in keys}
    return means | {f"{key}_sd": round(_sd([record[key] for record in records]), 4) for key in keys}


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
