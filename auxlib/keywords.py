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
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch
from torch import Tensor

from auxlib.errors import KeywordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Keywords: TypeAlias = str | Sequence[str | None] | None  # what one row is asked for
Spelling: TypeAlias = tuple[Sequence[int], Sequence[int]]
NO_PIECE = -1
NO_TERM = -2  # fills up rows that are asked for fewer keywords than others: there nobody speaks
MAX_PIECES = 16
INSIDE, AT_START = 0, 1


class KeywordState(IntEnum):
    """How far a text has come with its keyword."""

    NO_KEYWORD = 0
    NOT_STARTED = 1  # nothing of it is written
    PARTIAL = 2  # some pieces are written, more are needed
    COMPLETE = 3  # all pieces are written; a letter right after them would still spoil the word
    DONE = 4  # and the word has ended


@dataclass(frozen=True)
class KeywordProgress:
    """The automaton's reading of a batch of prefixes, one entry per position.

    Attributes:
        state: ``[B, T]``, values of ``State``.
        next_piece: ``[B, T]``, the token that would carry the keyword on, ``NO_PIECE`` where none is needed.
        remaining: ``[B, T]``, how many pieces are still to come.
    """

    state: Tensor
    next_piece: Tensor
    remaining: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> KeywordProgress:
        """The same change to all three."""
        return KeywordProgress(change(self.state), change(self.next_piece), change(self.remaining))


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
    spellings = _spell(tokenizer, [word])[0]
    if (most := max(map(len, spellings))) > MAX_PIECES:
        raise KeywordError(
            f"the keyword {word!r} is cut into {most} pieces by this tokenizer, at most {MAX_PIECES} are read; "
            "give a shorter word."
        )
    return spellings


def encode_usable(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> dict[str, Spelling | None]:
    """The same for many words at once; None for what cannot be a keyword."""
    usable: dict[str, str] = {}
    for word in words:
        with suppress(KeywordError):
            usable[word] = check_keyword(word)
    spelled = zip(usable, _spell(tokenizer, list(usable.values())), strict=True)
    return dict.fromkeys(words) | {word: pair for word, pair in spelled if max(map(len, pair)) <= MAX_PIECES}


def _spell(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    if not words:
        return []
    texts = [text for word in words for text in (f" {word}", word[:1].upper() + word[1:])]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return list(zip(ids[::2], ids[1::2], strict=True))


def keyword_batch(tokenizer: PreTrainedTokenizerBase, keywords: Sequence[Keywords]) -> Tensor:
    """Keywords as ``keyword_ids [B, F, K]``, padded with ``NO_PIECE``; None gives a row without a condition.

    Rows of several keywords give ``[B, N, F, K]``; those that have fewer than others are filled up with ``NO_TERM``.
    """
    if strange := [asked for asked in keywords if not (asked is None or isinstance(asked, str | Sequence))]:
        raise KeywordError(f"{strange[0]!r} is no keyword; give a word, several words, or None.")
    rows = [[asked] if asked is None or isinstance(asked, str) else list(asked) for asked in keywords]
    encoded = [[((), ()) if word is None else encode_keyword(tokenizer, word) for word in row] for row in rows]
    if all(asked is None or isinstance(asked, str) for asked in keywords):
        return pad_keywords([pair for row in encoded for pair in row])
    most = max(map(len, rows))
    if not all(rows):
        raise KeywordError("a row asks for an empty list of keywords; give None for a row without a condition.")
    ids = pad_keywords([pair for row in encoded for pair in [*row, *[((), ())] * (most - len(row))]])
    ids = ids.unflatten(0, (len(rows), most))
    asked = torch.arange(most) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    return ids.masked_fill(~asked[..., None, None], NO_TERM)


def pad_keywords(encoded: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Stack already encoded keywords, ``[B, F, K]``."""
    width = max((len(pieces) for pair in encoded for pieces in pair), default=0) or 1
    filled = [[[*pieces, *[NO_PIECE] * (width - len(pieces))] for pieces in pair] for pair in encoded]
    return torch.tensor(filled, dtype=torch.long).view(len(encoded), 2, width)


def continuation_mask(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """``[V]``, True for tokens that start with a letter or digit: written after a word, they make it another word."""
    return torch.tensor([first.isalnum() or first == "_" for first in _first_letters(tokenizer, vocabulary)])


def boundary_unsafe_mask(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """``[V]``, True for tokens that right after a word could make it another one, whatever follows: those of
    ``continuation_mask``, those that write nothing, and single bytes, which may become a letter together."""
    firsts = _first_letters(tokenizer, vocabulary)
    flags = torch.tensor([first.isalnum() or first in ("_", "\ufffd") for first in firsts])
    flags[tokenizer.all_special_ids] = True
    flags[len(tokenizer) :] = True
    return flags


def _first_letters(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> list[str]:
    """What every token begins with; nothing for numbers that are no token."""
    tokens = range(min(len(tokenizer), vocabulary))
    texts = tokenizer.batch_decode([[token] for token in tokens])
    return [text[:1] for text in texts] + [""] * (vocabulary - len(tokens))


def keyword_progress(token_ids: Tensor, position: Tensor, keyword_ids: Tensor, continues: Tensor) -> KeywordProgress:
    """Run the keyword automaton over whole texts at once.

    Args:
        token_ids: ``[B, T]``, everything the model has read.
        position: ``[B, T]``, 1 for the text's first token, 0 for the last token before it, negative further left
            (preamble, padding).
        keyword_ids: ``[B, F, K]`` from ``keyword_batch``.
        continues: ``[V]`` from ``continuation_mask``.

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
    state = torch.where(count > 0, KeywordState.PARTIAL, KeywordState.NOT_STARTED)
    state = torch.where(written, KeywordState.COMPLETE, state)
    state = torch.where(done, KeywordState.DONE, state)
    state = torch.where(wanted, state, KeywordState.NO_KEYWORD)
    open_ = (state == KeywordState.NOT_STARTED) | (state == KeywordState.PARTIAL)
    lengths = (keyword_ids != NO_PIECE).sum(-1)
    rows = torch.arange(len(token_ids), device=token_ids.device).unsqueeze(1)
    next_piece = torch.where(open_, keyword_ids[rows, form, count.clamp(max=keyword_ids.shape[-1] - 1)], NO_PIECE)
    return KeywordProgress(state, next_piece, torch.where(open_, lengths[rows, form] - count, 0))


def batched_keyword_progress(
    token_ids: Tensor, position: Tensor, keyword_ids: Tensor, continues: Tensor
) -> KeywordProgress:
    """The same for several keywords of each text: ``keyword_ids [B, N, F, K]`` give fields ``[B, N, T]``."""
    if keyword_ids.dim() == 3:
        return keyword_progress(token_ids, position, keyword_ids, continues)
    N = keyword_ids.shape[1]
    ids, places = (x.repeat_interleave(N, 0) for x in (token_ids, position))
    progress = keyword_progress(ids, places, keyword_ids.flatten(0, 1), continues)
    return progress.map(lambda field: field.unflatten(0, (-1, N)))


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


Word = TypeVar("Word")  # a keyword, spelled out in pieces or not
Chooser: TypeAlias = Callable[[Sequence[Spelling], random.Random], Spelling | None]


def choose_keyword(keywords: Sequence[Word], rng: random.Random, headword: float = 0.5) -> Word | None:
    """Pick the condition of one training sentence: its headword half of the time, else any of its content words.

    A sentence supports every word in it, so drawing anew in each epoch multiplies the conditions seen for free.
    """
    if not keywords:
        return None
    return keywords[0] if rng.random() < headword else rng.choice(keywords)


def is_spelled_in(token_ids: Sequence[int], spelling: Spelling) -> bool:
    """Whether a text's tokens hold the keyword as the automaton would find it: inside, or capitalised at the start."""
    inside, at_start = map(list, spelling)
    tokens = list(token_ids)
    found = any(tokens[i : i + len(inside)] == inside for i in range(len(tokens) - len(inside) + 1))
    return found or tokens[: len(at_start)] == at_start


def contains_keyword(text: str, keyword: str) -> bool:
    """Whether the text holds the keyword as a whole word, whatever its case. Give the continuation, not the prompt."""
    return count_keyword(text, keyword) > 0


def find_keyword(text: str, keyword: str) -> int | None:
    """Where in the text the keyword stands first as a whole word, if it does."""
    found = _whole_word(keyword).search(text)
    return found and found.start()


def count_keyword(text: str, keyword: str) -> int:
    """How often the text holds the keyword as a whole word."""
    return len(_whole_word(keyword).findall(text))


def _whole_word(keyword: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(check_keyword(keyword))}(?!\w)", re.IGNORECASE)


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
