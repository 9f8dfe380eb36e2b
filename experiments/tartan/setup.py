"""Who takes part, and how is one of them tried? Everybody begins at the same body, and may use it as often."""

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
    """A task, and what else its body could be asked.

    Attributes:
        labelled, dev, test: rows of the end task.
        count: of its labels.
        width: D.
        body: a body to begin with.
        others: objectives by name, made for that name and a body.
    """

    labelled: Rows
    dev: Rows
    test: Rows
    count: int
    width: int
    body: Callable[[], nn.Module]
    others: Mapping[str, Callable[[str, nn.Module], Objective]]


@dataclass(frozen=True)
class Arm:
    """One way to use the other objectives.

    Attributes:
        label: its name in tables.
        others: which.
        first: half of all passes are theirs alone, and the end task follows.
        rule: how weights learn; None weighs all the same.
    """

    label: str
    others: tuple[str, ...] = ()
    first: bool = False
    rule: str | None = None


def train_arm(
    lab: TaskSetup, arm: Arm, plan: TrainingConfig, meta_rate: float = 0.05
) -> tuple[MultiTaskModel, History]:
    """Train a body as an arm would; the seed decides where it begins, and all batches."""
    torch.manual_seed(plan.seed)
    body = lab.body()
    others = [lab.others[name](name, body) for name in arm.others]
    end = Classification(END, lab.labelled, lab.width, lab.count)
    if arm.first:
        plan = replace(plan, passes=plan.passes // 2)
        train_multitask(MultiTaskModel(body, others), plan, progress=False)
        others = []
    # β only scales the exact rule: at this size, gradients as long as one and alike, it learns as fast as the other
    meta = MetaWeights(1 + len(others), meta_rate, arm.rule, step_size=1 + len(others)) if arm.rule else None
    shared = MultiTaskModel(body, [end, *others])
    return shared, train_multitask(shared, plan, lab.dev, meta, progress=False)


def evaluate(lab: TaskSetup, shared: MultiTaskModel) -> dict[str, float]:
    """Figures on the test rows."""
    return classification_metrics(predict_logits(shared, lab.test, rows_batch), labels_of(lab.test))


def try_arm(lab: TaskSetup, arm: Arm, plan: TrainingConfig, meta_rate: float = 0.05) -> dict[str, Any]:
    """What an arm says of the test rows, and how its weights went; plain numbers, for JSON."""
    shared, taught = train_arm(lab, arm, plan, meta_rate)
    every = max(1, len(taught.weights) // 50)
    return evaluate(lab, shared) | {
        "dev": max(taught.dev), "step_seconds": taught.step_seconds, "trained_seconds": taught.seconds,
        "weights": [[round(w, 4) for w in row] for row in taught.weights[::every].tolist()],
        "ended": [round(w, 6) for w in taught.weights[-1].tolist()],
        "cosines": [round(c, 4) for c in taught.cosines.mean(0).tolist()],
    }  # fmt: skip


def take_per_class(rows: Rows, each: int) -> tuple[Rows, Rows]:
    """The first rows of every label, and all others."""
    met: Counter[int] = Counter()
    some, rest = [], []
    for row in rows:
        met[row["label"]] += 1
        (some if met[row["label"]] <= each else rest).append(row)
    return some, rest
