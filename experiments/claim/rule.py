"""The rule that decides the paper's claim, fixed before any of its five seeds was run.

Zeldes et al. (2020): an auxiliary gives "similar results to training from scratch, while using significantly fewer
resources". In Storyland, at equal data, the claim counts as *supported at this scale* if in at least four of five seeds
all three hold:

1. **control**: the auxiliary's keyword accuracy is at least 95 % of the best that training from scratch reaches;
2. **fluency**: its mean SLOR, under the true process, is not below the 95 % interval of that same best's mean;
3. **cost**: it takes at least three times fewer training operations than training from scratch takes to get as far.
   The frozen model's forward pass over the task's sentences counts, its pre-training does not.

Details, fixed as well. *From scratch* is a conditional language model of the expert's own size;
its best checkpoint is the one whose development samples most often hold the keyword in a grammatical sentence. The
*bar* is (1) and (2) together. For both systems, cost is that of the first checkpoint whose development figures pass the
bar by one standard error; from scratch is held to its own bar, not to its last step. The auxiliary's figures are then
those of that very checkpoint on test sentences, against the bar from scratch's best checkpoint on test sentences. A
seed in which a system failed, or never passed the bar, does not count as support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

SHARE, FEWER, SEEDS_NEEDED, Z = 0.95, 3.0, 4, 1.96
FACTORS = ("fewer_sentences", "cheaper_sentences", "cached_states")  # their product is a seed's ratio of operations

Checkpoint = Mapping[str, Any]


@dataclass(frozen=True)
class Threshold:
    """The bar of the rule: keyword accuracy and mean SLOR."""

    accuracy: float
    slor: float

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Threshold:
        """Return the bar set by a best checkpoint: `SHARE` of its accuracy, the lower end of its SLOR's interval."""
        return cls(SHARE * figures["accuracy"], figures["slor"] - Z * figures["slor_se"])

    def passed(self, figures: Mapping[str, float], margin: float = 0.0) -> bool:
        """Return whether figures pass by ``margin`` of their standard errors."""
        accuracy = figures["accuracy"]
        accuracy_se = sqrt(accuracy * (1 - accuracy) / figures["n"])
        return (
            accuracy - margin * accuracy_se >= self.accuracy
            and figures["slor"] - margin * figures["slor_se"] >= self.slor
        )


def best(curve: Sequence[Checkpoint]) -> Checkpoint:
    """Return the checkpoint with the highest success on development data; of equals the earliest."""
    return max(curve, key=lambda checkpoint: (checkpoint["dev"]["success"], -checkpoint["step"]))


def first_passing_checkpoint(curve: Sequence[Checkpoint], bar: Threshold) -> Checkpoint | None:
    """Return the first checkpoint that passes on development data by one standard error, or None."""
    return next((checkpoint for checkpoint in curve if bar.passed(checkpoint["dev"], margin=1.0)), None)


def verdict(scratch: Sequence[Checkpoint], auxiliary: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the verdict on one seed, from the checkpoints of both systems in the order of training.

    If training from scratch never passes its own bar by a standard error, its cost is that of its best checkpoint.
    """
    top = best(scratch)
    bar, test_bar = Threshold.of(top["dev"]), Threshold.of(top["test"])
    theirs, ours = first_passing_checkpoint(scratch, bar) or top, first_passing_checkpoint(auxiliary, bar)
    if ours is None:
        return {"passes": False, "why": "the auxiliary never passed the bar on development data"}
    ratio = theirs["flops"] / ours["flops"]
    control = ours["test"]["accuracy"] >= test_bar.accuracy
    fluency = ours["test"]["slor"] >= test_bar.slor
    broken = [name for name, held in (("control", control), ("fluency", fluency), ("cost", ratio >= FEWER)) if not held]
    return {
        "passes": not broken,
        "why": f"not {' and not '.join(broken)}" if broken else "control, fluency and cost",
        "flops_ratio": ratio,
        "flops_ratio_to_best": top["flops"] / ours["flops"],
        "bar": {"accuracy": test_bar.accuracy, "slor": test_bar.slor},
        "scratch_step": theirs["step"],
        "scratch_flops": theirs["flops"],
        "auxiliary_step": ours["step"],
        "auxiliary_flops": ours["flops"],
        "auxiliary": ours["test"],
        "scratch": top["test"],
    }


def supported(verdicts: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether enough seeds pass."""
    return sum(bool(verdict["passes"]) for verdict in verdicts) >= SEEDS_NEEDED
