"""Who writes in Storyland for several requests at once? The truth, sums of single answers, and one that reads them all.

All are systems of `experiments.baselines.reading`: they are asked for rows of requests, and then write row by row.

Axes: ``B`` sentences, ``K`` keywords of each, ``T`` tokens, ``V`` words, ``D`` the expert's width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auxlib.frozen import Expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.storyland import Storyland
from experiments.baselines.beside import FrozenExpertSystem
from experiments.baselines.reading import DecodingContext, Memory, System, part_of
from experiments.baselines.story_auxiliary import Gate, StoryAuxiliary
from experiments.claim.setup import TrialSetup
from experiments.control.joint_conditions import JointConditions


def seen_of(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Which of the keywords ``[B, K]`` are among the words read, ``[B, T]`` to ``[B, K, T]``."""
    return (token_ids[:, None] == keyword_ids[..., None]).cumsum(2) > 0


class TruthOfSeveral(System):
    """The world's own distribution over sentences that fulfil all requests, or the product of the single ones.

    Args:
        summed: each request's exact answer is added, as if the others were not there.
        weight: λ on the exact answer.
    """

    def __init__(self, several: JointConditions, summed: bool = False, weight: float = 1.0) -> None:
        super().__init__()
        self.several, self.summed, self.weight = several, summed, weight

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Unnormalised log-probabilities ``[B, T, V]``; with a memory only the last place."""
        world, read = self.several.world, reading.token_ids
        answer = self.several.summed_aux_logits if self.summed else self.several.exact_aux_logits
        prior = world.next_log_probs(read)
        said = answer(read)
        vetoed = torch.isneginf(said)  # filled before the product: 0 · (-inf) is no number
        logits = (prior + self.weight * said.masked_fill(vetoed, 0.0)).masked_fill(vetoed, -torch.inf)
        lost = torch.isneginf(logits).all(-1, keepdim=True)  # a sum may promise what cannot be kept
        logits = torch.where(lost, prior, logits)
        stop = world.ids[FULL_STOP]
        logits[..., stop] = logits[..., stop].nan_to_num(neginf=-1e9)  # after the end, where nothing can follow
        return logits[:, 1:] if memory is None else logits[:, -1:]


class Myopic(System):
    """The truth, and λ more on the keyword while it is missing: control that does not look ahead (identity I4)."""

    def __init__(self, world: Storyland, weight: float) -> None:
        super().__init__()
        self.world, self.weight = world, weight

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Logits ``[B, T, V]``; with a memory only the last place."""
        logits = self.world.next_log_probs(reading.token_ids)[:, 1:]
        push = self.weight * F.one_hot(reading.keyword_ids, logits.shape[-1])[:, None] * ~reading.seen[..., None]
        logits = logits + push
        stop = self.world.ids[FULL_STOP]
        logits[..., stop] = logits[..., stop].nan_to_num(neginf=-1e9)  # after the end, where nothing can follow
        return logits if memory is None else logits[:, -1:]


class SumOfSingles(FrozenExpertSystem):
    """``lm_logits + Σ λ_k · aux_logits_k``: auxiliaries that each know one request.

    Args:
        auxiliaries: one for each request; often the same one several times.
        asked: ``[B, K]``, what each is asked for.
        weights: λ of each.
    """

    def __init__(
        self, expert: Expert, auxiliaries: Sequence[StoryAuxiliary], asked: Tensor, weights: Sequence[float]
    ) -> None:
        super().__init__(expert)
        self.auxiliaries, self.asked, self.weights = nn.ModuleList(auxiliaries), asked, weights

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        hidden = self.states(reading, memory)
        lm_logits, seen = self.expert.lm_head(hidden), seen_of(reading.token_ids, self.asked)[..., -hidden.shape[1] :]
        joint_logits = lm_logits.clone()
        for k, (auxiliary, weight) in enumerate(zip(self.auxiliaries, self.weights, strict=True)):
            joint_logits += auxiliary(hidden, self.asked[:, k], seen[:, k], weight) - lm_logits
        return joint_logits


class Swapped(FrozenExpertSystem):
    """An auxiliary beside an expert that it was not trained with: ``lm_logits_new + aux_logits``.

    Args:
        reads: the expert whose states the auxiliary is given. Its own, which then must run as well; or the new one,
            whose states have the same shape and another meaning.
        words: ``[B]``, what it is asked for.
    """

    def __init__(self, expert: Expert, reads: Expert, auxiliary: StoryAuxiliary, words: Tensor) -> None:
        super().__init__(expert)
        self.reader, self.auxiliary, self.words = FrozenExpertSystem(reads), auxiliary, words

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        lm_logits = super().forward(reading, part_of(memory, "new"))
        read = self.reader.states(reading, part_of(memory, "old"))
        seen = seen_of(reading.token_ids, self.words[:, None])[:, 0, -read.shape[1] :]
        return lm_logits + self.auxiliary(read, self.words, seen) - self.auxiliary.unembed(read)


class StoryTogether(nn.Module):
    """One auxiliary that reads all keywords: their gated features add up before a layer that may see conflicts.

    Args:
        W: the expert's unembedding ``[V, D]``; read, never trained.
    """

    def __init__(self, W: Tensor, width: int = 96) -> None:
        super().__init__()
        self.register_buffer("W", W.detach(), persistent=False)
        self.gate, self.mix = Gate(W, width), nn.Linear(width, width)
        self.step, self.boost = nn.Linear(width, W.shape[1]), nn.Linear(width, 1)
        for parameter in (*self.step.parameters(), *self.boost.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor, weight: float = 1.0) -> Tensor:
        """Joint logits ``[B, T, V]`` from ``hidden [B, T, D]``, ``keyword_ids [B, K]`` and ``seen [B, K, T]``."""
        asked = (keyword_ids != BLANK)[..., None, None]
        seen = seen | ~asked[..., 0]
        K = keyword_ids.shape[1]
        each = self.gate(hidden.repeat_interleave(K, 0), keyword_ids.flatten(), seen.flatten(0, 1))
        each = each.unflatten(0, (-1, K)) * asked
        u = each.sum(1)
        u = u + F.gelu(self.mix(u))
        joint_logits = F.linear(hidden + weight * self.step(u), self.W)
        lift = weight * self.boost(u[:, None] + each)[..., 0] * ~seen
        index = keyword_ids[:, None].expand(-1, seen.shape[2], -1)
        return joint_logits.scatter_add(-1, index, lift.transpose(1, 2))


class ReadsAll(FrozenExpertSystem):
    """The expert, and one auxiliary that reads all keywords of a sentence.

    Args:
        asked: ``[B, K]``, whose sentences are written; while it learns, they come with the reading.
    """

    def __init__(
        self, expert: Expert, auxiliary: StoryTogether, asked: Tensor | None = None, weight: float = 1.0
    ) -> None:
        super().__init__(expert)
        self.auxiliary, self.asked, self.weight = auxiliary, asked, weight

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        hidden = self.states(reading, memory)
        asked = reading.keyword_ids if self.asked is None else self.asked
        seen = seen_of(reading.token_ids, asked)[..., -hidden.shape[1] :]
        return self.auxiliary(hidden, asked, seen, self.weight)


def joint_training_batches(
    bench: TrialSetup, steps: int, batch: int, most: int = 3
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """Training sentences, each asked for one, two or ``most`` of its own words, drawn anew every time.

    ``keyword_ids [B, K]`` is filled up with blanks.
    """
    draw = torch.Generator().manual_seed(bench.seed)
    for rows in islice(_batches(len(bench.train), batch, draw), steps):
        token_ids = bench.train[rows]
        asked = draw_several(bench.world.is_content(token_ids), token_ids, most, draw)
        count = torch.randint(1, most + 1, (len(rows), 1), generator=draw)
        asked = asked.masked_fill(torch.arange(most) >= count, BLANK)
        before = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        yield DecodingContext(before, asked, seen_of(before, asked), bench.hidden[rows]), token_ids


def label_training_batches(
    bench: TrialSetup, steps: int, batch: int, labels: Tensor
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """Training sentences, each asked for its label ``[N]``, a word that says something about it."""
    for rows in islice(_batches(len(bench.train), batch, torch.Generator().manual_seed(bench.seed)), steps):
        token_ids = bench.train[rows]
        yield DecodingContext.before(token_ids, labels[rows], bench.hidden[rows]), token_ids


def draw_several(content: Tensor, token_ids: Tensor, K: int, draw: torch.Generator) -> Tensor:
    """K different content words of each sentence, ``[B, K]``."""
    return token_ids.gather(1, torch.multinomial(content.double(), K, generator=draw))


def _batches(n: int, batch: int, draw: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(n, generator=draw).split(batch)
