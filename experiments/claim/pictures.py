"""Pictures of the claim's results, one function for each, from the record and the recorded curves.

Lines are medians over seeds, bands reach from the lowest to the highest seed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from auxlib.data.storage import write_json_atomic
from auxlib.plot import Picture, curves, weight_sweep
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import WHOLE
from experiments.records import CLAIM_CURVES, RECORDS

Curves = Sequence[Mapping[str, Any]]  # one entry a trial, from `report.curves`
Line = tuple[list[float], list[float]]
LEARNERS = ("auxiliary", "own_trunk", "scratch", "scratch_aided", "fine_tuned", "lora_16")
AXES = {
    "flops": ("training operations (GFLOP)", 1e-9),
    "step": ("optimiser steps", 1.0),
    "train_seconds": ("seconds of training on one core", 1.0),
}
FIGURES = {
    "accuracy": "keyword accuracy",
    "grammatical": "share grammatical",
    "success": "hold the keyword, grammatical",
    "slor": "SLOR (nats per token)",
}


def load_curves(root: Path) -> Curves:
    """Return the recorded curves of all trials."""
    return json.loads((root / CLAIM_CURVES).read_text(encoding="utf-8"))


def over_cost(
    recorded: Curves,
    title: str,
    figure: str = "accuracy",
    axis: str = "flops",
    systems: Sequence[str] = LEARNERS,
    sentences: int = WHOLE.train,
    live: Mapping[str, Line] | None = None,
    levels: Mapping[str, float] | None = None,
) -> Picture:
    """Plot a figure of merit over cost (F1, F2, F5), with the reader's own ``live`` lines on top."""
    label, unit = AXES[axis]
    lines, bands = {}, {}
    for name in systems:
        runs = [run for run in recorded if run["system"] == name and run["sentences"] == sentences]
        if runs:
            x = [unit * median([run["curve"][axis][i] for run in runs]) for i in range(_length(runs))]
            values = [[run["curve"][figure][i] for run in runs] for i in range(_length(runs))]
            lines[SYSTEMS[name].label] = x, [median(value) for value in values]
            bands[SYSTEMS[name].label] = x, [min(value) for value in values], [max(value) for value in values]
    lines |= {name: ([unit * value for value in x], list(y)) for name, (x, y) in (live or {}).items()}
    return curves(lines, label, FIGURES[figure], title, levels, log_x=True, bands=bands)


def illustrate(root: Path) -> None:
    """Draw the README's figure beside the record, and add its file name and description to the record."""
    path = root / RECORDS["claim"].path
    results = json.loads(path.read_text(encoding="utf-8"))
    ratio = results["flops_ratio"]
    title = "Control and grammar together, over cost"
    title += "" if ratio is None else f": as far as from scratch with {ratio:.0f} times fewer operations"
    picture = over_cost(load_curves(root), title, "success")
    path.with_suffix(".png").write_bytes(picture.png)
    write_json_atomic(path, results | {"figure": path.with_suffix(".png").name, "figure_alt": picture.alt})


def _length(runs: Curves) -> int:
    """Return the number of checkpoints that all runs have."""
    return min(len(run["curve"]["step"]) for run in runs)


def over_weight(recorded: Curves, title: str, system: str = "auxiliary") -> Picture:
    """Plot control and fluency over the weight λ (F3)."""
    points = _by_weight(recorded, system)
    weights = sorted(points)
    series = {
        FIGURES[name]: [median([point[name] for point in points[weight]]) for weight in weights]
        for name in ("accuracy", "grammatical")
    }
    return weight_sweep(weights, series, title)


def frontier(results: Mapping[str, Any], recorded: Curves, title: str, systems: Sequence[str]) -> Picture:
    """Plot keyword accuracy over drift from the frozen expert, with the exact frontier (F3).

    A system that was measured at several weights λ is a line, any other a point.
    """
    exact = results["frontier"]
    lines: dict[str, Line] = {"exact frontier": ([drift for _, drift in exact], [accuracy for accuracy, _ in exact])}
    for name in systems:
        points = _by_weight(recorded, name)
        drawn = [
            [median([p[key] for p in points[weight]]) for key in ("drift", "accuracy")] for weight in sorted(points)
        ]
        drawn = drawn or [[results["systems"][name][key] for key in ("drift", "accuracy")]]
        lines[SYSTEMS[name].label] = [drift for drift, _ in drawn], [accuracy for _, accuracy in drawn]
    lines = {name: _drawable(line) for name, line in lines.items()}
    return curves(lines, "drift from the expert, KL (nats per sentence)", FIGURES["accuracy"], title, log_x=True)


def _drawable(line: Line) -> Line:
    """Drop points whose drift is too small for a logarithmic axis."""
    kept = [(x, y) for x, y in zip(*line, strict=True) if x > 0.05]
    return [x for x, _ in kept], [y for _, y in kept]


def _by_weight(recorded: Curves, system: str) -> dict[float, list[Mapping[str, float]]]:
    """Return the test figures of all seeds at each weight λ."""
    points: dict[float, list[Mapping[str, float]]] = defaultdict(list)
    for run in recorded:
        if run["system"] == system and run["dial"] and run["sentences"] == WHOLE.train:
            for point in run["dial"]:
                points[point["weight"]].append(point)
            trained = run["setting"].get("weight", 1.0)
            points[trained].append({key: run["curve"][key][-1] for key in ("accuracy", "grammatical", "slor", "drift")})
    return dict(points)


def data_efficiency(recorded: Curves, title: str, systems: Sequence[str]) -> Picture:
    """Plot final keyword accuracy over the number of training sentences (F4)."""
    lines: dict[str, Line] = {}
    for name in systems:
        reached: dict[float, list[float]] = defaultdict(list)
        for run in recorded:
            if run["system"] == name and run["seed"] < 1:
                reached[run["sentences"]].append(run["curve"]["accuracy"][-1])
        if reached:
            lines[SYSTEMS[name].label] = sorted(reached), [median(reached[n]) for n in sorted(reached)]
    return curves(lines, "sentences to learn from", FIGURES["accuracy"], title, log_x=True)


def first_losses(recorded: Curves, title: str, steps: int = 100) -> Picture:
    """Plot the training loss of the first steps, for zero and for random initialisation (F6)."""
    lines = {}
    for name, label in (("auxiliary", "starts at zero"), ("random_init", "starts at random")):
        run = next(run for run in recorded if run["system"] == name and run["early_losses"])
        losses = run["early_losses"][:steps]
        lines[label] = list(range(1, len(losses) + 1)), losses
    return curves(lines, "step", "loss (nats per token)", title, log_x=True)


def over_tasks(results: Mapping[str, Any], pretraining: float, title: str, most: int = 12) -> Picture:
    """Plot total operations over the number of tasks, pre-training included; it pays where the lines cross (F10)."""
    count = list(range(most + 1))
    costs = {name: results["systems"][name]["flops_to_bar"] for name in ("scratch", "auxiliary")}
    lines = {
        "each task from scratch": (count, [n * costs["scratch"] / 1e12 for n in count]),
        "pre-training, then auxiliaries": (count, [(pretraining + n * costs["auxiliary"]) / 1e12 for n in count]),
    }
    return curves(lines, "tasks", "operations in all (TFLOP)", title)
