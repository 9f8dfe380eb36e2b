"""What does every system of one seed find on the table? The same sentences, the same expert, the same training loop
and the same questions, so that a difference between two figures is one between two systems.

The learning rate stays level after a warm-up, and a running mean of the weights stands in for its decay (polynomial
averaging, Shamir and Zhang 2013): so every checkpoint is a finished training of that length, and a curve over cost is
what shorter and longer trainings would have reached.
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

from auxlib.flops import count_flops
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.story_lm import load_story_lm
from auxlib.worlds.storyland import Storyland
from experiments.baselines.beside import FrozenExpertSystem
from experiments.baselines.reading import DecodingContext, System, sequence_nll, write
from experiments.claim.judge import StoryJudge, distinct_pairs, holds_keyword

WARMUP, RECENT = 30, 7  # steps; the mean is mostly over the last eighth of a training
STREAM = 60_000  # the sentences of an experiment's seeds are none that an expert was trained or judged on


@dataclass(frozen=True)
class TrialSize:
    """How large a trial is: sentences to train on, and how often they are read at most; sentences to measure on."""

    train: int = 5000
    epochs: float = 24.0
    dev: int = 1000
    test: int = 1000


@lru_cache(maxsize=1)
def load_world() -> Storyland:
    """Loaded once in each process."""
    return Storyland.load()


class TrialSetup:
    """What every system of one seed finds on the table: world, expert, judge, and the same sentences."""

    def __init__(self, size: TrialSize, seed: int, expert: str) -> None:
        self.size, self.seed, self.world = size, seed, load_world()
        self.judge, self.expert = StoryJudge(self.world), load_story_lm(expert)
        draw = torch.Generator().manual_seed(STREAM + seed)
        self.train = self.world.sample(size.train, draw)
        self.dev, self.test = (self._questions(max(1, n), draw) for n in (size.dev, size.test))

    def _questions(self, n: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        token_ids = self.world.sample(n, draw)
        return token_ids, self.world.draw_keywords(token_ids, draw)

    @cached_property
    def hidden(self) -> Tensor:
        """The expert's states before every training token, ``[N, T, D]``: read once."""
        reader = FrozenExpertSystem(self.expert)
        return torch.cat([reader.states(DecodingContext.before(rows, rows[:, 0])) for rows in self.train.split(500)])

    @cached_property
    def read_flops(self) -> float:
        """What reading one sentence costs, without the unembedding, which a cache of states does not need."""
        reader, rows = FrozenExpertSystem(self.expert), self.train[:8]
        with count_flops(reader) as tally:
            reader.states(DecodingContext.before(rows, rows[:, 0]))
        return tally.flops / len(rows)

    @cached_property
    def base_rates(self) -> Tensor:
        """How often each word is in a training sentence, ``[V]``."""
        there = torch.zeros(len(self.train), len(self.world.vocabulary)).scatter_(1, self.train, 1.0)
        return there.mean(0)


def train_steps(
    system: System, lessons: Iterable[tuple[DecodingContext, Tensor]], rate: float
) -> Iterator[tuple[int, System, float]]:
    """Train in place by AdamW; yields step, the averaged system and the loss after every step."""
    weights, mean = _learning(system), copy.deepcopy(system)
    means = _learning(mean)
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP)
    for step, (reading, token_ids) in enumerate(lessons, 1):
        loss = system.loss(reading, token_ids)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        warmup.step()
        _lean(means, weights, step)
        yield step, mean, float(loss.detach())


@torch.no_grad()
def _lean(means: list[nn.Parameter], weights: list[nn.Parameter], step: int) -> None:
    """Move means towards the newest weights, in place, by a share that falls as more steps lie behind."""
    share = RECENT / torch.tensor(step - 1 + RECENT)
    for mean, weight in zip(means, weights, strict=True):
        mean.copy_(weight if step == 1 else mean + (weight - mean) * share)


def _learning(system: System) -> list[nn.Parameter]:
    return [weight for weight in system.parameters() if weight.requires_grad]


def training_batches(
    bench: TrialSetup,
    epochs: float,
    batch: int,
    cached: bool = False,
    shuffled: bool = False,
    condition_dropout: float = 0.0,
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """The bench's sentences in batches, each with a keyword drawn anew; every epoch in another order.

    Args:
        cached: the frozen expert's states come with them instead of being computed anew.
        shuffled: every sentence is shown its neighbour's keyword, from which there is nothing to learn.
        drop: share of the sentences that are asked for nothing.
    """
    draw = torch.Generator().manual_seed(bench.seed)
    steps = max(1, round(epochs * ceil(len(bench.train) / batch)))
    for rows in islice(_batches(len(bench.train), batch, draw), steps):
        token_ids = bench.train[rows]
        keyword_ids = bench.world.draw_keywords(token_ids, draw)
        keyword_ids = keyword_ids.roll(1) if shuffled else keyword_ids
        if condition_dropout:
            keyword_ids = keyword_ids.masked_fill(torch.rand(len(rows), generator=draw) < condition_dropout, BLANK)
        yield DecodingContext.before(token_ids, keyword_ids, bench.hidden[rows] if cached else None), token_ids


def _batches(n: int, batch: int, draw: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(n, generator=draw).split(batch)


def measure_system(
    system: System, questions: tuple[Tensor, Tensor], bench: TrialSetup, briefly: bool = False
) -> dict[str, float]:
    """One sentence written for each held-out keyword, and all that can be said of them; nothing is left out.

    ``success`` is the share that holds its keyword and is grammatical. Unless it is to be brief (what a choice and the
    rule need): ``drift`` estimates KL(q‖expert) in nats a sentence; ``nll`` scores the held-out sentences themselves.
    """
    held_out, keyword_ids = questions
    written, log_q = write(system, keyword_ids, bench.world.ids[FULL_STOP], torch.Generator().manual_seed(bench.seed))
    holds, sayable = holds_keyword(written, keyword_ids), bench.world.is_grammatical(written)
    values = {"accuracy": holds, "grammatical": sayable, "success": holds & sayable, "slor": bench.judge.slor(written)}
    if not briefly:
        values["drift"] = log_q + sequence_nll(FrozenExpertSystem(bench.expert), written, keyword_ids)
    figures = {name: float(value.double().mean()) for name, value in values.items()}
    for name in [name for name in ("slor", "drift") if name in values]:
        figures[f"{name}_se"] = float(values[name].double().std() / len(written) ** 0.5)
    figures["distinct_2"], figures["n"] = distinct_pairs(written), len(written)
    if system.scores and not briefly:
        figures["nll"] = float(sequence_nll(system, held_out, keyword_ids).double().mean())
    return {name: round(value, 5) for name, value in figures.items()}
