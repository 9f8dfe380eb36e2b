"""The trials in Storyland, where the exact posterior is known.

Conditions are one, two or three words of held-out sentences, or the hour of a story. Auxiliaries are trained beside the
well-read expert, with the learning rate and the batch size that the claim's search has chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.data.assets import data_dir
from auxlib.worlds.rules import Rules
from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K
from experiments.baselines.decoding import DecodingContext, System
from experiments.baselines.frozen_expert import AuxiliaryTuned
from experiments.baselines.story_auxiliary import StoryAuxiliary, StoryAuxiliaryConfig
from experiments.claim import setup as claim
from experiments.claim.plan import AUXILIARY
from experiments.control.joint_conditions import JointConditions
from experiments.control.measure import (
    composition_errors,
    least_drift,
    measure_conditions,
    under_expert,
    under_truth,
    word_classes,
)
from experiments.control.story import (
    ExactJointPosterior,
    JointAuxiliarySystem,
    JointStoryAuxiliary,
    MyopicBoost,
    SummedAuxiliaries,
    TransferredAuxiliary,
    draw_keyword_sets,
    joint_keyword_batches,
    label_batches,
)
from experiments.metrics import nanmean
from experiments.runner import Record

SEED, RATE, BATCH = 0, 4e-3, 32
EXACT, MYOPIC = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), (1.0, 2.0, 4.0, 6.0, 8.0)
LEARNED = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
BOUND = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.999)
HOURS = ("day", "night", "winter", "storm")


@dataclass(frozen=True)
class StorySize:
    """The size of a trial: training sentences, epochs, and sentences whose conditions are measured."""

    train: int = 20_000
    epochs: float = 6.0
    questions: int = 1000

    @property
    def steps(self) -> int:
        """Optimiser steps of one training."""
        return ceil(self.train * self.epochs / BATCH)


class StoryRequests:
    """The conditions of all trials: three words of each of many held-out sentences, and the hour of each."""

    def __init__(self, size: StorySize) -> None:
        self.world = claim.load_world()
        rng = torch.Generator().manual_seed(claim.STREAM - 1)
        self.sentences = self.world.sample(size.questions, rng)
        self.words = draw_keyword_sets(self.world.is_content(self.sentences), self.sentences, 3, rng)

    @cached_property
    def word_classes(self) -> list[str | None]:
        """The class of every word, such as "hero farm" or "idle day"; None for function words."""
        return word_classes(self.world, Rules(data_dir() / "storyland" / "grammar.toml"))

    @cached_property
    def verbs(self) -> Tensor:
        """``[4, V]``, the verbs of each hour; one of them ends every story."""
        return torch.tensor([[kind == f"idle {hour}" for kind in self.word_classes] for hour in HOURS])

    def hours(self, token_ids: Tensor) -> Tensor:
        """Return the index of each sentence's hour, ``[B]``."""
        return self.verbs[:, token_ids].any(2).long().argmax(0)

    def labels(self, token_ids: Tensor) -> Tensor:
        """Return the word that names each sentence's hour, ``[B]``."""
        return torch.tensor([self.world.ids[hour] for hour in HOURS])[self.hours(token_ids)]

    def word_conditions(self, K: int) -> JointConditions:
        """Return conditions on the first K words of each row."""
        return JointConditions.keywords(self.world, self.words[:, :K])

    def hour_conditions(self, with_word: bool) -> JointConditions:
        """Return conditions on the hour of each row, preceded by one on its first word if ``with_word``."""
        hour = self.verbs[self.hours(self.sentences)][:, None]
        word = F.one_hot(self.words[:, :1], len(self.world.vocabulary)).bool()
        return JointConditions(self.world, torch.cat([word, hour], 1) if with_word else hour)


def truth(size: StorySize) -> Record:
    """Measure exact posteriors at conditions weights, a boost without lookahead, and sums of exact posteriors."""
    requests = StoryRequests(size)
    conditions, unsteered = requests.word_conditions(1), under_truth(requests.world)
    rows: Record = {
        "exact": [
            {"weight": w} | measure_conditions(ExactJointPosterior(conditions, weight=w), conditions, unsteered)
            for w in EXACT
        ],
        "myopic": [
            {"weight": w} | measure_conditions(MyopicBoost(requests.world, w), conditions, unsteered) for w in MYOPIC
        ],
    }
    rows["bound"] = [[accuracy, round(least_drift(conditions, accuracy), 4)] for accuracy in BOUND]
    joint = {
        "2": requests.word_conditions(2),
        "3": requests.word_conditions(3),
        "hour": requests.hour_conditions(with_word=True),
    }
    for name, conditions in joint.items():
        rows[f"exact_{name}"] = measure_conditions(ExactJointPosterior(conditions), conditions, unsteered)
        rows[f"exact_sum_{name}"] = measure_conditions(
            ExactJointPosterior(conditions, summed=True), conditions, unsteered
        )
    return rows


def learned(size: StorySize) -> Record:
    """Train an auxiliary on keywords and one on hours; measure the first at conditions weights, and sums of both."""
    requests, setup = StoryRequests(size), _setup(size)
    unsteered = under_expert(setup.expert)
    word, hour = (_auxiliary(requests, setup, size, labels) for labels in (False, True))
    labels = requests.labels(requests.sentences)

    def measure_words(K: int, weight: float = 1.0) -> dict[str, Any]:
        system = SummedAuxiliaries(setup.expert, [word] * K, requests.words[:, :K], [weight] * K)
        return measure_conditions(system, requests.word_conditions(K), unsteered)

    both = torch.stack([requests.words[:, 0], labels], 1)
    return {
        "learned": [{"weight": weight} | measure_words(1, weight) for weight in LEARNED],
        **{f"sum_{K}": measure_words(K) for K in (2, 3)},
        "hour": measure_conditions(
            SummedAuxiliaries(setup.expert, [hour], labels[:, None], [1.0]), requests.hour_conditions(False), unsteered
        ),
        "sum_hour": measure_conditions(
            SummedAuxiliaries(setup.expert, [word, hour], both, [1.0, 1.0]), requests.hour_conditions(True), unsteered
        ),
    }


def together(size: StorySize) -> Record:
    """Train one auxiliary that reads all keywords of a sentence; measure it on one, two and three."""
    requests, setup = StoryRequests(size), _setup(size)
    system = JointAuxiliarySystem(setup.expert, JointStoryAuxiliary(setup.expert.unembedding, AUXILIARY.width))
    system = _trained(system, joint_keyword_batches(setup, size.steps, BATCH))
    rows: Record = {}
    for K in (1, 2, 3):
        decoder = JointAuxiliarySystem(setup.expert, system.auxiliary, requests.words[:, :K])
        rows[f"together_{K}"] = measure_conditions(decoder, requests.word_conditions(K), under_expert(setup.expert))
    return rows


def swapped(size: StorySize) -> Record:
    """Train an auxiliary beside a weaker expert and measure it beside the well-read one."""
    requests, setup, old = StoryRequests(size), _setup(size), _setup(size, SHIPPED_LM)
    auxiliary, words = _auxiliary(requests, old, size, labels=False), requests.words[:, 0]
    writers = {
        "at_home": SummedAuxiliaries(old.expert, [auxiliary], words[:, None], [1.0]),
        "reads_the_old": TransferredAuxiliary(setup.expert, old.expert, auxiliary, words),
        "reads_the_new": TransferredAuxiliary(setup.expert, setup.expert, auxiliary, words),
    }
    against = {name: old.expert if name == "at_home" else setup.expert for name in writers}
    return {
        "swapped": {
            name: measure_conditions(writer, requests.word_conditions(1), under_expert(against[name]))
            for name, writer in writers.items()
        }
    }


def kinds(size: StorySize) -> Record:
    """Measure the error of adding two exact auxiliaries, by the classes of the two words."""
    requests = StoryRequests(size)
    errors: dict[str, list[tuple[float, float]]] = {}
    for pair, lost, widest in composition_errors(requests.world, requests.sentences[: size.questions // 4]):
        key = " + ".join(sorted(str(requests.word_classes[word]).split()[0] for word in pair))
        errors.setdefault(key, []).append((lost, widest))
    return {
        "kinds": {
            key: {"nats": nanmean([lost for lost, _ in rows]), "widest": nanmean([w for _, w in rows]), "n": len(rows)}
            for key, rows in sorted(errors.items())
        }
    }


TRIALS: dict[str, Callable[[StorySize], Record]] = {
    work.__name__: work for work in (learned, swapped, together, truth, kinds)
}


def _setup(size: StorySize, expert: str = SHIPPED_LM_600K) -> claim.TrialSetup:
    return claim.TrialSetup(claim.TrialSize(size.train, size.epochs, dev=1, test=1), SEED, expert)


def _auxiliary(requests: StoryRequests, setup: claim.TrialSetup, size: StorySize, labels: bool) -> StoryAuxiliary:
    """Train an auxiliary on keywords; or on labels, which no sentence contains: without keyword boost and seen flag."""
    config = StoryAuxiliaryConfig(width=AUXILIARY.width, boost=False, flag=False) if labels else AUXILIARY
    system = AuxiliaryTuned(setup.expert, StoryAuxiliary(setup.expert.unembedding, config))
    if labels:
        batches = label_batches(setup, size.steps, BATCH, requests.labels(setup.train))
    else:
        batches = claim.training_batches(setup, size.epochs, BATCH, cached=True)
    return _trained(system, batches).auxiliary


def _trained(system: System, batches: Iterable[tuple[DecodingContext, Tensor]]) -> Any:
    """Train a system and return its averaged copy after the last batch."""
    torch.manual_seed(SEED)
    *_, (_, averaged, _) = claim.train_steps(system, batches, RATE)
    return averaged.eval()
