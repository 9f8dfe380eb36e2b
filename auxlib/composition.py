"""Several conditions, several auxiliaries: the weighted sum of their logits beside one frozen language model.

Each *term* of the product is a keyword, a weight λ and the auxiliary that reads it. The frozen model reads a text once,
however many terms there are; the terms of one auxiliary are computed as one batch, and the sum of their shifts takes
one product with its matrix.

Axes: ``B`` batch, ``N`` terms, ``T`` new positions, ``L`` all positions read so far, ``F`` spellings, ``K`` pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from auxlib.auxiliary import AuxiliaryModel, text_mask
from auxlib.errors import KeywordError, WeightError
from auxlib.keywords import INSIDE, NO_PIECE, NO_TERM, batched_keyword_progress
from auxlib.product import Weight, as_weight
from auxlib.sparse_logits import SparseLogits


@dataclass(frozen=True)
class ConditionTerms:
    """Keywords, weights λ and auxiliary names per row: checked, tokenised and shaped once, then passed on unchanged.

    Attributes:
        keyword_ids: ``[B, N, F, K]``.
        weight: ``[B, N]``, λ of each term; 0 where a row has fewer keywords than others.
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
        rows: int,
        device: torch.device,
    ) -> ConditionTerms:
        """Complete tokenised keywords to terms.

        Args:
            keyword_ids: ``[B, F, K]``, ``[B, N, F, K]``, or None for rows without a condition.
            weight: a number, ``[B]`` or ``[B, N]``.
            auxiliaries: one name for each term; None takes the first auxiliary for all of them.
            names: of the auxiliaries that are there.
            rows: B.

        Raises:
            KeywordError: an unknown auxiliary, or not one for each term.
            WeightError: a weight is not finite, or there is not one for each row or each term.
        """
        if keyword_ids is None:
            keyword_ids = torch.full((rows, 1, 2, 1), NO_PIECE, device=device)
        keyword_ids = keyword_ids.unsqueeze(1) if keyword_ids.dim() == 3 else keyword_ids
        N = keyword_ids.shape[1]
        chosen = tuple(auxiliaries or [names[0]] * N)
        if len(chosen) != N or not set(chosen) <= set(names):
            raise KeywordError(
                f"got the auxiliaries {list(chosen)} for {N} keywords a row; give one each, of {list(names)}."
            )
        absent = keyword_ids[..., 0, 0] == NO_TERM
        weights = as_weights(weight, rows, N, device).masked_fill(absent, 0.0)
        return cls(keyword_ids.clamp(min=NO_PIECE), weights, chosen)

    def __len__(self) -> int:
        return len(self.weight)

    def select(self, rows: Sequence[int]) -> ConditionTerms:
        """Return the terms of some rows; keywords are no wider than these rows need."""
        index = torch.tensor(list(rows), device=self.weight.device)
        ids = self.keyword_ids[index]
        if ids.shape[1] == 1:
            ids = ids[..., : max(1, int((ids != NO_PIECE).sum(-1).max()))]
        return replace(self, keyword_ids=ids, weight=self.weight[index])

    def expand_to(self, rows: int) -> ConditionTerms:
        """Repeat every row, one copy after the other, as ``generate`` does for beams and for several texts a row."""
        if rows == len(self):
            return self
        if rows % len(self):
            raise KeywordError(f"got {rows} rows of tokens for conditions of {len(self)} rows.")
        times = rows // len(self)
        ids, weight = (x.repeat_interleave(times, 0) for x in (self.keyword_ids, self.weight))
        return replace(self, keyword_ids=ids, weight=weight)

    def for_auxiliary(self, name: str) -> ConditionTerms | None:
        """Return the terms of one auxiliary, or None where it has none."""
        chosen = [n for n, auxiliary in enumerate(self.auxiliaries) if auxiliary == name]
        if not chosen:
            return None
        return ConditionTerms(self.keyword_ids[:, chosen], self.weight[:, chosen], (name,) * len(chosen))

    def joint_weight(self) -> Tensor:
        """Return λ of rows whose keywords are read together, ``[B, 1]``.

        Raises:
            WeightError: the keywords of a row have different weights.
        """
        present = self.keyword_ids[:, :, INSIDE, 0] != NO_PIECE
        present[:, 0] |= ~present.any(1)
        weight = self.weight.gather(1, present.long().argmax(1, keepdim=True))
        if bool(((self.weight != weight) & present).any()):
            raise WeightError(
                "an auxiliary that reads all keywords of a row together has one weight λ a row, not several."
            )
        return weight


@dataclass(frozen=True)
class AuxiliaryInputs:
    """Inputs shared by all auxiliaries.

    Attributes:
        token_ids: ``[B, T]``, the new tokens.
        states, log_z: ``[B, T, D]`` and ``[B, T]``, the frozen model's final states there and its normalisers.
        context_ids: ``[B, L]``, everything read so far.
        position: ``[B, L]``, 0 at the last token before the text, -1 on padding.
        cache: shared with the frozen model, or None.
    """

    token_ids: Tensor
    states: Tensor
    log_z: Tensor
    context_ids: Tensor
    position: Tensor
    cache: Any = None

    def repeated(self, times: int) -> AuxiliaryInputs:
        """Return every row ``times`` times, one copy after the other."""
        fields = {name: value.repeat_interleave(times, 0) for name, value in vars(self).items() if name != "cache"}
        return AuxiliaryInputs(**fields, cache=None if self.cache is None else MultiKeywordCache(self.cache, times))


class MultiKeywordCache:
    """A cache for N readings of a row, stored as further heads of it: reordered rows, as in beam search, stay whole."""

    def __init__(self, cache: Any, times: int) -> None:
        self.cache, self.times = cache, times

    def update(self, key: Tensor, value: Tensor, slot: int) -> tuple[Tensor, ...]:
        """Append ``[B N, H, T, d]`` and return everything stored there, ``[B N, H, L, d]``.

        Raises:
            KeywordError: the cache was begun for another number of keywords a row.
        """
        stored = self.cache.layers[slot].keys if slot < len(self.cache.layers) else None
        heads = key.shape[1] * self.times
        if stored is not None and stored.numel() and stored.shape[1] != heads:
            raise KeywordError(
                f"the cache was begun for {stored.shape[1] // key.shape[1]} keywords a row, now there are "
                f"{self.times}; read_preamble takes their number as terms."
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
    """Return one auxiliary's weighted logits at the new positions, summed over all of its terms.

    Args:
        continues: ``[V]`` from ``continuation_mask``.
        first_slot: the layer number in the cache at which the auxiliary's layers begin.
        schedule: a factor for λ at each position of the text; the last one holds from there on.
    """
    new, keyword_ids, joint = inputs.token_ids.shape[1], terms.keyword_ids, auxiliary.config.joint_keywords
    progress = batched_keyword_progress(inputs.context_ids, inputs.position, keyword_ids, continues)
    progress = progress.map(lambda field: field[..., -new:])
    weight = terms.joint_weight() if joint else terms.weight
    weight = weight.unsqueeze(-1) * _schedule_factor(schedule, inputs.position[:, -new:]).unsqueeze(1)
    read = inputs
    if not joint:
        read = inputs.repeated(keyword_ids.shape[1])
        keyword_ids, progress = keyword_ids.flatten(0, 1), progress.map(lambda field: field.flatten(0, 1))
    logits = auxiliary(
        read.token_ids,
        read.states,
        read.log_z,
        read.position[:, -new:],
        keyword_ids,
        progress,
        text_mask(read.position, new),
        read.cache,
        first_slot,
    )
    return _weighted(logits, weight.squeeze(1)) if joint else _weighted_sum(logits, weight)


def as_weights(weight: Weight, rows: int, terms: int, device: torch.device | None = None) -> Tensor:
    """Check weights λ of rows with several terms and return ``[B, N]``: one number, one a row, or one a term."""
    if isinstance(weight, Tensor) and weight.dim() == 2:
        if weight.shape != (rows, terms):
            raise WeightError(f"got weights {list(weight.shape)} for {rows} rows of {terms} keywords each.")
        return as_weight(weight.reshape(-1), rows * terms, device).view(rows, terms)
    return as_weight(weight, rows, device).expand(rows, terms)


def _schedule_factor(schedule: Sequence[float] | None, position: Tensor) -> Tensor:
    """Return the factor of λ at each position, ``[B, T]``, or ``[1, 1]``."""
    if schedule is None:
        return position.new_ones(1, 1, dtype=torch.float32)
    if not len(schedule):
        raise WeightError("a schedule of the weight λ needs at least one factor.")
    factors = as_weight(torch.tensor(schedule), len(schedule), position.device).squeeze(1)
    return factors[position.clamp(0, len(factors) - 1)]


def _weighted(logits: SparseLogits, weight: Tensor) -> SparseLogits:
    """Return logits of one reading of all keywords, times ``weight [B, T]``."""
    weight = weight.unsqueeze(-1)
    shift, boosts = (None if x is None else x * weight for x in (logits.shift, logits.boosts))
    return replace(logits, shift=shift, boosts=boosts)


def _weighted_sum(logits: SparseLogits, weight: Tensor) -> SparseLogits:
    """Return logits of N readings a row, ``[B N, T, ...]``, times ``weight [B, N, T]``, as one sum ``[B, T, ...]``."""
    B, N = weight.shape[:2]
    weight = weight.unsqueeze(-1)
    rows = logits.map(lambda x: x.unflatten(0, (B, N)))
    return replace(
        logits,
        shift=None if rows.shift is None else (rows.shift * weight).sum(1),
        boosts=None if rows.boosts is None else (rows.boosts * weight).transpose(1, 2).flatten(2),
        boost_ids=None if rows.boost_ids is None else rows.boost_ids.transpose(1, 2).flatten(2),
    )
