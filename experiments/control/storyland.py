"""What is tried in Storyland, where the best possible answer is known?

Every trial asks for words of sentences that nobody has read, one, two or three of each, or for an hour. Whoever learns
here has learned beside the well-read expert, with the rate and the batch that the claim's experiment has chosen.
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
from auxlib.metrics import nanmean
from auxlib.worlds.rules import Rules
from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K
from experiments.baselines.beside import AuxiliaryTuned
from experiments.baselines.reading import DecodingContext, System
from experiments.baselines.story_auxiliary import StoryAuxiliary, StoryAuxiliaryConfig
from experiments.claim import setup as claim
from experiments.claim.plan import AUXILIARY
from experiments.control.joint_conditions import JointConditions
from experiments.control.measure import (
    cheapest,
    composition_errors,
    measure_conditions,
    under_expert,
    under_truth,
    word_classes,
)
from experiments.control.story import (
    Myopic,
    ReadsAll,
    StoryTogether,
    SumOfSingles,
    Swapped,
    TruthOfSeveral,
    draw_several,
    joint_training_batches,
    label_training_batches,
)
from experiments.runner import Record

SEED, RATE, BATCH = 0, 4e-3, 32
EXACT, MYOPIC = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), (1.0, 2.0, 4.0, 6.0, 8.0)
LEARNED = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
BOUND = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.999)
HOURS = ("day", "night", "winter", "storm")


@dataclass(frozen=True)
class StorySize:
    """How many sentences are learned from, how often each is read, and how many requests are measured."""

    train: int = 20_000
    epochs: float = 6.0
    questions: int = 1000

    @property
    def steps(self) -> int:
        """Optimiser steps of a training."""
        return ceil(self.train * self.epochs / BATCH)


class Questions:
    """What everybody is asked: words of sentences that nobody has read, three of each, and the hours they tell of."""

    def __init__(self, size: StorySize) -> None:
        self.world = claim.load_world()
        draw = torch.Generator().manual_seed(claim.STREAM - 1)
        self.sentences = self.world.sample(size.questions, draw)
        self.words = draw_several(self.world.is_content(self.sentences), self.sentences, 3, draw)

    @cached_property
    def word_classes(self) -> list[str | None]:
        """The kind of every word: hero, spot, idle day, …"""
        return word_classes(self.world, Rules(data_dir() / "storyland" / "grammar.toml"))

    @cached_property
    def verbs(self) -> Tensor:
        """``[4, V]``, the verbs that say which hour it is: one of them ends every story."""
        return torch.tensor([[kind == f"idle {hour}" for kind in self.word_classes] for hour in HOURS])

    def hours(self, token_ids: Tensor) -> Tensor:
        """Which of the hours each sentence tells of, ``[B]``."""
        return self.verbs[:, token_ids].any(2).long().argmax(0)

    def labels(self, token_ids: Tensor) -> Tensor:
        """The word by which an auxiliary is asked for that hour, ``[B]``."""
        return torch.tensor([self.world.ids[hour] for hour in HOURS])[self.hours(token_ids)]

    def several(self, K: int) -> JointConditions:
        """Requests for the first K words of each row."""
        return JointConditions.keywords(self.world, self.words[:, :K])

    def of_the_hour(self, with_word: bool) -> JointConditions:
        """Requests for the hour, after one for the first word of each row."""
        hour = self.verbs[self.hours(self.sentences)][:, None]
        word = F.one_hot(self.words[:, :1], len(self.world.vocabulary)).bool()
        return JointConditions(self.world, torch.cat([word, hour], 1) if with_word else hour)


def truth(size: StorySize) -> Record:
    """The truth with its own dial, and a push on the keyword that does not look ahead; sums of true answers."""
    questions = Questions(size)
    several, unsteered = questions.several(1), under_truth(questions.world)
    rows: Record = {
        "exact": [
            {"weight": w} | measure_conditions(TruthOfSeveral(several, weight=w), several, unsteered) for w in EXACT
        ],
        "myopic": [{"weight": w} | measure_conditions(Myopic(questions.world, w), several, unsteered) for w in MYOPIC],
    }
    rows["bound"] = [[accuracy, round(cheapest(several, accuracy), 4)] for accuracy in BOUND]
    asked = {"2": questions.several(2), "3": questions.several(3), "hour": questions.of_the_hour(with_word=True)}
    for name, several in asked.items():
        rows[f"exact_{name}"] = measure_conditions(TruthOfSeveral(several), several, unsteered)
        rows[f"exact_sum_{name}"] = measure_conditions(TruthOfSeveral(several, summed=True), several, unsteered)
    return rows


def learned(size: StorySize) -> Record:
    """One auxiliary that knows keywords and one that knows hours: the dial of the first, sums of both."""
    questions, bench = Questions(size), _bench(size)
    unsteered = under_expert(bench.expert)
    word, hour = (_auxiliary(questions, bench, size, labels) for labels in (False, True))
    labels = questions.labels(questions.sentences)

    def told(K: int, weight: float = 1.0) -> dict[str, Any]:
        asked = questions.words[:, :K]
        return measure_conditions(
            SumOfSingles(bench.expert, [word] * K, asked, [weight] * K), questions.several(K), unsteered
        )

    both = torch.stack([questions.words[:, 0], labels], 1)
    return {
        "learned": [{"weight": weight} | told(1, weight) for weight in LEARNED],
        **{f"sum_{K}": told(K) for K in (2, 3)},
        "hour": measure_conditions(
            SumOfSingles(bench.expert, [hour], labels[:, None], [1.0]), questions.of_the_hour(False), unsteered
        ),
        "sum_hour": measure_conditions(
            SumOfSingles(bench.expert, [word, hour], both, [1.0, 1.0]), questions.of_the_hour(True), unsteered
        ),
    }


def together(size: StorySize) -> Record:
    """One auxiliary that reads all keywords of a sentence, asked for one, two and three."""
    questions, bench = Questions(size), _bench(size)
    system = ReadsAll(bench.expert, StoryTogether(bench.expert.unembedding, AUXILIARY.width))
    system = _trained(system, joint_training_batches(bench, size.steps, BATCH))
    rows = {}
    for K in (1, 2, 3):
        asked = ReadsAll(bench.expert, system.auxiliary, questions.words[:, :K])
        rows[f"together_{K}"] = measure_conditions(asked, questions.several(K), under_expert(bench.expert))
    return rows


def swapped(size: StorySize) -> Record:
    """An auxiliary that learned beside a less-read expert, put beside the well-read one."""
    questions, bench, old = Questions(size), _bench(size), _bench(size, SHIPPED_LM)
    auxiliary, words = _auxiliary(questions, old, size, labels=False), questions.words[:, 0]
    writers = {
        "at_home": SumOfSingles(old.expert, [auxiliary], words[:, None], [1.0]),
        "reads_the_old": Swapped(bench.expert, old.expert, auxiliary, words),
        "reads_the_new": Swapped(bench.expert, bench.expert, auxiliary, words),
    }
    against = {name: old.expert if name == "at_home" else bench.expert for name in writers}
    return {
        "swapped": {
            name: measure_conditions(writer, questions.several(1), under_expert(against[name]))
            for name, writer in writers.items()
        }
    }


def word_class_pairs(size: StorySize) -> Record:
    """What the sum of two exact answers costs, by the kinds of the two words."""
    questions = Questions(size)
    found: dict[str, list[tuple[float, float]]] = {}
    for pair, lost, widest in composition_errors(questions.world, questions.sentences[: size.questions // 4]):
        key = " + ".join(sorted(str(questions.word_classes[word]).split()[0] for word in pair))
        found.setdefault(key, []).append((lost, widest))
    return {
        "kinds": {
            key: {"nats": nanmean([lost for lost, _ in rows]), "widest": nanmean([w for _, w in rows]), "n": len(rows)}
            for key, rows in sorted(found.items())
        }
    }


TRIALS: dict[str, Callable[[StorySize], Record]] = {
    work.__name__: work for work in (learned, swapped, together, truth, word_class_pairs)
}


def _bench(size: StorySize, expert: str = SHIPPED_LM_600K) -> claim.TrialSetup:
    return claim.TrialSetup(claim.TrialSize(size.train, size.epochs, dev=1, test=1), SEED, expert)


def _auxiliary(questions: Questions, bench: claim.TrialSetup, size: StorySize, labels: bool) -> StoryAuxiliary:
    """One that has learned keywords; or labels, which are never written, so that there is nothing to lift or flag."""
    config = StoryAuxiliaryConfig(width=AUXILIARY.width, boost=False, flag=False) if labels else AUXILIARY
    system = AuxiliaryTuned(bench.expert, StoryAuxiliary(bench.expert.unembedding, config))
    if labels:
        lessons = label_training_batches(bench, size.steps, BATCH, questions.labels(bench.train))
    else:
        lessons = claim.training_batches(bench, size.epochs, BATCH, cached=True)
    return _trained(system, lessons).auxiliary


def _trained(system: System, lessons: Iterable[tuple[DecodingContext, Tensor]]) -> Any:
    """The averaged system after the last lesson."""
    torch.manual_seed(SEED)
    *_, (_, averaged, _) = claim.train_steps(system, lessons, RATE)
    return averaged.eval()
