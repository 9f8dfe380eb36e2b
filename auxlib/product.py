"""Products and mixtures of experts: the algebra of log-probabilities under Auxiliary Tuning.

Logits are log-probabilities up to one constant per row, so adding two experts' logits multiplies their distributions
and renormalises: a *product of experts* (Hinton 2002). Auxiliary Tuning (Zeldes et al. 2020, arXiv 2006.16823) is that
product with a frozen language model as the first factor.

Axes: ``B`` batch, ``V`` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from auxlib.errors import VocabularyMismatch, WeightError

Weight: TypeAlias = float | Tensor
Term: TypeAlias = tuple[Weight, Tensor]


def check_weight(weight: Weight, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return weights λ as a flat tensor.

    Raises:
        WeightError: a weight is NaN or infinite.
    """
    flat = torch.as_tensor(weight, dtype=dtype, device=device).reshape(-1)
    if not bool(torch.isfinite(flat).all()):
        raise WeightError(
            f"the weight λ must be a finite number, got {flat.tolist()}. "
            "0 leaves the language model alone, 1 is the trained product, more than 1 presses harder."
        )
    return flat


def as_weight(
    weight: Weight, batch: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Check weights λ and return them as ``[B, 1]``.

    Args:
        weight: one number for the whole batch, or a tensor ``[B]`` with one number a row. Negative weights are allowed:
            they push *away* from the auxiliary's distribution.
        batch: B.

    Raises:
        WeightError: a weight is NaN or infinite, or there is not one per row.
    """
    rows = check_weight(weight, device, dtype)
    if rows.numel() not in (1, batch):
        raise WeightError(f"got {rows.numel()} weights for a batch of {batch} rows; give one number, or one a row.")
    return rows.expand(batch).unsqueeze(1)


def center(logits: Tensor) -> Tensor:
    """Return logits ``[..., V]`` without their constant per row: the mean of the finite entries becomes zero.

    Two sets of logits have the same softmax exactly when their centred versions agree (identity I5 of the course).
    Entries of ``-inf`` stay ``-inf`` and are left out of the mean.
    """
    finite = torch.isfinite(logits)
    total = torch.where(finite, logits, 0.0).sum(-1, keepdim=True)
    return logits - total / finite.sum(-1, keepdim=True).clamp(min=1)


def combine(lm_logits: Tensor, terms: Sequence[Term], mask: Tensor | None = None) -> Tensor:
    """Add weighted auxiliary logits to the language model's: a product of experts in log space.

    Out of place and in float32, so that no input is changed and two half-precision numbers are never summed.
    A veto is final: where ``lm_logits`` is ``-inf`` the result is ``-inf``, whatever the auxiliaries' logits.

    Args:
        lm_logits: the frozen expert, ``[B, V]`` (also ``[V]`` or ``[B, T, V]``), any float type; may hold ``-inf``.
        terms: pairs of weight λ (a number or ``[B]``) and auxiliary logits of the same shape; these may hold ``-inf``
            too, which vetoes a token at a positive weight and changes nothing at weight zero.
        mask: the same shape, True where a token is allowed.

    Returns:
        Unnormalised joint logits of the same shape, float32 (float64 when ``lm_logits`` is).

    Raises:
        VocabularyMismatch: the last axes differ.
        WeightError: a weight is not finite, there is not one a row, or it is negative where it meets a veto.

    Source: Zeldes et al. 2020 (arXiv 2006.16823); no constant per row matters, because softmax ignores it.
    """
    dtype = torch.promote_types(lm_logits.dtype, torch.float32)
    joint_logits = lm_logits.to(dtype)
    vetoed = torch.isneginf(joint_logits)
    for weight, aux_logits in terms:
        if aux_logits.shape[-1] != lm_logits.shape[-1]:
            raise VocabularyMismatch(
                f"the language model has {lm_logits.shape[-1]} tokens and an auxiliary {aux_logits.shape[-1]}. "
                "Both must come from the same tokenizer; check which expert the auxiliary was trained for."
            )
        rows = _rows(weight, lm_logits)
        forbidden = torch.isneginf(aux_logits)
        if bool((forbidden & (rows < 0)).any()):
            raise WeightError(
                "a negative weight λ meets an auxiliary that vetoes a token (-inf); use a weight ≥ 0 there."
            )
        vetoed = vetoed | (forbidden & (rows > 0))
        # filled before the product: 0 · (-inf) is NaN, in the sum and, worse, in the gradient of a learned λ
        joint_logits = joint_logits + rows * aux_logits.to(dtype).masked_fill(forbidden, 0.0)
    if mask is not None:
        vetoed = vetoed | ~mask
    return joint_logits.masked_fill(vetoed, -math.inf)


def _rows(weight: Weight, lm_logits: Tensor) -> Tensor:
    """Return λ in the logits' precision, shaped to multiply them: one number for each entry of their first axis."""
    batch = lm_logits.shape[0] if lm_logits.dim() > 1 else 1
    dtype = torch.promote_types(lm_logits.dtype, torch.float32)
    return as_weight(weight, batch, lm_logits.device, dtype).reshape(-1, *[1] * (lm_logits.dim() - 1))


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Return the smallest set of most likely tokens that holds at least ``top_p`` of the mass, ``[..., V]`` bool.

    The frozen model's nucleus can serve as a veto in the product (DExperts, Liu et al. 2021).
    """
    if not 0 < top_p <= 1:
        raise WeightError(f"a nucleus holds a share of the mass above 0 and at most 1, got {top_p}.")
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    inside = probs.cumsum(-1) - probs < top_p
    return torch.zeros_like(inside).scatter(-1, order, inside)


def mixture(probs: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Return the weighted average of experts' probabilities, ``[N, ..., V]`` to ``[..., V]``.

    A mixture is an OR (any expert can insist), a product an AND (any expert can veto). ``weights`` must be non-negative
    and sum to one; without them the mean is taken.
    """
    if weights is None:
        return probs.mean(0)
    share = torch.as_tensor(weights, dtype=probs.dtype)
    if (
        share.shape != probs.shape[:1]
        or bool((share < 0).any())
        or not math.isclose(float(share.sum()), 1.0, abs_tol=1e-6)
    ):
        raise WeightError(f"mixture weights must be {probs.shape[0]} numbers ≥ 0 that sum to 1, got {share.tolist()}.")
    return torch.tensordot(share, probs, dims=1)


def kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(q‖p) in nats over the last axis, ``[..., V]`` to ``[...]``; entries with q = 0 contribute 0."""
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), torch.zeros_like(q)).sum(-1)


def kl_bernoulli(alpha: float, base: float) -> float:
    """Return KL(Bernoulli(alpha)‖Bernoulli(base)) in nats: the least drift that raises a success rate to ``alpha``.

    Data processing: any distribution q with success rate α satisfies KL(q‖p) ≥ kl_bernoulli(α‖base), and only the exact
    conditional reaches it (identity I21 of the course).
    """
    if not (0.0 <= alpha <= 1.0 and 0.0 < base < 1.0):
        raise ValueError(f"need 0 ≤ alpha ≤ 1 and 0 < base < 1, got alpha={alpha}, base={base}.")
    pairs = ((alpha, base), (1.0 - alpha, 1.0 - base))
    return sum(a * math.log(a / b) for a, b in pairs if a > 0)
