"""Collation of cached features: padded batches, with a condition drawn anew for each row.

The cache is an Arrow table on disk, and a row of it is a few slices of mapped memory. They are found by their offsets
and copied once, into the padded batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from auxlib.keywords import INSIDE, Chooser, Spelling, choose_keyword, encode_usable, is_spelled_in, pad_keywords

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
NO_CONDITION: Spelling = ((), ())


class FeatureRows(torch.utils.data.Dataset):
    """A feature table as a dataset of views into mapped memory: no numbers are converted or copied.

    Args:
        features: from ``cache_features`` or ``cache_states``: lists of numbers, one of them ``token_ids``.
        plain: a column that is passed on as it is.

    Attributes:
        lengths: tokens of each text.
    """

    def __init__(self, features: Dataset, plain: str = "keywords") -> None:
        table = features.with_format("arrow")[:]
        self.columns = {name: _Lists(table[name]) for name in table.column_names if name not in ("text", plain)}
        self.name, self.plain = plain, table[plain]
        self.lengths = self.columns["token_ids"].lengths()

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, row: int) -> dict[str, Any]:
        views = {name: column[row] for name, column in self.columns.items()}
        return views | {self.name: self.plain[row].as_py()}


class _Lists:
    """A column of lists of numbers, indexed by offsets."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.values = [chunk.values.to_numpy() for chunk in column.chunks]
        self.offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]
        self.starts = np.cumsum([0, *(len(offsets) - 1 for offsets in self.offsets)])

    def __getitem__(self, row: int) -> np.ndarray:
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        first, last = self.offsets[chunk][row - self.starts[chunk] :][:2]
        return self.values[chunk][first:last]

    def lengths(self) -> list[int]:
        return np.concatenate([np.diff(offsets) for offsets in self.offsets]).tolist()


class FeatureCollator:
    """Collate rows of the feature cache into a padded batch, with a condition drawn for each row.

    Args:
        tokenizer: the frozen model's.
        opening_id: the last token before the text.
        condition_dropout: share of rows without a condition, so that one auxiliary also learns the unconditional task.
        negative_rate: share of rows with another row's word, which only show that a text cannot end without it.
        max_keywords: rows have up to so many of their words as conditions; the number is drawn evenly.
        must_appear: False where keywords are labels, such as "short", which no text needs to hold.
        chooser: draws one of a row's keywords. It is offered only those that the keyword automaton finds in the row: a
            word in quotes or unusual capitals would teach that a text may end without its keyword.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        opening_id: int,
        condition_dropout: float = 0.1,
        negative_rate: float = 0.0,
        chooser: Chooser = choose_keyword,
        seed: int = 0,
        max_keywords: int = 1,
        must_appear: bool = True,
    ) -> None:
        self.opening_id, self.chooser = opening_id, chooser
        self.condition_dropout, self.negative_rate = condition_dropout, negative_rate
        self.max_keywords, self.must_appear = max_keywords, must_appear
        self.rng = random.Random(seed)
        self.tokenizer = tokenizer
        self.spellings: dict[str, Spelling | None] = {}  # None for what cannot be a keyword

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return one batch.

        Returns:
            ``token_ids``, ``targets``, ``log_mass_outside_support``, ``log_z`` ``[B, T]``; ``hidden [B, T, D]``;
            ``keyword_ids [B, F, K]``, or ``[B, N, F, K]`` if rows may have several; ``censored [B]``, True for rows
            with another row's word.
        """
        keywords, censored = self._conditions(rows)
        texts = [np.asarray(row["token_ids"]) for row in rows]
        read = [np.concatenate([[self.opening_id], text[:-1]]) for text in texts]
        hidden = [np.asarray(row["hidden"]).reshape(len(text), -1) for row, text in zip(rows, texts, strict=True)]
        return {
            "token_ids": padded(read, np.int64, self.opening_id),
            "targets": padded(texts, np.int64, IGNORE_INDEX),
            "hidden": padded(hidden),
            "log_mass_outside_support": padded([np.asarray(row["log_mass_outside_support"]) for row in rows]),
            "log_z": padded([np.asarray(row["log_z"]) for row in rows]),
            "keyword_ids": self._stacked(keywords),
            "censored": torch.tensor(censored),
        }

    def _conditions(self, rows: Sequence[dict[str, Any]]) -> tuple[list[list[Spelling]], list[bool]]:
        """Return each row's conditions (own words, none, or a neighbour's word for an own one) and censored flags."""
        texts = [np.asarray(row["token_ids"]).tolist() for row in rows]
        new = {word: None for row in rows for word in row["keywords"] if word not in self.spellings}
        self.spellings |= encode_usable(self.tokenizer, list(new))
        own = [self._own(row["keywords"], ids) for row, ids in zip(rows, texts, strict=True)]
        keywords, censored = [], []
        for i, ids in enumerate(texts):
            other = own[i - 1][0]
            swap = self.rng.random() < self.negative_rate and bool(other[INSIDE]) and not is_spelled_in(ids, other)
            drop = not swap and self.rng.random() < self.condition_dropout
            keywords.append([*own[i][1:], other] if swap else [NO_CONDITION] if drop else own[i])
            censored.append(swap)
        return keywords, censored

    def _own(self, keywords: Sequence[str], ids: Sequence[int]) -> list[Spelling]:
        """Return the pieces of one or more of a row's own keywords, or of none when the text holds none of them."""
        usable = [pair for word in keywords if (pair := self.spellings[word])]
        spelled = [pair for pair in usable if is_spelled_in(ids, pair)] if self.must_appear else usable
        chosen: list[Spelling] = []
        for _ in range(self.rng.randint(1, self.max_keywords) if self.max_keywords > 1 else 1):
            pair = self.chooser([pair for pair in spelled if pair not in chosen], self.rng)
            if pair is not None:
                chosen.append(pair)
        return chosen or [NO_CONDITION]

    def _stacked(self, keywords: Sequence[Sequence[Spelling]]) -> Tensor:
        if self.max_keywords == 1:
            return pad_keywords([row[0] for row in keywords])
        filled = [pair for row in keywords for pair in [*row, *[NO_CONDITION] * (self.max_keywords - len(row))]]
        return pad_keywords(filled).unflatten(0, (len(keywords), self.max_keywords))


def padded(values: Sequence[np.ndarray], dtype: Any = None, fill: float = 0) -> Tensor:
    """Stack arrays of different lengths, ``[B, T, …]``."""
    longest = max(map(len, values))
    out = np.full((len(values), longest, *values[0].shape[1:]), fill, dtype or values[0].dtype)
    for row, value in zip(out, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(out)
