"""Exact posteriors of several conditions at once in Storyland.

A condition is a set of words; a sentence fulfils it if it contains one of them. A keyword is a set of one word, "a
story of the night" the set of verbs that occur at night only. The probability that a sentence fulfils all its
conditions is the backward sum of a single keyword, taken for every subset of the conditions still open. Beside it
stands the sum of the single conditions' exact logits, which adding auxiliaries computes; their difference is the error
of composition.

Axes: ``B`` sentences, ``K`` conditions of each, ``T`` tokens, ``V`` words, ``S`` states.
"""

from __future__ import annotations

from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.errors import WorldError
from auxlib.worlds.automaton import BLANK, DIGITS, fixed_point
from auxlib.worlds.storyland import Storyland

MOST = 4  # conditions at once: the table doubles with each


class JointConditions:
    """Exact probabilities and logits of conditions that a sentence must fulfil together.

    Args:
        wanted: ``[B, K, V]`` bool, the words of each row's conditions.

    Raises:
        WorldError: another shape, more than four conditions, or one without a word.
    """

    def __init__(self, world: Storyland, wanted: Tensor) -> None:
        V = len(world.vocabulary)
        if wanted.dtype != torch.bool or wanted.ndim != 3 or wanted.shape[2] != V or not 1 <= wanted.shape[1] <= MOST:
            raise WorldError(
                f"expected wanted [B, K, {V}] of torch.bool with K from 1 to {MOST}, found {wanted.shape}."
            )
        if not bool(wanted.any(2).all()) or bool(wanted[..., BLANK].any()):
            raise WorldError("a condition without a word cannot be fulfilled; leave it out instead.")
        self.world, self.wanted = world, wanted
        self.weights = 2 ** torch.arange(wanted.shape[1])
        self.fulfils = (wanted.long() * self.weights[:, None]).sum(
            1
        )  # [B, V], the conditions that a word fulfils, as bits

    @classmethod
    def keywords(cls, world: Storyland, keyword_ids: Tensor) -> JointConditions:
        """Return one condition for each keyword, ``[B, K]``."""
        return cls(world, F.one_hot(keyword_ids, len(world.vocabulary)).bool())

    def open(self, token_ids: Tensor) -> Tensor:
        """Return the conditions still open after 0, 1, … T tokens, ``[B, T]`` to bits ``[B, T + 1]``."""
        met = self.wanted.gather(2, token_ids[:, None].expand(-1, len(self.weights), -1)).cumsum(2) > 0
        unmet = ~F.pad(met, (1, 0))
        return (unmet * self.weights[:, None]).sum(1)

    def posterior(self, token_ids: Tensor) -> Tensor:
        """Return p(all conditions are fulfilled | first t tokens), t = 0 … T: ``[B, T]`` to ``[B, T + 1]``."""
        rows = torch.arange(len(token_ids))[:, None]
        return self.future_keyword_prob[self.open(token_ids), self.world.states(token_ids), rows]

    def exact_aux_logits(self, token_ids: Tensor) -> Tensor:
        """Return log p(all are fulfilled | prefix, word v), ``[B, T]`` to ``[B, T + 1, V]``; ``-inf`` if impossible."""
        return self._ahead(token_ids, self.future_keyword_prob).log()

    def summed_aux_logits(self, token_ids: Tensor) -> Tensor:
        """Return the sum of the single conditions' exact logits, of the same shape, as adding auxiliaries does."""
        singles = [self._ahead(token_ids, self._only(k)).log() for k in range(len(self.weights))]
        return sum(singles[1:], singles[0])

    @cached_property
    def future_keyword_prob(self) -> Tensor:
        """P(all conditions of a subset are fulfilled later | state), ``[2^K, S, B]``, by the subset's bits."""
        source, word, target, probs = self.world.automaton.arcs
        S, B = len(self.world.automaton.step), len(self.wanted)
        A = torch.sparse_coo_tensor(torch.stack([source, target]), probs, (S, S), check_invariants=True).coalesce()
        table = torch.ones(2 ** len(self.weights), S, B, dtype=torch.float64)
        for subset in range(1, len(table)):
            left = subset & ~self.fulfils[:, word]  # [B, E], the conditions open after each arc
            row, arc = (left != subset).nonzero(as_tuple=True)
            at, behind, share = (source[arc], row), table[left[row, arc], target[arc], row], probs[arc]
            from_here = (target[arc], row)

            h = fixed_point(partial(_backward, A, at, from_here, behind, share), torch.zeros(S, B, dtype=torch.float64))
            table[subset] = h.masked_fill(h > 1 - 10**-DIGITS, 1.0)
        return table

    def _only(self, k: int) -> Tensor:
        """Return the table of condition k alone."""
        return self.future_keyword_prob[torch.arange(len(self.future_keyword_prob)) & int(self.weights[k])]

    def _ahead(self, token_ids: Tensor, table: Tensor) -> Tensor:
        """Return the table's entries after each next word, ``[B, T + 1, V]``; 0 for words that cannot follow."""
        states = self.world.states(token_ids)
        left = self.open(token_ids)[..., None] & ~self.fulfils[:, None]
        after = self.world.automaton.step[states].clamp(min=0)
        h = table[left, after, torch.arange(len(token_ids))[:, None, None]]
        return h.masked_fill(self.world.automaton.probs[states] == 0, 0.0)


def _backward(
    A: Tensor, at: tuple[Tensor, Tensor], from_here: tuple[Tensor, Tensor], behind: Tensor, share: Tensor, h: Tensor
) -> Tensor:
    """Return one step of the backward equation: arcs that fulfil a condition lead to the table of the others."""
    return torch.sparse.mm(A, h).index_put_(at, share * (behind - h[from_here]), accumulate=True)
