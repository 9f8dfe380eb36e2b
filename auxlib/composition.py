"""How do several auxiliaries speak beside one expert?

Each *term* of the product is a speaker (an auxiliary), a keyword and a weight. The expert reads a text once, whoever
speaks; terms of one auxiliary are read side by side, and the sum of their shifts pays for one product with its matrix.

Axes: ``B`` batch, ``N`` terms, ``T`` new positions, ``L`` all positions read so far, ``F`` spellings, ``K`` pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.auxiliary import AuxiliaryModel, text_mask
from auxlib.errors import KeywordError, WeightError
from auxlib.keywords import INSIDE, NO_PIECE, NO_TERM, batched_keyword_progress
from auxlib.product import Weight, as_weight, as_weights
from auxlib.sparse_logits import SparseLogits


@dataclass(frozen=True)
class ConditionTerms:
    """Who speaks for which keyword, and how loud.

    Attributes:
        keyword_ids: ``[B, N, F, K]``.
        weight: ``[B, N]``, λ of each term; 0 where a row asks for fewer keywords than others.
        auxiliaries: N names.
    """

    keyword_ids: Tensor
    weight: Tensor
    auxiliaries: tuple[str, ...]

    @classmethod
    def of(
        cls,
        keyword_ids: Tensor | None,
        weight: Weight,
        auxiliaries: Sequence[str] | None,
        names: Sequence[str],
        like: Tensor,
    ) -> ConditionTerms:
        """What a caller said, completed.

        Args:
            keyword_ids: ``[B, F, K]``, ``[B, N, F, K]``, or None, which asks for nothing.
            weight: a number, ``[B]`` or ``[B, N]``.
            auxiliaries: None lets the first auxiliary speak for every keyword.
            names: of the auxiliaries that are there.
            like: ``[B, ...]`` on the device that is wanted.

        Raises:
            KeywordError: an unknown speaker, or not one for each term.
            WeightError: a weight is not finite, or there is not one for each row or each term.
        """
        B = len(like)
        if keyword_ids is None:
            keyword_ids = torch.full((B, 1, 2, 1), NO_PIECE, device=like.device)
        keyword_ids = keyword_ids.unsqueeze(1) if keyword_ids.dim() == 3 else keyword_ids
        N = keyword_ids.shape[1]
        auxiliaries = tuple(auxiliaries or names[:1] * N)
        if len(auxiliaries) != N or not set(auxiliaries) <= set(names):
            raise KeywordError(
                f"got the auxiliaries {list(auxiliaries)} for {N} keywords a row; give one each, of {list(names)}."
            )
        absent = keyword_ids[..., 0, 0] == NO_TERM
        weights = as_weights(weight, B, N, like.device).masked_fill(absent, 0.0)
        return cls(keyword_ids.clamp(min=NO_PIECE), weights, auxiliaries)

    def for_auxiliary(self, name: str) -> ConditionTerms | None:
        """The terms of one speaker, if it has any."""
        chosen = [n for n, speaker in enumerate(self.auxiliaries) if speaker == name]
        return (
            ConditionTerms(self.keyword_ids[:, chosen], self.weight[:, chosen], (name,) * len(chosen))
            if chosen
            else None
        )


@dataclass(frozen=True)
class AuxiliaryInputs:
    """What every auxiliary can read.

    Attributes:
        token_ids: ``[B, T]``, the new tokens.
        states, log_z: ``[B, T, D]`` and ``[B, T]``, the expert's final states there and its normalisers.
        context_ids: ``[B, L]``, everything read so far.
        position: ``[B, L]``, 0 at the last token before the text, -1 on padding.
        cache: shared with the expert, or None.
    """

    token_ids: Tensor
    states: Tensor
    log_z: Tensor
    context_ids: Tensor
    position: Tensor
    cache: Any = None

    def repeated(self, times: int) -> AuxiliaryInputs:
        """Every row so many times, one after the other."""
        fields = {name: value.repeat_interleave(times, 0) for name, value in vars(self).items() if name != "cache"}
        return AuxiliaryInputs(**fields, cache=None if self.cache is None else MultiKeywordCache(self.cache, times))


class MultiKeywordCache:
    """A cache for N readings of a row: they are kept as further heads of it, so that whoever reorders rows, as beam
    search does, reorders them all."""

    def __init__(self, cache: Any, times: int) -> None:
        self.cache, self.times = cache, times

    def update(self, key: Tensor, value: Tensor, slot: int) -> tuple[Tensor, ...]:
        """``[B N, H, T, d]`` in, all that is kept there out, ``[B N, H, L, d]``.

        Raises:
            KeywordError: it was begun for another number of keywords a row.
        """
        kept = self.cache.layers[slot].keys if slot < len(self.cache.layers) else None
        heads = key.shape[1] * self.times
        if kept is not None and kept.numel() and kept.shape[1] != heads:
            raise KeywordError(
                f"the cache was begun for {kept.shape[1] // key.shape[1]} keywords a row, now there are {self.times}; "
                "read_preamble takes their number as terms."
            )
        rows = (x.unflatten(0, (-1, self.times)).flatten(1, 2) for x in (key, value))
        return tuple(x.unflatten(1, (self.times, -1)).flatten(0, 1) for x in self.cache.update(*rows, slot))


def auxiliary_logits(
    auxiliary: AuxiliaryModel,
    terms: ConditionTerms,
    inputs: AuxiliaryInputs,
    continues: Tensor,
    first_slot: int,
    schedule: Sequence[float] | None = None,
) -> SparseLogits:
    """What one auxiliary says about the new positions in all of its terms, weighted: parts of one sum.

    Args:
        continues: ``[V]`` from ``continuation_mask``.
        first_slot: the layer number in the cache at which its layers begin.
        schedule: a factor for λ at each position of the text; the last one holds from there on.
    """
    new, keyword_ids, read = inputs.token_ids.shape[1], terms.keyword_ids, inputs
    progress = batched_keyword_progress(inputs.context_ids, inputs.position, keyword_ids, continues)
    progress = progress.map(lambda field: field[..., -new:])
    weight = _one_weight(terms) if auxiliary.config.joint_keywords else terms.weight
    if not auxiliary.config.joint_keywords:
        read = inputs.repeated(keyword_ids.shape[1])
        keyword_ids, progress = keyword_ids.flatten(0, 1), progress.map(lambda field: field.flatten(0, 1))
    parts = auxiliary(
        read.token_ids, read.states, read.log_z, read.position[:, -new:], keyword_ids, progress,
        text_mask(read.position, new), read.cache, first_slot,
    )  # fmt: skip
    weight = weight.unsqueeze(-1) * _factor(schedule, inputs.position[:, -new:]).unsqueeze(1)
    return _weighted(parts, weight) if auxiliary.config.joint_keywords else _summed(parts, weight)


def _one_weight(terms: ConditionTerms) -> Tensor:
    """λ of rows whose keywords are read together, ``[B, 1]``: that of every keyword that is asked for."""
    present = terms.keyword_ids[:, :, INSIDE, 0] != NO_PIECE
    present[:, 0] |= ~present.any(1)
    weight = terms.weight.gather(1, present.long().argmax(1, keepdim=True))
    if bool(((terms.weight != weight) & present).any()):
        raise WeightError("an auxiliary that reads all keywords of a row together has one weight λ a row, not several.")
    return weight


def _factor(schedule: Sequence[float] | None, position: Tensor) -> Tensor:
    """What λ is multiplied by at each position, ``[B, T]``, or ``[1, 1]``."""
    if schedule is None:
        return position.new_ones(1, 1, dtype=torch.float32)
    if not len(schedule):
        raise WeightError("a schedule of the weight λ needs at least one factor.")
    factors = as_weight(torch.tensor(schedule), len(schedule), position.device).squeeze(1)
    return factors[position.clamp(0, len(factors) - 1)]


def _weighted(parts: SparseLogits, weight: Tensor) -> SparseLogits:
    """SparseLogits of one reading of all keywords, times ``weight [B, 1, T]``."""
    weight = weight.squeeze(1).unsqueeze(-1)
    boosts = None if parts.boosts is None else parts.boosts * weight
    return replace(parts, shift=None if parts.shift is None else parts.shift * weight, boosts=boosts)


def _summed(parts: SparseLogits, weight: Tensor) -> SparseLogits:
    """SparseLogits of N readings a row, ``[B N, T, ...]``, times ``weight [B, N, T]``, as one sum ``[B, T, ...]``."""
    B, N = weight.shape[:2]
    weight = weight.unsqueeze(-1)

    def rows(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.unflatten(0, (B, N))

    shift, boosts, ids = rows(parts.shift), rows(parts.boosts), rows(parts.boost_ids)
    return replace(
        parts,
        shift=None if shift is None else (shift * weight).sum(1),
        boosts=None if boosts is None else (boosts * weight).transpose(1, 2).flatten(2),
        boost_ids=None if ids is None else ids.transpose(1, 2).flatten(2),
    )


def add_logits(joint_logits: Tensor, parts: SparseLogits, keep: int = 0) -> None:
    """Add parts to logits ``[B, T, V]``, in place: those are fresh, and V numbers a row need no copy.

    ``keep`` is how many of the last positions the logits are about; 0 means all.
    """
    kept = slice(-keep, None) if keep else slice(None)
    if parts.shift is not None:
        aux_logits = F.linear(parts.shift[:, kept], parts.matrix.to(parts.shift.dtype)).float()
        if parts.support is None:
            joint_logits += aux_logits
        else:
            joint_logits.index_add_(-1, parts.support, aux_logits)
    if parts.boosts is not None:
        boosts = torch.where(parts.boost_ids == NO_PIECE, 0.0, parts.boosts)[:, kept]
        joint_logits.scatter_add_(-1, parts.boost_ids[:, kept].clamp(min=0), boosts)
