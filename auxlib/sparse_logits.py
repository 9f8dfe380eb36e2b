"""Sparse auxiliary logits, and the joint normaliser with a frozen language model's.

An auxiliary does not write V logits a position. It writes a compact form, which costs less and learns faster:

* ``shift [B, T, R]`` with a matrix ``[S, R]``: logits over a support of S tokens. When the matrix begins with the
  frozen model's own unembedding rows W, the shift is a step in that model's output space, and ``W (h + shift)`` is one
  product; further columns of the matrix mark groups of tokens that rise and fall together;
* ``boosts [B, T, N]``: N single logits for N single tokens ``boost_ids [B, T, N]``, anywhere in the vocabulary (the
  keyword's next piece).

`SparseLogits.dense` spells the logits out over the whole vocabulary, `SparseLogits.add_to` adds them in place, and
`SparseLogits.nll` scores targets under ``softmax(lm_logits + aux_logits)`` without V logits a position. That all three
are the product of experts of `auxlib.product.combine` is an identity, tested to 1e-5.

Axes: ``B`` batch, ``T`` positions, ``V`` vocabulary, ``S`` support, ``D`` the frozen model's width, ``N`` boosts. The
losses take positions flattened to ``[P]`` in the place of ``[B, T]``, padding left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.keywords import NO_PIECE


@dataclass
class SparseLogits:
    """Auxiliary logits in compact form; absent parts are None.

    Attributes:
        shift: ``[B, T, R]``.
        matrix: ``[S, R]``, rows for the tokens of ``support``.
        support: ``[S]`` sorted token ids, or None for the whole vocabulary.
        in_unembedding: True when ``matrix`` begins with the frozen model's own D columns, so that its hidden state can
            be added to the shift's first D numbers.
        boost_ids: ``[B, T, N]``, distinct within a position; ``NO_PIECE`` marks an absent boost.
        boosts: ``[B, T, N]``.
    """

    shift: Tensor | None = None
    matrix: Tensor | None = None
    support: Tensor | None = None
    in_unembedding: bool = False
    boost_ids: Tensor | None = None
    boosts: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> SparseLogits:
        """Apply one change of positions or rows to shift, boosts and their ids."""
        shift, ids, boosts = (None if x is None else change(x) for x in (self.shift, self.boost_ids, self.boosts))
        return replace(self, shift=shift, boost_ids=ids, boosts=boosts)

    def dense(self, vocabulary: int) -> Tensor:
        """Return the logits over the whole vocabulary, ``[B, T, V]`` in float32; zero where none are given."""
        like = self.shift if self.shift is not None else self.boosts
        if like is None:
            raise ValueError("sparse logits without a shift and without boosts have no shape.")
        logits = like.new_zeros(*like.shape[:-1], vocabulary, dtype=torch.float32)
        self.add_to(logits)
        return logits

    def add_to(self, logits: Tensor) -> None:
        """Add to logits ``[B, T, V]`` in place: a copy of V numbers a position would cost more than the sum."""
        if self.shift is not None:
            assert self.matrix is not None
            aux_logits = F.linear(self.shift, self.matrix.to(self.shift.dtype)).float()
            if self.support is None:
                logits += aux_logits
            else:
                logits.index_add_(-1, self.support, aux_logits)
        if self.boosts is not None:
            assert self.boost_ids is not None
            boosts = torch.where(self.boost_ids == NO_PIECE, 0.0, self.boosts).float()
            logits.scatter_add_(-1, self.boost_ids.clamp(min=0), boosts)

    def nll(self, hidden: Tensor, log_mass_outside_support: Tensor, unembedding: Tensor, targets: Tensor) -> Tensor:
        """Return the negative log-likelihood of each target under ``softmax(lm_logits + aux_logits)``.

        Args:
            hidden: the frozen model's final states, ``[P, D]``.
            log_mass_outside_support: ``[P]``, log-mass of the frozen model outside the support; ``-inf`` when the
                support is the whole vocabulary.
            unembedding: W, ``[V, D]``.
            targets: ``[P]``.

        Returns:
            ``[P]``, nats.
        """
        joint = self._joint_logits_of(hidden, unembedding, targets.unsqueeze(-1)).squeeze(-1)
        return self.log_normaliser(hidden, log_mass_outside_support, unembedding) - joint

    def exclusion_nll(
        self, hidden: Tensor, log_mass_outside_support: Tensor, unembedding: Tensor, excluded: Tensor
    ) -> Tensor:
        """Return ``-log P(next token not in excluded)``, ``[P]`` in nats.

        Args:
            excluded: ``[C]`` token ids; the others as in `nll`.
        """
        joint = self._joint_logits_of(hidden, unembedding, excluded.expand(len(hidden), -1))
        log_mass = torch.logsumexp(joint, -1) - self.log_normaliser(hidden, log_mass_outside_support, unembedding)
        return -torch.log1p(-log_mass.exp().clamp(max=1 - 1e-6))

    def log_normaliser(self, hidden: Tensor, log_mass_outside_support: Tensor, unembedding: Tensor) -> Tensor:
        """Return ``log Σ_v exp(lm_logits + aux_logits)``, exactly, ``[P]``; arguments as in `nll`.

        It is the log-sum over the support, the cached mass outside it, and one correction per boost: adding b to one
        logit multiplies its share p by e^b, so ``Z' = Z (1 + Σ p_j (e^{b_j} - 1))``.
        """
        log_z = torch.logaddexp(_log_sum(*self._joint_linear(hidden, unembedding)), log_mass_outside_support)
        if self.boosts is None or self.boost_ids is None:
            return log_z
        given = self.boost_ids != NO_PIECE
        share = (self._unboosted(hidden, unembedding, self.boost_ids.clamp(min=0)) - log_z.unsqueeze(-1)).exp()
        gain = torch.where(given, share * self.boosts.expm1(), 0.0).sum(-1)
        return log_z + torch.log1p(gain.clamp(min=-1 + 1e-6))

    def _joint_logits_of(self, hidden: Tensor, unembedding: Tensor, ids: Tensor) -> Tensor:
        """Return the joint logits of chosen tokens, ``[P, J]`` for ``ids [P, J]``."""
        logits = self._unboosted(hidden, unembedding, ids)
        if self.boosts is None or self.boost_ids is None:
            return logits
        same = self.boost_ids.unsqueeze(1) == ids.unsqueeze(-1)
        return logits + (self.boosts.unsqueeze(1) * same).sum(-1)

    def _unboosted(self, hidden: Tensor, unembedding: Tensor, ids: Tensor) -> Tensor:
        """Return the joint logits of chosen tokens before boosts, ``[P, J]`` for ``ids [P, J]``."""
        logits = torch.einsum("nd,njd->nj", hidden, unembedding[ids].to(hidden.dtype))
        if self.shift is None or self.matrix is None:
            return logits
        index, inside = ids, torch.ones_like(ids, dtype=torch.bool)
        if self.support is not None:
            index = torch.searchsorted(self.support, ids.contiguous()).clamp(max=len(self.support) - 1)
            inside = self.support[index] == ids
        shifted = torch.einsum("nr,njr->nj", self.shift, self.matrix[index].to(self.shift.dtype))
        return logits + inside * shifted

    def _joint_linear(self, hidden: Tensor, unembedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and a matrix whose product is the joint logits over the support, before boosts."""
        if self.in_unembedding and self.shift is not None and self.matrix is not None:
            states = F.pad(hidden, (0, self.shift.shape[-1] - hidden.shape[-1])) + self.shift
            return states, self.matrix.to(states.dtype)  # a frozen model in half precision has half a matrix
        rows = unembedding if self.support is None else unembedding[self.support]
        if self.shift is None or self.matrix is None:
            return hidden, rows.to(hidden.dtype)
        # adding logits is concatenating hidden states: W h + A u = [W | A] [h ; u]
        states = torch.cat([hidden, self.shift], -1)
        return states, torch.cat([rows.to(states.dtype), self.matrix.to(states.dtype)], -1)


def _log_sum(states: Tensor, matrix: Tensor) -> Tensor:
    """Return ``logsumexp(states @ matrix.T)`` through the fused loss: the log-loss of a fixed token plus its logit."""
    anchor = states.new_zeros(len(states), dtype=torch.long)
    return F.linear_cross_entropy(states, matrix, anchor, reduction="none") + states @ matrix[0]
