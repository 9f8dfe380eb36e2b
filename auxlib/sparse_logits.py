"""How do an auxiliary's parts enter the product?

An auxiliary does not write V logits. It writes *parts*, which are cheaper and learn faster:

* ``shift [B, T, R]`` with a matrix ``[S, R]``: logits over a support of S tokens. When the matrix begins with the
  expert's own unembedding rows the shift is a step in the expert's output space, and ``W (h + shift)`` is one product;
  further columns of the matrix mark groups of tokens that rise and fall together;
* ``boosts [B, T, N]``: N single logits added to N single tokens ``boost_ids [B, T, N]``, wherever they lie in the
  vocabulary (the keyword's next piece).

``dense_logits`` spells the same opinion out over the whole vocabulary, and ``token_nll`` scores tokens without ever
doing so. That both are one product of experts is an identity, tested to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.keywords import NO_PIECE


@dataclass
class SparseLogits:
    """What an auxiliary says, compactly. Absent parts are None.

    Attributes:
        shift: ``[B, T, R]``.
        matrix: ``[S, R]``, rows for the tokens of ``support``.
        support: ``[S]`` sorted token ids, or None for the whole vocabulary.
        in_unembedding: True when ``matrix`` begins with the expert's own D columns, so that the hidden state can be
            added to the shift's first D numbers.
        boost_ids: ``[B, T, N]``, distinct within a position; ``NO_PIECE`` marks a boost that is not given.
        boosts: ``[B, T, N]``.
    """

    shift: Tensor | None = None
    matrix: Tensor | None = None
    support: Tensor | None = None
    in_unembedding: bool = False
    boost_ids: Tensor | None = None
    boosts: Tensor | None = None


def dense_logits(parts: SparseLogits, vocabulary: int) -> Tensor:
    """The auxiliary's logits over the whole vocabulary, ``[B, T, V]`` in float32; zero where it says nothing."""
    like = parts.shift if parts.shift is not None else parts.boosts
    if parts.shift is None:
        logits = like.new_zeros(*like.shape[:2], vocabulary, dtype=torch.float32)
    elif parts.support is None:
        logits = F.linear(parts.shift, parts.matrix.to(parts.shift.dtype)).float()
    else:
        logits = like.new_zeros(*like.shape[:2], vocabulary, dtype=torch.float32)
        logits[..., parts.support] = F.linear(parts.shift, parts.matrix.to(parts.shift.dtype)).float()
    if parts.boosts is None:
        return logits
    given = parts.boost_ids != NO_PIECE
    return logits.scatter_add(-1, parts.boost_ids.clamp(min=0), torch.where(given, parts.boosts, 0.0).float())


def token_nll(
    hidden: Tensor, log_mass_outside_support: Tensor, parts: SparseLogits, unembedding: Tensor, targets: Tensor
) -> Tensor:
    """Negative log-likelihood of each target under ``softmax(lm_logits + aux_logits)``, without V logits a token.

    Args:
        hidden: the expert's final states, ``[N, D]``: positions flattened, padding already left out.
        log_mass_outside_support: ``[N]``, log-mass of the frozen model outside the support (``-inf`` for the whole
            vocabulary).
        parts: the auxiliary's, with ``[N]`` in the place of ``[B, T]``.
        unembedding: W, ``[V, D]``.
        targets: ``[N]``.

    Returns:
        ``[N]``, nats.
    """
    joint = _boosted(_logit_of(hidden, parts, unembedding, targets.unsqueeze(-1)), parts, targets.unsqueeze(-1))
    return log_normaliser(hidden, log_mass_outside_support, parts, unembedding) - joint.squeeze(-1)


def exclusion_nll(
    hidden: Tensor, log_mass_outside_support: Tensor, parts: SparseLogits, unembedding: Tensor, excluded: Tensor
) -> Tensor:
    """``-log P(next token is none of the excluded)``, ``[N]``: what a text teaches that only says what cannot follow.

    Args:
        excluded: ``[C]`` token ids; the others as in ``token_nll``.
    """
    ids = excluded.expand(len(hidden), -1)
    joint = _boosted(_logit_of(hidden, parts, unembedding, ids), parts, ids)
    log_mass = torch.logsumexp(joint, -1) - log_normaliser(hidden, log_mass_outside_support, parts, unembedding)
    return -torch.log1p(-log_mass.exp().clamp(max=1 - 1e-6))


def log_normaliser(
    hidden: Tensor, log_mass_outside_support: Tensor, parts: SparseLogits, unembedding: Tensor
) -> Tensor:
    """``log Σ_v exp(lm_logits + aux_logits)``, exactly, ``[N]``; arguments as in ``token_nll``.

    The log-sum over the support, the cached mass of the rest, and one correction per boost, since adding b to one logit
    multiplies its share p by e^b: ``Z' = Z (1 + Σ p_j (e^{b_j} - 1))``.
    """
    states, matrix = _joint_linear(hidden, parts, unembedding)
    log_z = torch.logaddexp(_log_sum(states, matrix), log_mass_outside_support)
    if parts.boosts is None:
        return log_z
    given = parts.boost_ids != NO_PIECE
    share = (_logit_of(hidden, parts, unembedding, parts.boost_ids.clamp(min=0)) - log_z.unsqueeze(-1)).exp()
    gain = torch.where(given, share * parts.boosts.expm1(), 0.0).sum(-1)
    return log_z + torch.log1p(gain.clamp(min=-1 + 1e-6))


def _boosted(logits: Tensor, parts: SparseLogits, ids: Tensor) -> Tensor:
    """Add to ``logits [N, J]`` of tokens ``ids [N, J]`` the boosts given to those very tokens."""
    if parts.boosts is None:
        return logits
    same = parts.boost_ids.unsqueeze(1) == ids.unsqueeze(-1)
    return logits + (parts.boosts.unsqueeze(1) * same).sum(-1)


def _joint_linear(hidden: Tensor, parts: SparseLogits, unembedding: Tensor) -> tuple[Tensor, Tensor]:
    """States and matrix whose product is the joint logits over the support."""
    if parts.shift is None:
        return hidden, (unembedding if parts.support is None else unembedding[parts.support]).to(hidden.dtype)
    if parts.in_unembedding:
        states = F.pad(hidden, (0, parts.shift.shape[-1] - hidden.shape[-1])) + parts.shift
        return states, parts.matrix.to(states.dtype)  # an expert in half precision has half a matrix
    # adding logits is concatenating hidden states: W h + A u = [W | A] [h ; u]
    rows = unembedding if parts.support is None else unembedding[parts.support]
    states = torch.cat([hidden, parts.shift], -1)
    return states, torch.cat([rows.to(states.dtype), parts.matrix.to(states.dtype)], -1)


def _log_sum(states: Tensor, matrix: Tensor) -> Tensor:
    """``logsumexp(states @ matrix.T)`` through the fused loss: the log-loss of any fixed token, plus its logit."""
    anchor = states.new_zeros(len(states), dtype=torch.long)
    return F.linear_cross_entropy(states, matrix, anchor, reduction="none") + states @ matrix[0]


def _logit_of(hidden: Tensor, parts: SparseLogits, unembedding: Tensor, ids: Tensor) -> Tensor:
    """The joint logits of chosen tokens before boosts, ``[N, J]`` for ``ids [N, J]``."""
    rows = unembedding[ids]
    logits = torch.einsum("nd,njd->nj", hidden, rows.to(hidden.dtype))
    if parts.shift is None:
        return logits
    index, inside = ids, torch.ones_like(ids, dtype=torch.bool)
    if parts.support is not None:
        index = torch.searchsorted(parts.support, ids.contiguous()).clamp(max=len(parts.support) - 1)
        inside = parts.support[index] == ids
    return logits + inside * torch.einsum("nr,njr->nj", parts.shift, parts.matrix[index].to(parts.shift.dtype))
