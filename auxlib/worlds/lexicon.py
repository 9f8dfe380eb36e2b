"""What do the numbers mean? The words of a language as ``token_ids [B, T]``, there and back.

Token 0, ``<s>``, is the blank: it fills rows up and says nothing wherever it stands. Token 1 is the full stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from auxlib.errors import WorldError
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP

NOTHING = torch.zeros(0, dtype=torch.long)


class Lexicon:
    """The words of a language, numbered; some of them, the content words, can become keywords."""

    def __init__(self, words: Iterable[str], content: Iterable[str]) -> None:
        self.vocabulary: tuple[str, ...] = ("<s>", FULL_STOP, *sorted(set(words) - {FULL_STOP}))
        self.ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.content_ids = torch.tensor(sorted(self.ids[word] for word in content if word in self.ids))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Sentences or prefixes to ``token_ids [B, T]``; `WorldError` for a word outside the vocabulary."""
        _check_list(texts)
        rows = [self.keyword_ids(text.lower().replace(FULL_STOP, f" {FULL_STOP}").split()) for text in texts]
        return torch.nn.utils.rnn.pad_sequence(rows or [NOTHING], batch_first=True, padding_value=BLANK)[: len(rows)]

    def decode(self, token_ids: Tensor) -> list[str]:
        """``[B, T]`` to readable sentences: a capital at the start, the full stop close to its word."""
        self.check(token_ids)
        rows = [" ".join(self.vocabulary[token] for token in row if token != BLANK) for row in token_ids.tolist()]
        return [row[:1].upper() + row[1:].replace(f" {FULL_STOP}", FULL_STOP) for row in rows]

    def keyword_ids(self, words: Sequence[str]) -> Tensor:
        """The token of each word, ``[len(words)]``; `WorldError` for a word outside the vocabulary."""
        _check_list(words)
        if strange := [word for word in words if word not in self.ids or word == self.vocabulary[BLANK]]:
            raise WorldError(f"{strange[0]!r} is not one of the {len(self.ids) - 1} words of this language.")
        return torch.tensor([self.ids[word] for word in words], dtype=torch.long)

    def is_content(self, token_ids: Tensor) -> Tensor:
        """Which tokens are content words, the shape of ``token_ids``."""
        return torch.isin(token_ids, self.content_ids)

    def draw_keywords(self, token_ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One keyword for each sentence, ``[B]``, drawn evenly from its content words."""
        self.check(token_ids)
        content = self.is_content(token_ids)
        if bool((empty := ~content.any(1)).any()):
            raise WorldError(f"row {int(empty.nonzero()[0])} holds no content word that could be drawn.")
        return token_ids.gather(1, torch.multinomial(content.double(), 1, generator=generator))[:, 0]

    def check(self, token_ids: Tensor) -> None:
        """`WorldError` unless these are ``[B, T]`` tokens of this vocabulary."""
        _check_ids("token_ids [B, T]", token_ids, 2, range(len(self.vocabulary)))

    def check_keywords(self, keyword_ids: Tensor, rows: int) -> None:
        """`WorldError` unless these are words of this vocabulary, one for each row."""
        _check_ids("keyword_ids [B]", keyword_ids, 1, range(BLANK + 1, len(self.vocabulary)))
        if len(keyword_ids) != rows:
            raise WorldError(f"expected one keyword for each of {rows} rows, found {len(keyword_ids)}.")


def _check_ids(name: str, ids: Tensor, axes: int, allowed: range) -> None:
    if not isinstance(ids, Tensor) or ids.ndim != axes or ids.dtype != torch.long:
        found = f"{list(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
        raise WorldError(f"expected {name} of torch.int64, found {found}.")
    if ids.numel() and not (int(ids.min()) in allowed and int(ids.max()) in allowed):
        raise WorldError(f"{name} must lie in {allowed[0]} … {allowed[-1]}, found {ids.min()} … {ids.max()}.")


def _check_list(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise WorldError(f"expected a list of texts, found the text {texts!r}.")
