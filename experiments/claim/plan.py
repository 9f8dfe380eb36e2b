"""What is compared? Every system of the experiment in one table: how it is built, what may be chosen, how it is read.

Each system that has something to choose gets the same search: three settings, one extra seed, half its epochs, chosen
by development figures. Variants and controls of the auxiliary take over what was chosen for the auxiliary. The ranges
stand around what did best in a first run of the whole experiment, on other sentences; for all but ours they are wider.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K, new_story_lm
from experiments.baselines.beside import (
    K2T,
    AuxiliaryTuned,
    DExperts,
    Forced,
    FrozenExpertSystem,
    Fudge,
    OwnTrunk,
    SharedLogits,
    Truth,
)
from experiments.baselines.prefix import fine_tuned, from_scratch, lora, prompt_tuned, prompted
from experiments.baselines.reading import System
from experiments.baselines.story_auxiliary import StoryAuxiliary, StoryAuxiliaryConfig
from experiments.claim.setup import TrialSetup

Setting = dict[str, float]


def grid(*settings: tuple[float, int]) -> tuple[Setting, ...]:
    """What a search tries: pairs of learning rate and sentences a step."""
    return tuple({"rate": rate, "batch": batch} for rate, batch in settings)


@dataclass(frozen=True)
class Spec:
    """One system of the comparison.

    Attributes:
        label: its name in tables.
        build: from a bench and the setting's numbers other than ``rate`` and ``batch``.
        settings: what the search tries; without a ``rate`` nothing learns.
        like: takes over the setting that was chosen for another system.
        epochs: share of the epochs that it is given; measured at steps a factor 2 apart.
        fine, rarely: a factor √2 apart; only at the end, because asking it is slow.
        cached, shuffled, drop: see `training_batches`.
        dial: weights λ at which its last checkpoint is measured as well.
        seeds: how many of the seeds it is run with.
        expert: which one it stands beside.
    """

    label: str
    build: Callable[..., System]
    settings: tuple[Setting, ...] = ({},)
    like: str | None = None
    epochs: float = 1.0
    fine: bool = False
    rarely: bool = False
    cached: bool = False
    shuffled: bool = False
    drop: float = 0.0
    dial: tuple[float, ...] = ()
    seeds: int = 5
    expert: str = SHIPPED_LM_600K

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.like is not None or any("rate" in setting for setting in self.settings)


SMALL = 72  # width of a model of one layer with about as many weights as the auxiliary
AUXILIARY = StoryAuxiliaryConfig(width=96, mix=True)


def scratch(bench: TrialSetup, width: int = 96, layers: int = 2) -> System:
    """As large as the expert, if nothing else is said."""
    return from_scratch(bench.world, width, layers, bench.seed)


def aided(bench: TrialSetup) -> System:
    """A model from scratch with all that our auxiliary has but the expert."""
    return SharedLogits(new_story_lm(bench.world, seed=bench.seed), AUXILIARY)


def auxiliary(bench: TrialSetup, told: bool = True, **changes: Any) -> System:
    """Ours, with single choices undone."""
    config = StoryAuxiliaryConfig(**{**vars(AUXILIARY), **changes})
    return AuxiliaryTuned(bench.expert, StoryAuxiliary(bench.expert.unembedding, config), told=told)


def classifier(bench: TrialSetup) -> System:
    """A classifier of prefixes that is as wide as the auxiliary."""
    return Fudge(bench.expert, bench.base_rates, AUXILIARY.width, candidates=64)


def pair(bench: TrialSetup) -> System:
    """Two small models from scratch, one of which is told the keyword."""
    return DExperts(bench.expert, *(from_scratch(bench.world, SMALL, 1, bench.seed, told) for told in (True, False)))


def like_ours(label: str, seeds: int = 2, cached: bool = True, **changes: Any) -> Spec:
    """A variant or a control of the auxiliary: a quarter of its epochs, and of the cost."""
    asked = {name: changes.pop(name) for name in ("shuffled", "drop", "expert") if name in changes}
    return Spec(label, partial(auxiliary, **changes), (), "auxiliary", 0.25, cached=cached, seeds=seeds, **asked)


FROM_SCRATCH = grid((3e-3, 64), (3e-3, 32), (4.5e-3, 64))
BESIDE = grid((6e-3, 64), (4e-3, 32), (1e-2, 64))
TUNED = grid((1e-2, 64), (6e-3, 64), (6e-3, 32))
LORA = grid((6e-3, 64), (1e-2, 64), (6e-3, 32))
PROMPT = grid((3e-2, 64), (1e-2, 64), (3e-2, 32))
SHIFTS = tuple({"weight": weight} for weight in (8.0, 5.0, 12.0))
SIMILAR, CLASSIFIER = "similarity shift (K2T)", "prefix classifier (FUDGE)"
DIAL = (0.5, 0.75, 1.25, 1.5, 2.0, 3.0)

SYSTEMS: dict[str, Spec] = {
    "truth": Spec("exact posterior", lambda bench: Truth(bench.world)),
    "expert": Spec("frozen expert alone", lambda bench: FrozenExpertSystem(bench.expert)),
    "prompted": Spec("keyword as a prompt", lambda bench: prompted(bench.expert)),
    "forced": Spec("forced at the full stop", lambda bench: Forced(bench.expert)),
    "similar": Spec(SIMILAR, lambda bench, weight: K2T(bench.expert, weight), SHIFTS, dial=(2, 4, 6, 16)),
    "scratch": Spec("from scratch, size of the expert", scratch, FROM_SCRATCH, fine=True),
    "scratch_small": Spec(
        "from scratch, size of the auxiliary", partial(scratch, width=SMALL, layers=1), FROM_SCRATCH, seeds=3
    ),
    "scratch_both": Spec("from scratch, both sizes together", partial(scratch, width=112), (), "scratch", seeds=2),
    "scratch_aided": Spec("from scratch, with the auxiliary's aids", aided, (), "scratch", fine=True, seeds=2),
    "fine_tuned": Spec("full fine-tuning", lambda bench: fine_tuned(bench.expert), TUNED),
    "lora_4": Spec("LoRA, rank 4", lambda bench: lora(bench.expert, 4), (), "lora_16", seeds=2),
    "lora_16": Spec("LoRA, rank 16", lambda bench: lora(bench.expert, 16), LORA, seeds=2),
    "prompt_tuned": Spec("prompt tuning", lambda bench: prompt_tuned(bench.expert, 8), PROMPT, rarely=True, seeds=2),
    "classifier": Spec(CLASSIFIER, classifier, BESIDE, rarely=True, cached=True, dial=(0.5, 2.0), seeds=3),
    "pair": Spec("two small models (DExperts)", pair, FROM_SCRATCH, rarely=True, dial=(0.5, 2.0), seeds=3),
    "auxiliary": Spec("auxiliary (ours)", auxiliary, BESIDE, fine=True, cached=True, dial=DIAL),
    "untold": like_ours("control: never told", seeds=5, told=False),
    "shuffled": like_ours("control: a neighbour's keyword", seeds=3, shuffled=True),
    "no_expert": like_ours("control: without the expert's logits", adds=False),
    "random_init": like_ours("random start", zero_init=False),
    "logit_space": like_ours("own output matrix", output_mode="logits"),
    "no_boost": like_ours("without the boost", boost=False),
    "dropped": like_ours("a tenth asked for nothing", drop=0.1),
    "no_flag": like_ours("without the flag", flag=False),
    "width_16": like_ours("width 16", width=16),
    "width_32": like_ours("width 32", width=32),
    "width_256": like_ours("width 256", width=256),
    "not_cached": like_ours("states computed anew", cached=False),
    "weak_expert": like_ours("beside a weaker expert", expert=SHIPPED_LM),
    "own_trunk": Spec(
        "auxiliary with a trunk of its own",
        lambda bench: OwnTrunk(bench.expert, from_scratch(bench.world, SMALL, 1, bench.seed)),
        FROM_SCRATCH, cached=True, seeds=3,
    ),
}  # fmt: skip
