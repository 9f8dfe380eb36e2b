"""A task with its objectives, and the training and evaluation of one arm.

All arms start from the same body and may make the same number of passes through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from auxlib.classification.trainer import classification_metrics, labels_of, predict_logits
from auxlib.tartan.meta_weights import MetaWeights
from auxlib.tartan.objectives import Classification, Objective, Rows, rows_batch
from auxlib.tartan.trainer import History, MultiTaskModel, TrainingConfig, train_multitask

END = "end task"


@dataclass(frozen=True)
class TaskSetup:
    """An end task, a body for it, and the other objectives that the body can be trained with.

    Attributes:
        labelled, dev, test: rows of the end task.
        count: number of its labels.
        width: D, of the body's states.
        body: makes the body to start from.
        objectives: by name, each made from that name and a body.
    """

    labelled: Rows
    dev: Rows
    test: Rows
    count: int
    width: int
    body: Callable[[], nn.Module]
    objectives: Mapping[str, Callable[[str, nn.Module], Objective]]


@dataclass(frozen=True)
class Arm:
    """One way to use objectives beside the end task.

    Attributes:
        label: its name in tables.
        objectives: names of the other objectives.
        first: train them alone for half of the passes, and the end task after that.
        rule: of META's weights, "cosine" or "exact"; None keeps all weights equal.
    """

    label: str
    objectives: tuple[str, ...] = ()
    first: bool = False
    rule: str | None = None


def train_arm(
    setup: TaskSetup, arm: Arm, config: TrainingConfig, meta_rate: float = 0.05
) -> tuple[MultiTaskModel, History]:
    """Train a body by an arm; the seed decides the initial weights and all batches."""
    torch.manual_seed(config.seed)
    body = setup.body()
    others = [setup.objectives[name](name, body) for name in arm.objectives]
    end = Classification(END, setup.labelled, setup.width, setup.count)
    if arm.first:
        config = replace(config, passes=config.passes // 2)
        train_multitask(MultiTaskModel(body, others), config, progress=False)
        others = []
    # β only scales the exact rule: at this size it is as fast as the cosine rule on parallel gradients of length 1
    meta = MetaWeights(1 + len(others), meta_rate, arm.rule, step_size=1 + len(others)) if arm.rule else None
    model = MultiTaskModel(body, [end, *others])
    return model, train_multitask(model, config, setup.dev, meta, progress=False)


def evaluate(setup: TaskSetup, model: MultiTaskModel) -> dict[str, float]:
    """Return figures on the test rows."""
    rows: Any = setup.test  # a list serves as a map-style dataset
    return classification_metrics(predict_logits(model, rows, rows_batch), labels_of(rows))


def evaluate_arm(setup: TaskSetup, arm: Arm, config: TrainingConfig, meta_rate: float = 0.05) -> dict[str, Any]:
    """Train an arm; return its test figures and the course of its weights as plain numbers, for JSON."""
    model, history = train_arm(setup, arm, config, meta_rate)
    every = max(1, len(history.weights) // 50)
    return evaluate(setup, model) | {
        "dev": max(history.dev),
        "step_seconds": history.step_seconds,
        "trained_seconds": history.seconds,
        "weights": [[round(w, 4) for w in row] for row in history.weights[::every].tolist()],
        "ended": [round(w, 6) for w in history.weights[-1].tolist()],
        "cosines": [round(c, 4) for c in history.cosines.mean(0).tolist()],
    }


def take_per_class(rows: Rows, each: int) -> tuple[Rows, Rows]:
    """Return the first ``each`` rows of every label, and all other rows."""
    counts: Counter[int] = Counter()
    first: list[Mapping[str, Any]] = []
    rest: list[Mapping[str, Any]] = []
    for row in rows:
        counts[row["label"]] += 1
        (first if counts[row["label"]] <= each else rest).append(row)
    return first, rest
