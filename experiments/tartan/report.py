"""The TARTAN results: means and standard errors over the seeds, and the order of the learned weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import mean, median, stdev
from typing import Any

from experiments.benchmarking import hardware_info, package_versions
from experiments.records import Record
from experiments.tartan.arms import ALL, ARMS, CROWD
from experiments.tartan.plan import MAIN_EACH, MAIN_PASSES, REAL, STORY, STORY_CROWD, TASKS
from experiments.tartan.setup import END, Arm


def assemble(records: Sequence[Record]) -> dict[str, Any]:
    """Return the results; failed trials are listed and left out of the means."""
    done = [record for record in records if "error" not in record]
    story, crowd = ([r for r in done if (r["use"], r["task"]) == ("test", task)] for task in (STORY, STORY_CROWD))
    searched = [r for r in done if (r["use"], r["task"]) == ("search", STORY_CROWD)]
    real = [r for r in done if r["task"] in TASKS]
    main = _arms(ARMS, [r for r in story if (r["passes"], r["each"]) == (MAIN_PASSES, MAIN_EACH)])
    return {
        "storyland": {
            "main": main,
            "passes": _curves("passes", [r for r in story if r["each"] == MAIN_EACH]),
            "labels": _curves("each", [r for r in story if r["passes"] == MAIN_PASSES]),
            "crowd": _arms(CROWD, crowd),
            "rates": _curves("rate", searched, "dev"),
            "objectives": [END, *ALL],
            "weights": {arm: _trajectory([r for r in crowd if r["arm"] == arm]) for arm in ("meta", "exact")},
        },
        "real": {task: _arms(REAL, [r for r in real if r["task"] == task]) for task in TASKS},
        "ranking_seeds_correct": {arm: sum(_ranked(r) for r in crowd if r["arm"] == arm) for arm in ("meta", "exact")},
        "meta_step_ratio": _step_ratio(real),
        # the first seven values are those of the trial
        "failed": {"-".join(map(str, list(r.values())[:7])): r["error"] for r in records if "error" in r},
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _arms(arms: Mapping[str, Arm], records: Sequence[Record]) -> dict[str, Any]:
    by_arm = {arm: [r for r in records if r["arm"] == arm] for arm in arms}
    return {arm: {"label": arms[arm].label} | _figures(mine) for arm, mine in by_arm.items() if mine}


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    ended = [round(mean(weights), 3) for weights in zip(*(r["ended"] for r in records), strict=True)]
    return {
        **{key: _spread([r[key] for r in records]) for key in ("macro_f1", "accuracy")},
        "seeds": [round(r["macro_f1"], 4) for r in records],
        "ended": ended,
        "rate": records[0]["rate"],
        "step_seconds": round(median(r["step_seconds"] for r in records), 4),
    }


def _spread(values: Sequence[float]) -> list[float]:
    """Return mean and standard error."""
    return [round(mean(values), 4), round(stdev(values) / sqrt(len(values)), 4) if len(values) > 1 else 0.0]


def _curves(key: str, records: Sequence[Record], figure: str = "macro_f1") -> dict[str, Any]:
    """Return for every arm the mean and standard error of a figure at each value of ``key``, such as a budget."""
    curves: dict[str, Any] = {}
    for arm in dict.fromkeys(r["arm"] for r in records):
        mine = [r for r in records if r["arm"] == arm]
        points = sorted({r[key] for r in mine})
        curves[arm] = {str(at): _spread([r[figure] for r in mine if r[key] == at]) for at in points}
    return {arm: curve for arm, curve in curves.items() if len(curve) > 1}


def _trajectory(records: Sequence[Record]) -> list[list[list[float]]]:
    """Return mean, least and greatest weight over the seeds, of every objective at each recorded step."""
    steps = zip(*(r["weights"] for r in records), strict=False)
    return [[[round(f(w), 4) for w in zip(*rows, strict=True)] for f in (mean, min, max)] for rows in steps]


def _ranked(record: Record) -> bool:
    """Return whether the final weights order the objectives as useful, neutral, harmful."""
    _, useful, neutral, harmful = record["ended"]
    return useful > neutral > harmful


def _step_ratio(records: Sequence[Record]) -> float | None:
    """Return seconds of a META step over those of an MT step with the same objectives, the median over pairs."""
    seconds = {(r["arm"], r["task"], r["seed"]): r["step_seconds"] for r in records}
    pairs = [(key, ("mt", *key[1:])) for key in seconds if key[0] == "meta"]
    ratios = [seconds[meta] / seconds[mt] for meta, mt in pairs if mt in seconds]
    return round(median(ratios), 2) if ratios else None
