"""What is the truth about several requests at once?

A request is a set of words, and a sentence fulfils it when it says one of them: a keyword is a set of one, "a story
of the night" the set of verbs that only nights have. The probability that a sentence fulfils all of its requests is the
same backward sum as for one keyword, taken for every subset of those still open. Beside it stands the sum of the
single answers, which is what adding auxiliaries computes; their difference is what composition gets wrong.

Axes: ``B`` sentences, ``K`` requests of each, ``T`` tokens, ``V`` words, ``S`` states.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.errors import WorldError
from auxlib.worlds.automaton import BLANK, DIGITS, fixed_point
from auxlib.worlds.storyland import Storyland

MOST = 4  # requests at once: the table doubles with each


class JointConditions:
    """Exact answers about requests that a sentence must fulfil together.

    Args:
        wanted: ``[B, K, V]`` bool, the words of each row's requests.

    Raises:
        WorldError: not of that shape, more than four requests, or one without a word.
    """

    def __init__(self, world: Storyland, wanted: Tensor) -> None:
        V = len(world.vocabulary)
        if wanted.dtype != torch.bool or wanted.ndim != 3 or wanted.shape[2] != V or not 1 <= wanted.shape[1] <= MOST:
            raise WorldError(
                f"expected wanted [B, K, {V}] of torch.bool with K from 1 to {MOST}, found {wanted.shape}."
            )
        if not bool(wanted.any(2).all()) or bool(wanted[..., BLANK].any()):
            raise WorldError("a request without a word cannot be fulfilled; leave it out instead.")
        self.world, self.wanted = world, wanted
        self.weights = 2 ** torch.arange(wanted.shape[1])
        self.fulfils = (wanted.long() * self.weights[:, None]).sum(1)  # [B, V], the requests of a word, as bits

    @classmethod
    def keywords(cls, world: Storyland, keyword_ids: Tensor) -> JointConditions:
        """One request for each keyword, ``[B, K]``."""
        return cls(world, F.one_hot(keyword_ids, len(world.vocabulary)).bool())

    def open(self, token_ids: Tensor) -> Tensor:
        """Which requests are open after 0, 1, … T tokens, ``[B, T]`` to bits ``[B, T + 1]``."""
        said = self.wanted.gather(2, token_ids[:, None].expand(-1, len(self.weights), -1)).cumsum(2) > 0
        still = ~F.pad(said, (1, 0))
        return (still * self.weights[:, None]).sum(1)

    def posterior(self, token_ids: Tensor) -> Tensor:
        """p(all requests are fulfilled in the end | first t tokens), t = 0 … T: ``[B, T]`` to ``[B, T + 1]``."""
        rows = torch.arange(len(token_ids))[:, None]
        return self.future_keyword_prob[self.open(token_ids), self.world.states(token_ids), rows]

    def exact_aux_logits(self, token_ids: Tensor) -> Tensor:
        """log p(all are fulfilled | prefix and word v), ``[B, T]`` to ``[B, T + 1, V]``; ``-inf`` is impossible."""
        return self._ahead(token_ids, self.future_keyword_prob).log()

    def summed_aux_logits(self, token_ids: Tensor) -> Tensor:
        """The sum of the single requests' exact logits, of the same shape: what adding auxiliaries amounts to."""
        return sum(self._ahead(token_ids, self._only(k)).log() for k in range(len(self.weights)))

    @cached_property
    def future_keyword_prob(self) -> Tensor:
        """P(all requests of a subset are fulfilled from here on | state), ``[2^K, S, B]``; the subset's bits count."""
        source, word, target, probs = self.world.automaton.arcs
        S, B = len(self.world.automaton.step), len(self.wanted)
        A = torch.sparse_coo_tensor(torch.stack([source, target]), probs, (S, S), check_invariants=True).coalesce()
        table = torch.ones(2 ** len(self.weights), S, B, dtype=torch.float64)
        for subset in range(1, len(table)):
            left = subset & ~self.fulfils[:, word]  # [B, E], what is open behind each arc
            row, arc = (left != subset).nonzero(as_tuple=True)
            at, behind, share = (source[arc], row), table[left[row, arc], target[arc], row], probs[arc]
            from_here = (target[arc], row)

            def back(h: Tensor, at=at, behind=behind, share=share, from_here=from_here) -> Tensor:
                return torch.sparse.mm(A, h).index_put_(at, share * (behind - h[from_here]), accumulate=True)

            h = fixed_point(back, torch.zeros(S, B, dtype=torch.float64))
            table[subset] = h.masked_fill(h > 1 - 10**-DIGITS, 1.0)
        return table

    def _only(self, k: int) -> Tensor:
        """The table of request k alone: whatever else is open does not count."""
        return self.future_keyword_prob[torch.arange(len(self.future_keyword_prob)) & int(self.weights[k])]

    def _ahead(self, token_ids: Tensor, table: Tensor) -> Tensor:
        """What the table says after each possible next word, ``[B, T + 1, V]``; 0 for what cannot follow."""
        states = self.world.states(token_ids)
        left = self.open(token_ids)[..., None] & ~self.fulfils[:, None]
        after = self.world.automaton.step[states].clamp(min=0)
        h = table[left, after, torch.arange(len(token_ids))[:, None, None]]
        return h.masked_fill(self.world.automaton.probs[states] == 0, 0.0)
