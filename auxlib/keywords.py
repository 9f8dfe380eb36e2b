"""What is the condition?

A keyword is asked for as a word and read as *pieces*. Two spellings matter: at the start of a text it has a capital
and no space before it, anywhere else it has a space. The auxiliary must know how much of the word has been written:
that progress is the exact sufficient statistic of the condition (the optimum depends on the past only through the
expert's state and this one), so it is computed here, exactly, and given to the model as an input.

Axes: ``B`` batch, ``T`` tokens, ``F = 2`` spellings (inside a text, at its start), ``K`` pieces.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch
from torch import Tensor

from auxlib.errors import KeywordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_PIECE = -1
MAX_PIECES = 16
INSIDE, AT_START = 0, 1


class State(IntEnum):
    """How far a text has come with its keyword."""

    NO_KEYWORD = 0
    WANTED = 1  # nothing of it is written
    BEGUN = 2  # some pieces are written, more are needed
    WRITTEN = 3  # all pieces are written; a letter right after them would still spoil the word
    DONE = 4  # and the word has ended


@dataclass(frozen=True)
class Progress:
    """The automaton's reading of a batch of prefixes, one entry per position.

    Attributes:
        state: ``[B, T]``, values of ``State``.
        next_piece: ``[B, T]``, the token that would carry the keyword on, ``NO_PIECE`` where none is needed.
        remaining: ``[B, T]``, how many pieces are still to come.
    """

    state: Tensor
    next_piece: Tensor
    remaining: Tensor


def check_keyword(keyword: str) -> str:
    """Return the keyword without outer white space, or raise ``KeywordError`` when it cannot be a condition."""
    if not isinstance(keyword, str) or not (word := " ".join(keyword.split())):
        raise KeywordError(f"the keyword is empty ({keyword!r}); give a word, such as 'lantern'.")
    if len(word) > 100:
        raise KeywordError(
            f"the keyword has {len(word)} characters, at most 100 make a word; give one word or a short phrase."
        )
    if not any(letter.isalnum() for letter in word):
        raise KeywordError(f"the keyword {word!r} holds no letter or digit, so no word can be recognised in a text.")
    return word


def encode_keyword(tokenizer: PreTrainedTokenizerBase, keyword: str) -> tuple[list[int], list[int]]:
    """The pieces of a keyword inside a text and at its start.

    Raises:
        KeywordError: empty, too long, without letters, or more than ``MAX_PIECES`` pieces.
    """
    word = check_keyword(keyword)
    spellings = tuple(
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f" {word}", word[:1].upper() + word[1:])
    )
    if (most := max(map(len, spellings))) > MAX_PIECES:
        raise KeywordError(
            f"the keyword {word!r} is cut into {most} pieces by this tokenizer, at most {MAX_PIECES} are read; "
            "give a shorter word."
        )
    return spellings


def keyword_batch(tokenizer: PreTrainedTokenizerBase, keywords: Sequence[str | None]) -> Tensor:
    """Keywords as ``keyword_ids [B, F, K]``, padded with ``NO_PIECE``; None gives a row without a condition."""
    encoded = [((), ()) if word is None else encode_keyword(tokenizer, word) for word in keywords]
    return pad_keywords(encoded)


def pad_keywords(encoded: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Stack already encoded keywords, ``[B, F, K]``."""
    width = max((len(pieces) for pair in encoded for pieces in pair), default=0) or 1
    ids = torch.full((len(encoded), 2, width), NO_PIECE)
    for row, pair in enumerate(encoded):
        for form, pieces in enumerate(pair):
            ids[row, form, : len(pieces)] = torch.tensor(pieces, dtype=torch.long)
    return ids


def word_continues(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """``[V]``, True for tokens that start with a letter or digit: written after a word, they make it another word."""
    flags = torch.zeros(vocabulary, dtype=torch.bool)
    for token in range(min(len(tokenizer), vocabulary)):
        text = tokenizer.decode([token])
        flags[token] = bool(text) and (text[0].isalnum() or text[0] == "_")
    return flags


def read_progress(token_ids: Tensor, position: Tensor, keyword_ids: Tensor, continues: Tensor) -> Progress:
    """Run the keyword automaton over whole texts at once.

    Args:
        token_ids: ``[B, T]``, everything the model has read.
        position: ``[B, T]``, 1 for the text's first token, 0 for the last token before it, negative further left
            (preamble, padding).
        keyword_ids: ``[B, F, K]`` from ``keyword_batch``.
        continues: ``[V]`` from ``word_continues``.

    The state after k pieces is the longest prefix of the keyword that ends here, as in Knuth, Morris and Pratt: exact
    for keywords that repeat a piece. It is found for all positions together by comparing shifted copies of the text,
    so there is no loop over T.
    """
    begun, written = _match(token_ids, position, keyword_ids)
    wanted = (keyword_ids[:, INSIDE, :1] != NO_PIECE).expand_as(token_ids)
    spoilt = torch.zeros_like(written)
    spoilt[:, :-1] = continues[token_ids[:, 1:]]
    ended = written & ~spoilt
    done = torch.zeros_like(written)
    done[:, 1:] = ended[:, :-1].cumsum(1) > 0
    progress = torch.where(written.unsqueeze(1), 0, begun)
    form = torch.where((progress[:, AT_START] > 0) | (position == 0), AT_START, INSIDE)
    count = progress.gather(1, form.unsqueeze(1)).squeeze(1)
    state = torch.where(count > 0, State.BEGUN, State.WANTED)
    state = torch.where(written, State.WRITTEN, state)
    state = torch.where(done, State.DONE, state)
    state = torch.where(wanted, state, State.NO_KEYWORD)
    open_ = (state == State.WANTED) | (state == State.BEGUN)
    lengths = (keyword_ids != NO_PIECE).sum(-1)
    rows = torch.arange(len(token_ids), device=token_ids.device).unsqueeze(1)
    next_piece = torch.where(open_, keyword_ids[rows, form, count.clamp(max=keyword_ids.shape[-1] - 1)], NO_PIECE)
    return Progress(state, next_piece, torch.where(open_, lengths[rows, form] - count, 0))


def _match(token_ids: Tensor, position: Tensor, keyword_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each position, how many pieces of each spelling end there (``[B, F, T]``, complete ones not counted), and
    whether a spelling is complete there (``[B, T]``)."""
    in_text = (position > 0).unsqueeze(1)
    # a capitalised spelling may only begin at the text's first token
    alive = torch.stack([position >= 0, position == 0], 1)
    begun = torch.zeros(alive.shape, dtype=torch.long, device=token_ids.device)
    written = torch.zeros_like(token_ids, dtype=torch.bool)
    lengths = (keyword_ids != NO_PIECE).sum(-1)
    for k in range(keyword_ids.shape[-1]):
        previous = torch.zeros_like(alive)
        previous[..., 1:] = alive[..., :-1]
        alive = previous & in_text & (token_ids.unsqueeze(1) == keyword_ids[..., k : k + 1])
        last = (lengths == k + 1).unsqueeze(-1)
        written = written | (alive & last).any(1)
        begun = torch.where(alive & ~last, k + 1, begun)
    return begun, written


Spelling: TypeAlias = tuple[Sequence[int], Sequence[int]]
Word = TypeVar("Word")  # a keyword, spelled out in pieces or not
Chooser: TypeAlias = Callable[[Sequence[Spelling], random.Random], Spelling | None]


def choose_keyword(keywords: Sequence[Word], draw: random.Random, headword: float = 0.5) -> Word | None:
    """Pick the condition of one training sentence: its headword half of the time, else any of its content words.

    A sentence supports every word in it, so drawing anew in each epoch multiplies the conditions seen for free.
    """
    if not keywords:
        return None
    return keywords[0] if draw.random() < headword else draw.choice(keywords)


def is_spelled_in(token_ids: Sequence[int], spelling: Spelling) -> bool:
    """Whether a text's tokens hold the keyword as the automaton would find it: inside, or capitalised at the start."""
    inside, at_start = map(list, spelling)
    tokens = list(token_ids)
    found = any(tokens[i : i + len(inside)] == inside for i in range(len(tokens) - len(inside) + 1))
    return found or tokens[: len(at_start)] == at_start


def contains_keyword(text: str, keyword: str) -> bool:
    """Whether the text holds the keyword as a whole word, whatever its case. Give the continuation, not the prompt."""
    return count_keyword(text, keyword) > 0


def count_keyword(text: str, keyword: str) -> int:
    """How often the text holds the keyword as a whole word."""
    return len(re.findall(rf"(?<!\w){re.escape(check_keyword(keyword))}(?!\w)", text, re.IGNORECASE))


def contains_stem(text: str, keyword: str) -> bool:
    """The lenient count: an inflected form will do ("lanterns" for "lantern"). Reported beside the strict one."""
    return any(
        stem(word) == stem(check_keyword(keyword)) for word in re.findall(r"[\w'’-]+", text)
    ) or contains_keyword(text, keyword)


def stem(word: str) -> str:
    """A crude English stem, enough to count inflections as the same word."""
    word = word.lower()
    for ending, rest in (
        ("'s", ""),
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
        ("e", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + rest
    return word
