"""The compared systems: how each is built, what a search chooses, how it is trained and measured.

Every system with hyperparameters gets the same search: three settings, one extra seed, half its epochs, chosen by
development figures. Variants and controls of the auxiliary take over its setting. The ranges lie around the best
settings of a first run of the whole experiment, on other sentences; for all systems but ours they are wider.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K, new_story_lm
from experiments.baselines.decoding import System
from experiments.baselines.frozen_expert import (
    K2T,
    AuxiliaryTuned,
    DExperts,
    ExactPosterior,
    FrozenExpertSystem,
    Fudge,
    IndependentAuxiliary,
    LexicallyConstrained,
    SharedLogits,
)
from experiments.baselines.prefix import fine_tuned, from_scratch, lora, prompt_tuned, prompted
from experiments.baselines.story_auxiliary import StoryAuxiliary, StoryAuxiliaryConfig
from experiments.claim.setup import TrialSetup
from experiments.records import Setting


def grid(*settings: tuple[float, int]) -> tuple[Setting, ...]:
    """Return settings from pairs of learning rate and batch size."""
    return tuple({"rate": rate, "batch": batch} for rate, batch in settings)


@dataclass(frozen=True)
class SystemSpec:
    """One system of the comparison.

    Attributes:
        label: its name in tables.
        build: from a setup and the setting's numbers other than ``rate`` and ``batch``.
        settings: what the search tries; without a ``rate`` the system is not trained.
        like: another system whose setting it takes over.
        epochs: its share of the epochs; checkpoints lie a factor 2 apart.
        fine: checkpoints lie a factor √2 apart instead.
        last_only: measured only at the end, because decoding is slow.
        cached, shuffled, condition_dropout: see `training_batches`.
        weights: λ at which the last checkpoint is measured as well.
        seeds: number of seeds it is run with.
        expert: the language model it stands beside.
    """

    label: str
    build: Callable[..., System]
    settings: tuple[Setting, ...] = ({},)
    like: str | None = None
    epochs: float = 1.0
    fine: bool = False
    last_only: bool = False
    cached: bool = False
    shuffled: bool = False
    condition_dropout: float = 0.0
    weights: tuple[float, ...] = ()
    seeds: int = 5
    expert: str = SHIPPED_LM_600K

    @property
    def learns(self) -> bool:
        """Whether the system is trained."""
        return self.like is not None or any("rate" in setting for setting in self.settings)


SMALL = 72  # width of a model of one layer with about as many weights as the auxiliary
AUXILIARY = StoryAuxiliaryConfig(width=96, mix=True)


def scratch(setup: TrialSetup, width: int = 96, layers: int = 2) -> System:
    """Return a model from scratch, by default of the expert's size."""
    return from_scratch(setup.world, width, layers, setup.seed)


def aided(setup: TrialSetup) -> System:
    """Return a model from scratch with the auxiliary's architecture on top, without the expert."""
    return SharedLogits(new_story_lm(setup.world, seed=setup.seed), AUXILIARY)


def auxiliary(setup: TrialSetup, conditional: bool = True, **changes: Any) -> System:
    """Return our system, with changes of its configuration."""
    config = StoryAuxiliaryConfig(**{**vars(AUXILIARY), **changes})
    return AuxiliaryTuned(setup.expert, StoryAuxiliary(setup.expert.unembedding, config), conditional=conditional)


def classifier(setup: TrialSetup) -> System:
    """Return a prefix classifier of the auxiliary's width."""
    return Fudge(setup.expert, setup.base_rates, AUXILIARY.width, candidates=64)


def pair(setup: TrialSetup) -> System:
    """Return a conditional and an unconditional small model from scratch."""
    conditional, unconditional = (
        from_scratch(setup.world, SMALL, 1, setup.seed, is_conditional) for is_conditional in (True, False)
    )
    return DExperts(setup.expert, conditional, unconditional)


def like_ours(label: str, seeds: int = 2, cached: bool = True, **changes: Any) -> SystemSpec:
    """Return a variant or a control of the auxiliary, with a quarter of its epochs."""
    options = {name: changes.pop(name) for name in ("shuffled", "condition_dropout", "expert") if name in changes}
    return SystemSpec(
        label, partial(auxiliary, **changes), (), "auxiliary", 0.25, cached=cached, seeds=seeds, **options
    )


FROM_SCRATCH = grid((3e-3, 64), (3e-3, 32), (4.5e-3, 64))
BESIDE = grid((6e-3, 64), (4e-3, 32), (1e-2, 64))
TUNED = grid((1e-2, 64), (6e-3, 64), (6e-3, 32))
LORA = grid((6e-3, 64), (1e-2, 64), (6e-3, 32))
PROMPT = grid((3e-2, 64), (1e-2, 64), (3e-2, 32))
SHIFTS = tuple({"weight": weight} for weight in (8.0, 5.0, 12.0))
SIMILAR, CLASSIFIER = "similarity shift (K2T)", "prefix classifier (FUDGE)"
WEIGHTS = (0.5, 0.75, 1.25, 1.5, 2.0, 3.0)

SYSTEMS: dict[str, SystemSpec] = {
    "truth": SystemSpec("exact posterior", lambda setup: ExactPosterior(setup.world)),
    "expert": SystemSpec("frozen expert alone", lambda setup: FrozenExpertSystem(setup.expert)),
    "prompted": SystemSpec("keyword as a prompt", lambda setup: prompted(setup.expert)),
    "forced": SystemSpec("forced at the full stop", lambda setup: LexicallyConstrained(setup.expert)),
    "similar": SystemSpec(SIMILAR, lambda setup, weight: K2T(setup.expert, weight), SHIFTS, weights=(2, 4, 6, 16)),
    "scratch": SystemSpec("from scratch, size of the expert", scratch, FROM_SCRATCH, fine=True),
    "scratch_small": SystemSpec(
        "from scratch, size of the auxiliary", partial(scratch, width=SMALL, layers=1), FROM_SCRATCH, seeds=3
    ),
    "scratch_both": SystemSpec(
        "from scratch, both sizes together", partial(scratch, width=112), (), "scratch", seeds=2
    ),
    "scratch_aided": SystemSpec("from scratch, with the auxiliary's aids", aided, (), "scratch", fine=True, seeds=2),
    "fine_tuned": SystemSpec("full fine-tuning", lambda setup: fine_tuned(setup.expert), TUNED),
    "lora_4": SystemSpec("LoRA, rank 4", lambda setup: lora(setup.expert, 4), (), "lora_16", seeds=2),
    "lora_16": SystemSpec("LoRA, rank 16", lambda setup: lora(setup.expert, 16), LORA, seeds=2),
    "prompt_tuned": SystemSpec(
        "prompt tuning", lambda setup: prompt_tuned(setup.expert, 8), PROMPT, last_only=True, seeds=2
    ),
    "classifier": SystemSpec(CLASSIFIER, classifier, BESIDE, last_only=True, cached=True, weights=(0.5, 2.0), seeds=3),
    "pair": SystemSpec("two small models (DExperts)", pair, FROM_SCRATCH, last_only=True, weights=(0.5, 2.0), seeds=3),
    "auxiliary": SystemSpec("auxiliary (ours)", auxiliary, BESIDE, fine=True, cached=True, weights=WEIGHTS),
    "untold": like_ours("control: never told", seeds=5, conditional=False),
    "shuffled": like_ours("control: a neighbour's keyword", seeds=3, shuffled=True),
    "no_expert": like_ours("control: without the expert's logits", adds=False),
    "random_init": like_ours("random start", zero_init=False),
    "logit_space": like_ours("own output matrix", output_mode="logits"),
    "no_boost": like_ours("without the boost", boost=False),
    "dropped": like_ours("a tenth asked for nothing", condition_dropout=0.1),
    "no_flag": like_ours("without the flag", flag=False),
    "width_16": like_ours("width 16", width=16),
    "width_32": like_ours("width 32", width=32),
    "width_256": like_ours("width 256", width=256),
    "not_cached": like_ours("states computed anew", cached=False),
    "weak_expert": like_ours("beside a weaker expert", expert=SHIPPED_LM),
    "own_trunk": SystemSpec(
        "auxiliary with a trunk of its own",
        lambda setup: IndependentAuxiliary(setup.expert, from_scratch(setup.world, SMALL, 1, setup.seed)),
        FROM_SCRATCH,
        cached=True,
        seeds=3,
    ),
}
