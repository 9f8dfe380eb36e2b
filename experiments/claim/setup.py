"""The common setup of all systems of one seed in Storyland: sentences, expert, training loop and measurement.

The learning rate is constant after a warm-up, and a running mean of the weights takes the place of its decay
(polynomial averaging, Shamir and Zhang 2013). So every checkpoint is a finished training of that length, and a curve
over cost shows what shorter and longer trainings would have reached.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from math import ceil

import torch
from torch import Tensor, nn

from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.story_lm import load_story_lm
from auxlib.worlds.storyland import Storyland
from experiments.baselines.decoding import DecodingContext, System, sequence_nll, write
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.claim.judge import StoryJudge, distinct_pairs, holds_keyword
from experiments.flops import count_flops

WARMUP, AVERAGING = 30, 7  # steps; exponent of the average, which is mostly over the last eighth of a training
SEARCH_SEED = 100
STREAM = 60_000  # added to a seed, so that no sentence is one that an expert was trained or judged on


@dataclass(frozen=True)
class TrialSize:
    """The size of a trial: training sentences, epochs at most, development and test sentences."""

    train: int = 5000
    epochs: float = 24.0
    dev: int = 1000
    test: int = 1000


WHOLE = TrialSize()


@lru_cache(maxsize=1)
def load_world() -> Storyland:
    """Return the world, loaded once in each process."""
    return Storyland.load()


class TrialSetup:
    """World, expert, judge and sentences of one seed.

    Attributes:
        train: token ids ``[N, T]``.
        dev, test: token ids ``[M, T]`` of held-out sentences, with a keyword ``[M]`` of each.
    """

    def __init__(self, size: TrialSize, seed: int, expert: str) -> None:
        self.size, self.seed, self.world = size, seed, load_world()
        self.judge, self.expert = StoryJudge(self.world), load_story_lm(expert)
        rng = torch.Generator().manual_seed(STREAM + seed)
        self.train = self.world.sample(size.train, rng)
        self.dev, self.test = (self._held_out(max(1, n), rng) for n in (size.dev, size.test))

    def _held_out(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return n sentences with a keyword of each."""
        token_ids = self.world.sample(n, rng)
        return token_ids, self.world.draw_keywords(token_ids, rng)

    @cached_property
    def hidden(self) -> Tensor:
        """The expert's states before every training token, ``[N, T, D]``."""
        reader = FrozenExpertSystem(self.expert)
        return torch.cat([reader.states(DecodingContext.before(rows, rows[:, 0])) for rows in self.train.split(500)])

    @cached_property
    def read_flops(self) -> float:
        """Operations of the expert on one sentence, without the unembedding, which cached states do not need."""
        reader, rows = FrozenExpertSystem(self.expert), self.train[:8]
        with count_flops(reader) as tally:
            reader.states(DecodingContext.before(rows, rows[:, 0]))
        return tally.flops / len(rows)

    @cached_property
    def base_rates(self) -> Tensor:
        """The share of training sentences with each word, ``[V]``."""
        occurs = torch.zeros(len(self.train), len(self.world.vocabulary)).scatter_(1, self.train, 1.0)
        return occurs.mean(0)


def train_steps(
    system: System, batches: Iterable[tuple[DecodingContext, Tensor]], rate: float
) -> Iterator[tuple[int, System, float]]:
    """Train in place by AdamW, and yield step, averaged system and loss after every step."""
    weights, mean = _trainable(system), copy.deepcopy(system)
    means = _trainable(mean)
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP)
    for step, (context, token_ids) in enumerate(batches, 1):
        loss = system.loss(context, token_ids)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        warmup.step()
        _average(means, weights, step)
        yield step, mean, float(loss.detach())


@torch.no_grad()
def _average(means: list[nn.Parameter], weights: list[nn.Parameter], step: int) -> None:
    """Move the means towards the newest weights, in place, by a share that falls with the step."""
    share = AVERAGING / torch.tensor(step - 1 + AVERAGING)
    for mean, weight in zip(means, weights, strict=True):
        mean.copy_(weight if step == 1 else mean + (weight - mean) * share)


def _trainable(system: System) -> list[nn.Parameter]:
    return [weight for weight in system.parameters() if weight.requires_grad]


def training_batches(
    setup: TrialSetup,
    epochs: float,
    batch: int,
    cached: bool = False,
    shuffled: bool = False,
    condition_dropout: float = 0.0,
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """Yield the training sentences in batches, each with a keyword drawn anew; every epoch in another order.

    Args:
        cached: add the frozen expert's cached states.
        shuffled: give every sentence its neighbour's keyword, a control without information.
        condition_dropout: share of the sentences without a keyword.
    """
    rng = torch.Generator().manual_seed(setup.seed)
    steps = max(1, round(epochs * ceil(len(setup.train) / batch)))
    for rows in islice(shuffled_batches(len(setup.train), batch, rng), steps):
        token_ids = setup.train[rows]
        keyword_ids = setup.world.draw_keywords(token_ids, rng)
        keyword_ids = keyword_ids.roll(1) if shuffled else keyword_ids
        if condition_dropout:
            keyword_ids = keyword_ids.masked_fill(torch.rand(len(rows), generator=rng) < condition_dropout, BLANK)
        yield DecodingContext.before(token_ids, keyword_ids, setup.hidden[rows] if cached else None), token_ids


def shuffled_batches(n: int, batch: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of n rows in batches without end, every epoch in another order."""
    while True:
        yield from torch.randperm(n, generator=rng).split(batch)


def measure_system(
    system: System, held_out: tuple[Tensor, Tensor], setup: TrialSetup, briefly: bool = False
) -> dict[str, float]:
    """Sample one sentence for each held-out keyword, and return the figures over all of them.

    ``success`` is the share that contains its keyword and is grammatical. Unless ``briefly`` (all that a search and the
    rule need): ``drift`` estimates KL(q‖expert) in nats a sentence; ``nll`` is that of the held-out sentences.
    """
    token_ids, keyword_ids = held_out
    written, log_q = write(system, keyword_ids, setup.world.ids[FULL_STOP], torch.Generator().manual_seed(setup.seed))
    holds, grammatical = holds_keyword(written, keyword_ids), setup.world.is_grammatical(written)
    slor = setup.judge.slor(written)
    values = {"accuracy": holds, "grammatical": grammatical, "success": holds & grammatical, "slor": slor}
    if not briefly:
        values["drift"] = log_q + sequence_nll(FrozenExpertSystem(setup.expert), written, keyword_ids)
    figures = {name: float(value.double().mean()) for name, value in values.items()}
    for name in [name for name in ("slor", "drift") if name in values]:
        figures[f"{name}_se"] = float(values[name].double().std() / len(written) ** 0.5)
    figures["distinct_2"], figures["n"] = distinct_pairs(written), len(written)
    if system.scores and not briefly:
        figures["nll"] = float(sequence_nll(system, token_ids, keyword_ids).double().mean())
    return {name: round(value, 5) for name, value in figures.items()}
