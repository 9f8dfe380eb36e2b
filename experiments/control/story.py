"""Systems that write under several conditions in Storyland: exact posteriors, sums of auxiliaries, a joint auxiliary.

All are systems of `experiments.baselines.decoding`; each holds the conditions of a batch and decodes that batch.

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
from experiments.baselines.decoding import DecodingContext, Memory, System, part_of
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.baselines.story_auxiliary import Gate, StoryAuxiliary
from experiments.claim.setup import TrialSetup, shuffled_batches
from experiments.control.joint_conditions import JointConditions


def seen_keywords(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Return which of the keywords ``[B, K]`` occur up to each token, ``[B, T]`` to ``[B, K, T]``."""
    return (token_ids[:, None] == keyword_ids[..., None]).cumsum(2) > 0


class ExactJointPosterior(System):
    """The true distribution over sentences that fulfil all conditions, or the product of the single posteriors.

    Args:
        summed: add each condition's exact logits, as if the others were absent.
        weight: λ on the exact logits.
    """

    def __init__(self, conditions: JointConditions, summed: bool = False, weight: float = 1.0) -> None:
        super().__init__()
        self.conditions, self.summed, self.weight = conditions, summed, weight

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return unnormalised log-probabilities ``[B, T, V]``; with a memory only the last position."""
        world, read = self.conditions.world, context.token_ids
        exact = self.conditions.summed_aux_logits if self.summed else self.conditions.exact_aux_logits
        prior, aux_logits = world.next_log_probs(read), exact(read)
        vetoed = torch.isneginf(aux_logits)  # filled before the product: 0 · (-inf) is NaN
        logits = (prior + self.weight * aux_logits.masked_fill(vetoed, 0.0)).masked_fill(vetoed, -torch.inf)
        lost = torch.isneginf(logits).all(-1, keepdim=True)  # a sum can lead to a prefix from which nothing fulfils all
        logits = torch.where(lost, prior, logits)
        stop = world.ids[FULL_STOP]
        logits[..., stop] = logits[..., stop].nan_to_num(neginf=-1e9)  # after the end, where nothing can follow
        return logits[:, 1:] if memory is None else logits[:, -1:]


class MyopicBoost(System):
    """The true process with λ added to the keyword's logit while it is missing: no lookahead (identity I4)."""

    def __init__(self, world: Storyland, weight: float) -> None:
        super().__init__()
        self.world, self.weight = world, weight

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return logits ``[B, T, V]``; with a memory only the last position."""
        logits = self.world.next_log_probs(context.token_ids)[:, 1:]
        push = self.weight * F.one_hot(context.keyword_ids, logits.shape[-1])[:, None] * ~context.seen[..., None]
        logits = logits + push
        stop = self.world.ids[FULL_STOP]
        logits[..., stop] = logits[..., stop].nan_to_num(neginf=-1e9)  # after the end, where nothing can follow
        return logits if memory is None else logits[:, -1:]


class SummedAuxiliaries(FrozenExpertSystem):
    """``lm_logits + Σ λ_k · aux_logits_k``: auxiliaries that each condition on one keyword.

    Args:
        auxiliaries: one for each keyword; often the same one conditions times.
        keyword_ids: ``[B, K]``, the keyword of each.
        weights: λ of each.
    """

    def __init__(
        self,
        expert: Expert,
        auxiliaries: Sequence[StoryAuxiliary],
        keyword_ids: Tensor,
        weights: Sequence[float],
    ) -> None:
        super().__init__(expert)
        self.auxiliaries, self.keyword_ids, self.weights = nn.ModuleList(auxiliaries), keyword_ids, weights

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        hidden = self.states(context, memory)
        lm_logits = self.expert.lm_head(hidden)
        seen = seen_keywords(context.token_ids, self.keyword_ids)[..., -hidden.shape[1] :]
        joint_logits = lm_logits.clone()
        for k, (auxiliary, weight) in enumerate(zip(self.auxiliaries, self.weights, strict=True)):
            joint_logits += auxiliary(hidden, self.keyword_ids[:, k], seen[:, k], weight) - lm_logits
        return joint_logits


class TransferredAuxiliary(FrozenExpertSystem):
    """An auxiliary beside an expert that it was not trained with: ``lm_logits_new + aux_logits``.

    Args:
        state_expert: the expert whose states the auxiliary reads. Its own, which then must run as well; or the new
            one, whose states have the same shape and another meaning.
        words: ``[B]``, the keywords.
    """

    def __init__(self, expert: Expert, state_expert: Expert, auxiliary: StoryAuxiliary, words: Tensor) -> None:
        super().__init__(expert)
        self.reader, self.auxiliary, self.words = FrozenExpertSystem(state_expert), auxiliary, words

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        lm_logits = super().forward(context, part_of(memory, "new"))
        read = self.reader.states(context, part_of(memory, "old"))
        seen = seen_keywords(context.token_ids, self.words[:, None])[:, 0, -read.shape[1] :]
        return lm_logits + self.auxiliary(read, self.words, seen) - self.auxiliary.unembed(read)


class JointStoryAuxiliary(nn.Module):
    """One auxiliary that reads all keywords; a layer on the sum of their gated features can see conflicts.

    Args:
        W: the expert's unembedding ``[V, D]``; read, never trained.
    """

    W: Tensor

    def __init__(self, W: Tensor, width: int = 96) -> None:
        super().__init__()
        self.register_buffer("W", W.detach(), persistent=False)
        self.gate, self.mix = Gate(W, width), nn.Linear(width, width)
        self.step, self.boost = nn.Linear(width, W.shape[1]), nn.Linear(width, 1)
        for parameter in (*self.step.parameters(), *self.boost.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor, weight: float = 1.0) -> Tensor:
        """Return joint logits ``[B, T, V]`` from ``hidden [B, T, D]``, ``keyword_ids [B, K]``, ``seen [B, K, T]``."""
        present = (keyword_ids != BLANK)[..., None, None]
        seen = seen | ~present[..., 0]
        K = keyword_ids.shape[1]
        each = self.gate(hidden.repeat_interleave(K, 0), keyword_ids.flatten(), seen.flatten(0, 1))
        each = each.unflatten(0, (-1, K)) * present
        u = each.sum(1)
        u = u + F.gelu(self.mix(u))
        joint_logits = F.linear(hidden + weight * self.step(u), self.W)
        lift = weight * self.boost(u[:, None] + each)[..., 0] * ~seen
        index = keyword_ids[:, None].expand(-1, seen.shape[2], -1)
        return joint_logits.scatter_add(-1, index, lift.transpose(1, 2))


class JointAuxiliarySystem(FrozenExpertSystem):
    """A frozen expert with one auxiliary that reads all keywords of a sentence.

    Args:
        keyword_ids: ``[B, K]``, the keywords to decode for; None in training, where the context brings them.
    """

    def __init__(
        self,
        expert: Expert,
        auxiliary: JointStoryAuxiliary,
        keyword_ids: Tensor | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(expert)
        self.auxiliary, self.keyword_ids, self.weight = auxiliary, keyword_ids, weight

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        hidden = self.states(context, memory)
        keyword_ids = context.keyword_ids if self.keyword_ids is None else self.keyword_ids
        seen = seen_keywords(context.token_ids, keyword_ids)[..., -hidden.shape[1] :]
        return self.auxiliary(hidden, keyword_ids, seen, self.weight)


def joint_keyword_batches(
    setup: TrialSetup, steps: int, batch: int, most: int = 3
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """Yield training batches in which each sentence is conditioned on one, two or ``most`` of its own words.

    The words are drawn anew in every epoch; ``keyword_ids [B, K]`` is padded with blanks.
    """
    rng = torch.Generator().manual_seed(setup.seed)
    for rows in islice(shuffled_batches(len(setup.train), batch, rng), steps):
        token_ids = setup.train[rows]
        keyword_ids = draw_keyword_sets(setup.world.is_content(token_ids), token_ids, most, rng)
        count = torch.randint(1, most + 1, (len(rows), 1), generator=rng)
        keyword_ids = keyword_ids.masked_fill(torch.arange(most) >= count, BLANK)
        before = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        yield DecodingContext(before, keyword_ids, seen_keywords(before, keyword_ids), setup.hidden[rows]), token_ids


def label_batches(
    setup: TrialSetup, steps: int, batch: int, labels: Tensor
) -> Iterator[tuple[DecodingContext, Tensor]]:
    """Yield training batches in which each sentence is conditioned on its label ``[N]``, given as a word."""
    for rows in islice(shuffled_batches(len(setup.train), batch, torch.Generator().manual_seed(setup.seed)), steps):
        token_ids = setup.train[rows]
        yield DecodingContext.before(token_ids, labels[rows], setup.hidden[rows]), token_ids


def draw_keyword_sets(content: Tensor, token_ids: Tensor, K: int, rng: torch.Generator) -> Tensor:
    """Return K different content words of each sentence, ``[B, K]``."""
    return token_ids.gather(1, torch.multinomial(content.double(), K, generator=rng))
