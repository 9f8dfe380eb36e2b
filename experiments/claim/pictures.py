"""How do the results look? One function for each figure of the experiment, drawn from what it recorded.

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
from experiments.claim.campaign import WHOLE
from experiments.claim.plan import SYSTEMS
from experiments.claim.results import CURVES, RESULTS

Recorded = Sequence[Mapping[str, Any]]
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


def load_curves(root: Path) -> Recorded:
    """What the experiment kept for pictures."""
    return json.loads((root / CURVES).read_text(encoding="utf-8"))


def against_cost(
    recorded: Recorded,
    title: str,
    figure: str = "accuracy",
    axis: str = "flops",
    systems: Sequence[str] = LEARNERS,
    sentences: int = WHOLE.train,
    live: Mapping[str, Line] | None = None,
    levels: Mapping[str, float] | None = None,
) -> Picture:
    """A figure of merit over what was spent (F1, F2, F5); ``live`` lines of the reader's own lie on top."""
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
    """Draw the figure of the README beside the results, and put its description into them."""
    found = json.loads((root / RESULTS).read_text(encoding="utf-8"))
    ratio = found["flops_ratio"]
    title = "Control and grammar together, over cost"
    title += "" if ratio is None else f": as far as from scratch with {ratio:.0f} times fewer operations"
    picture = against_cost(load_curves(root), title, "success")
    (root / RESULTS).with_suffix(".png").write_bytes(picture.png)
    write_json_atomic(root / RESULTS, found | {"figure": RESULTS.with_suffix(".png").name, "figure_alt": picture.alt})


def _length(runs: Recorded) -> int:
    return min(len(run["curve"]["step"]) for run in runs)


def turned(recorded: Recorded, title: str, system: str = "auxiliary") -> Picture:
    """What the weight λ does to control and to fluency (F3)."""
    points = _by_weight(recorded, system)
    weights = sorted(points)
    series = {
        FIGURES[name]: [median([point[name] for point in points[weight]]) for weight in weights]
        for name in ("accuracy", "grammatical")
    }
    return weight_sweep(weights, series, title)


def frontier(found: Mapping[str, Any], recorded: Recorded, title: str, systems: Sequence[str]) -> Picture:
    """Keyword accuracy over the drift from the frozen expert, with the exact frontier that nothing can pass (F3).

    A system with a dial is a line, any other is a point.
    """
    exact = found["frontier"]
    lines: dict[str, Line] = {"exact frontier": ([drift for _, drift in exact], [accuracy for accuracy, _ in exact])}
    for name in systems:
        points = _by_weight(recorded, name)
        drawn = [
            [median([p[key] for p in points[weight]]) for key in ("drift", "accuracy")] for weight in sorted(points)
        ]
        drawn = drawn or [[found["systems"][name][key] for key in ("drift", "accuracy")]]
        lines[SYSTEMS[name].label] = [drift for drift, _ in drawn], [accuracy for _, accuracy in drawn]
    lines = {name: _drawable(line) for name, line in lines.items()}
    return curves(lines, "drift from the expert, KL (nats per sentence)", FIGURES["accuracy"], title, log_x=True)


def _drawable(line: Line) -> Line:
    """Without points too near to the expert for a logarithmic axis."""
    kept = [(x, y) for x, y in zip(*line, strict=True) if x > 0.05]
    return [x for x, _ in kept], [y for _, y in kept]


def _by_weight(recorded: Recorded, system: str) -> dict[float, list[Mapping[str, float]]]:
    points = defaultdict(list)
    for run in recorded:
        if run["system"] == system and run["dial"] and run["sentences"] == WHOLE.train:
            for point in run["dial"]:
                points[point["weight"]].append(point)
            trained = run["setting"].get("weight", 1.0)
            points[trained].append({key: run["curve"][key][-1] for key in ("accuracy", "grammatical", "slor", "drift")})
    return dict(points)


def data_efficiency(recorded: Recorded, title: str, systems: Sequence[str]) -> Picture:
    """Keyword accuracy that was reached at the end, over the sentences there were to learn from (F4)."""
    lines = {}
    for name in systems:
        reached = defaultdict(list)
        for run in recorded:
            if run["system"] == name and run["seed"] < 1:
                reached[run["sentences"]].append(run["curve"]["accuracy"][-1])
        if reached:
            lines[SYSTEMS[name].label] = sorted(reached), [median(reached[n]) for n in sorted(reached)]
    return curves(lines, "sentences to learn from", FIGURES["accuracy"], title, log_x=True)


def starts(recorded: Recorded, title: str, steps: int = 100) -> Picture:
    """The training loss from the first step on, for a start at zero and a random one (F6)."""
    lines = {}
    for name, label in (("auxiliary", "starts at zero"), ("random_init", "starts at random")):
        run = next(run for run in recorded if run["system"] == name and run["early_losses"])
        losses = run["early_losses"][:steps]
        lines[label] = list(range(1, len(losses) + 1)), losses
    return curves(lines, "step", "loss (nats per token)", title, log_x=True)


def tasks(found: Mapping[str, Any], pretraining: float, title: str, most: int = 12) -> Picture:
    """Operations for so many tasks, pre-training included: where the lines cross, it has paid (F10)."""
    count = list(range(most + 1))
    costs = {name: found["systems"][name]["flops_to_bar"] for name in ("scratch", "auxiliary")}
    lines = {
        "each task from scratch": (count, [n * costs["scratch"] / 1e12 for n in count]),
        "pre-training, then auxiliaries": (count, [(pretraining + n * costs["auxiliary"]) / 1e12 for n in count]),
    }
    return curves(lines, "tasks", "operations in all (TFLOP)", title)
