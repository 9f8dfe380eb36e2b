"""Runs A to E of notebook 12, debug me: in each, one of the five parts of a training run has a bug.

The broken parts are common mistakes, each with the comment that makes it plausible. The notebook treats the runs as
black boxes: it calls `parts_of`, and prints `broken_source` only after its instruments have named a suspect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import getsource
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from course.exercises import notebook_12

RUNS = ("healthy", "A", "B", "C", "D", "E")


@dataclass(frozen=True)
class TrainingParts:
    """The five functions of a training run."""

    frozen: Callable[..., Any]  # the expert as it was loaded -> the expert as it must be
    shifted: Callable[..., Any]  # sentences -> inputs, targets
    joint: Callable[..., Any]  # two experts' logits and a weight -> joint logits
    masked_nll: Callable[..., Any]  # joint logits, targets -> loss
    trainable: Callable[..., Any]  # expert, auxiliary -> parameters for the optimiser


def masked_nll_a(joint_logits: Tensor, targets: Tensor) -> Tensor:
    # cross_entropy averages over all positions by itself
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten())


def trainable_b(model: nn.Module, auxiliary: nn.Module) -> list[nn.Parameter]:
    # the optimiser gets the whole pair, so that nothing is forgotten
    pair = nn.ModuleList([model, auxiliary])
    return list(pair.requires_grad_().parameters())


def shifted_c(token_ids: Tensor) -> tuple[Tensor, Tensor]:
    # models of transformers shift the labels themselves
    return token_ids, token_ids


def frozen_d(model: nn.Module) -> nn.Module:
    # without gradients nothing in it can change
    return model.requires_grad_(False)


def joint_e(lm_logits: Tensor, aux_logits: Tensor, weight: float) -> Tensor:
    # a proper distribution, so that the auxiliary's scale cannot run away
    return lm_logits + weight * aux_logits.softmax(-1)


def parts_of(run: str) -> TrainingParts:
    """Return the five parts of a run, by its name in `RUNS`."""
    healthy = TrainingParts(
        frozen=notebook_12.frozen.reference,
        shifted=notebook_12.shifted.reference,
        joint=notebook_12.joint.reference,
        masked_nll=notebook_12.masked_nll.reference,
        trainable=notebook_12.trainable.reference,
    )
    broken = _broken(run)
    return healthy if broken is None else replace(healthy, **{broken.__name__.rpartition("_")[0]: broken})


def broken_source(run: str) -> str:
    """Return the source of a run's broken part; empty for the healthy run."""
    broken = _broken(run)
    return "" if broken is None else getsource(broken).rstrip()


def _broken(run: str) -> Callable[..., Any] | None:
    parts = (masked_nll_a, trainable_b, shifted_c, frozen_d, joint_e)
    return dict(zip(RUNS, (None, *parts), strict=True))[run]
