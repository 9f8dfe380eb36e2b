"""Systems of the comparison beside a tiny bench, for the tests of this folder and its neighbours."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.story_lm import SHIPPED_LM_600K
from experiments.baselines.decoding import DecodingContext, System
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import TrialSetup, TrialSize, load_world

TINY = TrialSize(train=64, epochs=1, dev=20, test=16)
STOP = load_world().ids[FULL_STOP]


@cache
def bench_beside(expert: str = SHIPPED_LM_600K) -> TrialSetup:
    return TrialSetup(TINY, 0, expert)


def build(name: str) -> System:
    """A new system of the plan, in the first of the forms that it may choose from."""
    spec = SYSTEMS[name]
    first = SYSTEMS[spec.like or name].settings[0]
    torch.manual_seed(0)
    form = {key: value for key, value in first.items() if key not in ("rate", "batch")}
    return spec.build(bench_beside(spec.expert), **form).eval()


def stirred(system: System, by: float = 0.05) -> System:
    """What learns is moved a little, so that nothing is zero any more."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in system.parameters():
            if weight.requires_grad:
                weight += by * torch.randn(weight.shape, generator=draw)
    return system


@cache
def trained_a_little(name: str) -> System:
    """One stirred system of each name, to be looked at and not to be changed."""
    return stirred(build(name))


def asked() -> tuple[Tensor, Tensor]:
    """Sentences ``[20, T]`` and a keyword of each."""
    return bench_beside().dev


def what_is_read(rows: slice = slice(None)) -> DecodingContext:
    """What is known before each token of these sentences."""
    token_ids, keyword_ids = asked()
    return DecodingContext.before(token_ids[rows], keyword_ids[rows])


@torch.no_grad()
def logits_of(system: System, reading: DecodingContext) -> Tensor:
    return system(reading)


def farthest(left: Tensor, right: Tensor) -> float:
    """The largest difference; infinities of one sign are the same."""
    assert left.shape == right.shape
    return float(torch.where(left == right, 0.0, (left - right).abs()).max())
