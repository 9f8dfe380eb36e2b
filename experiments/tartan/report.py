"""What came out? Means and standard errors over the seeds, and whether the order that was expected is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

from auxlib.benchmarking import hardware_info, package_versions
from auxlib.tartan.meta_weights import MetaWeights, ObjectiveLoss, accumulate_weighted_grads, development_gradient
from auxlib.tartan.objectives import Classification, rows_batch
from auxlib.tartan.trainer import MultiTaskModel
from experiments.runner import Record, require_probe, require_provenance
from experiments.tartan.experiment import (
    ALL,
    ARMS,
    CROWD,
    MAIN_EACH,
    MAIN_PASSES,
    REAL,
    STORY,
    STORY_CROWD,
    TASKS,
    made_by,
)
from experiments.tartan.setup import END, Arm
from experiments.tartan.story import story_body
from experiments.tartan.table import AGAIN, RESULTS, read_endtask

PROBE_TOLERANCE = 5e-4  # the probe is in float32 throughout, and its directions are a few thousandths


def assemble(records: Sequence[Record]) -> dict[str, Any]:
    """The results; what failed is listed, and missing from its mean."""
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
        "failed": {"-".join(map(str, list(r.values())[:7])): r["error"] for r in records if "error" in r},
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _arms(arms: Mapping[str, Arm], records: Sequence[Record]) -> dict[str, Any]:
    by_arm = {arm: [r for r in records if r["arm"] == arm] for arm in arms}
    return {arm: {"label": arms[arm].label} | _of(mine) for arm, mine in by_arm.items() if mine}


def _of(records: Sequence[Record]) -> dict[str, Any]:
    found = {key: _spread([r[key] for r in records]) for key in ("macro_f1", "accuracy")}
    ended = [round(mean(weights), 3) for weights in zip(*(r["ended"] for r in records), strict=True)]
    return found | {
        "seeds": [round(r["macro_f1"], 4) for r in records], "ended": ended, "rate": records[0]["rate"],
        "step_seconds": round(median(r["step_seconds"] for r in records), 4),
    }  # fmt: skip


def _spread(values: Sequence[float]) -> list[float]:
    """Mean and standard error."""
    return [round(mean(values), 4), round(stdev(values) / sqrt(len(values)), 4) if len(values) > 1 else 0.0]


def _curves(key: str, records: Sequence[Record], figure: str = "macro_f1") -> dict[str, Any]:
    """For every arm the mean and standard error of its figure at each budget, or whatever else the key is."""
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(r["arm"] for r in records):
        mine = [r for r in records if r["arm"] == arm]
        points = sorted({r[key] for r in mine})
        found[arm] = {str(at): _spread([r[figure] for r in mine if r[key] == at]) for at in points}
    return {arm: curve for arm, curve in found.items() if len(curve) > 1}


def _trajectory(records: Sequence[Record]) -> list[list[list[float]]]:
    """Mean, least and greatest weight over the seeds, of every objective at each noted step."""
    steps = zip(*(r["weights"] for r in records), strict=False)
    return [[[round(f(w), 4) for w in zip(*rows, strict=True)] for f in (mean, min, max)] for rows in steps]


def _ranked(record: Record) -> bool:
    """Whether the useful objective weighs more than the neutral one, and that more than the harmful one."""
    _, useful, neutral, harmful = record["ended"]
    return useful > neutral > harmful


def _step_ratio(records: Sequence[Record]) -> float | None:
    """Seconds of a META step over those of an MT step with the same objectives; the middling pair of runs."""
    took = {(r["arm"], r["task"], r["seed"]): r["step_seconds"] for r in records}
    ratios = [took[key] / took["mt", *key[1:]] for key in took if key[0] == "meta" and ("mt", *key[1:]) in took]
    return round(median(ratios), 2) if ratios else None


def origin() -> dict[str, Any]:
    """What results stand on: the experiment's own code and texts, and the library as it computes."""
    return {"made_by": made_by(), "rehearsal": behaviour_probe()}


def behaviour_probe() -> list[float]:
    """The first meta-gradient of a body that has learned nothing: loss, and both rules' direction for the weights."""
    torch.manual_seed(0)
    body = story_body(50).eval()
    rows = [{"token_ids": [(i * step) % 49 + 1 for step in range(3, 9)], "label": i % 3} for i in range(24)]
    shared = MultiTaskModel(body, [Classification(END, rows, 64, 3), Classification("other", rows[::2], 64, 3)])
    parameters, batch = list(body.parameters()), rows_batch(rows)
    toward = development_gradient(parameters, shared.states, rows_batch(rows[::2]), rows_batch(rows[1::2]), 3)
    asked = [
        ObjectiveLoss(one.name, lambda one=one: one.loss(shared.states(batch), batch)) for one in shared.objectives
    ]
    seen = accumulate_weighted_grads(parameters, asked, torch.full((2,), 0.5), toward)
    directions = [MetaWeights(2, rule=rule).direction(seen)[0].item() for rule in ("cosine", "exact")]
    return [round(number, 4) for number in (*seen.losses.tolist(), *directions)]


def load_endtask(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any; those of other code or data are refused."""
    found = read_endtask(root)
    if found is not None:
        require_provenance(found, made_by(), root / RESULTS, AGAIN)
        require_probe(found["rehearsal"], behaviour_probe(), RESULTS, AGAIN, tolerance=PROBE_TOLERANCE)
    return found
