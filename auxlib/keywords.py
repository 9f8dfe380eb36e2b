"""Keywords as conditions: validation, token pieces, and the automaton of their progress in a text.

A keyword is a word; the tokenizer turns it into *pieces*. Two spellings matter: at the start of a text it has a capital
and no space before it, anywhere else it has a space. How much of the word has been written is the exact sufficient
statistic of the condition (the optimum depends on the past only through the frozen model's state and this progress), so
it is computed exactly, and the auxiliary takes it as an input.

Axes: ``B`` batch, ``T`` tokens, ``F = 2`` spellings (inside a text, at its start), ``K`` pieces, ``V`` vocabulary.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from auxlib.errors import KeywordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Keywords: TypeAlias = str | Sequence[str | None] | None  # the condition of one row
Spelling: TypeAlias = tuple[Sequence[int], Sequence[int]]
NO_PIECE = -1
NO_TERM = -2  # pads rows with fewer keywords than others; such a term has weight 0
MAX_PIECES = 16
INSIDE, AT_START = 0, 1


class KeywordState(IntEnum):
    """The progress of a text with its keyword."""

    NO_KEYWORD = 0
    NOT_STARTED = 1  # nothing of it is written
    PARTIAL = 2  # some pieces are written, more are needed
    COMPLETE = 3  # all pieces are written; a letter right after them would still make another word
    DONE = 4  # and the word has ended


@dataclass(frozen=True)
class KeywordProgress:
    """The automaton's state for a batch of prefixes, one entry per position.

    Attributes:
        state: ``[B, T]``, values of ``State``.
        next_piece: ``[B, T]``, the token that continues the keyword, ``NO_PIECE`` where none is needed.
        remaining: ``[B, T]``, how many pieces are missing.
    """

    state: Tensor
    next_piece: Tensor
    remaining: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> KeywordProgress:
        """Apply one change of shape to all three fields."""
        return KeywordProgress(change(self.state), change(self.next_piece), change(self.remaining))


class Keyword(str):
    """A keyword that has passed `check_keyword`; checking it again returns it as it is."""


def check_keyword(keyword: str) -> Keyword:
    """Return the keyword with single spaces inside and none outside.

    Raises:
        KeywordError: it is empty, longer than 100 characters, or without a letter or digit.
    """
    if isinstance(keyword, Keyword):
        return keyword
    if not isinstance(keyword, str) or not (word := " ".join(keyword.split())):
        raise KeywordError(f"the keyword is empty ({keyword!r}); give a word, such as 'lantern'.")
    if len(word) > 100:
        raise KeywordError(
            f"the keyword has {len(word)} characters, at most 100 make a word; give one word or a short phrase."
        )
    if not any(letter.isalnum() for letter in word):
        raise KeywordError(f"the keyword {word!r} holds no letter or digit, so no word can be recognised in a text.")
    return Keyword(word)


def encode_keyword(tokenizer: PreTrainedTokenizerBase, keyword: str) -> tuple[list[int], list[int]]:
    """Return the pieces of a keyword inside a text and at its start.

    Raises:
        KeywordError: empty, too long, without letters, or more than ``MAX_PIECES`` pieces.
    """
    word = check_keyword(keyword)
    spellings = _spell(tokenizer, [word])[0]
    if (longest := max(map(len, spellings))) > MAX_PIECES:
        raise KeywordError(
            f"the keyword {word!r} is cut into {longest} pieces by this tokenizer, at most {MAX_PIECES} are read; "
            "give a shorter word."
        )
    return spellings


def encode_usable(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> dict[str, Spelling | None]:
    """Return the pieces of many words at once; None for a word that cannot be a keyword."""
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
    """Tokenise keywords as ``keyword_ids [B, F, K]``, padded with ``NO_PIECE``; None gives a row without a condition.

    Rows of several keywords give ``[B, N, F, K]``; shorter rows are padded with ``NO_TERM``.

    Raises:
        KeywordError: there is no row, an entry is no keyword, or a row is an empty list.
    """
    if not keywords:
        raise KeywordError("no keyword was given, so there is no row to generate; pass at least one (or [None]).")
    if strange := [entry for entry in keywords if not (entry is None or isinstance(entry, str | Sequence))]:
        raise KeywordError(f"{strange[0]!r} is no keyword; give a word, several words, or None.")
    rows = [[entry] if entry is None or isinstance(entry, str) else list(entry) for entry in keywords]
    unique = dict.fromkeys(word for row in rows for word in row if word is not None)
    spellings: dict[str | None, Spelling] = {word: encode_keyword(tokenizer, word) for word in unique}
    spellings[None] = ((), ())
    encoded = [[spellings[word] for word in row] for row in rows]
    if all(entry is None or isinstance(entry, str) for entry in keywords):
        return pad_keywords([pair for row in encoded for pair in row])
    longest = max(map(len, rows))
    if not all(rows):
        raise KeywordError("a row has an empty list of keywords; give None for a row without a condition.")
    ids = pad_keywords([pair for row in encoded for pair in [*row, *[((), ())] * (longest - len(row))]])
    ids = ids.unflatten(0, (len(rows), longest))
    present = torch.arange(longest) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    return ids.masked_fill(~present[..., None, None], NO_TERM)


def pad_keywords(encoded: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Stack encoded keywords, ``[B, F, K]``."""
    width = max((len(pieces) for pair in encoded for pieces in pair), default=0) or 1
    filled = [[[*pieces, *[NO_PIECE] * (width - len(pieces))] for pieces in pair] for pair in encoded]
    return torch.tensor(filled, dtype=torch.long).view(len(encoded), 2, width)


def continuation_mask(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """Return ``[V]``, True for tokens that start with a letter or digit: after a word they would continue it."""
    return torch.tensor([first.isalnum() or first == "_" for first in _first_letters(tokenizer, vocabulary)])


def boundary_unsafe_mask(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """Return ``[V]``, True for tokens that right after a word could make it another one.

    Those are the tokens of `continuation_mask`, tokens that write nothing, and single bytes, which may together become
    a letter.
    """
    firsts = _first_letters(tokenizer, vocabulary)
    flags = torch.tensor([first.isalnum() or first in ("_", "\ufffd") for first in firsts])
    flags[tokenizer.all_special_ids] = True
    flags[len(tokenizer) :] = True
    return flags


def _first_letters(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> list[str]:
    """Return the first character of every token; an empty string for numbers that are no token."""
    tokens = range(min(len(tokenizer), vocabulary))
    texts = tokenizer.batch_decode([[token] for token in tokens])
    return [text[:1] for text in texts] + [""] * (vocabulary - len(tokens))


def keyword_progress(token_ids: Tensor, position: Tensor, keyword_ids: Tensor, continues: Tensor) -> KeywordProgress:
    """Run the keyword automaton over whole texts at once.

    Args:
        token_ids: ``[B, T]``, everything read so far.
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
    """Run it for several keywords of each text: ``keyword_ids [B, N, F, K]`` give fields ``[B, N, T]``."""
    if keyword_ids.dim() == 3:
        return keyword_progress(token_ids, position, keyword_ids, continues)
    N = keyword_ids.shape[1]
    ids, places = (x.repeat_interleave(N, 0) for x in (token_ids, position))
    progress = keyword_progress(ids, places, keyword_ids.flatten(0, 1), continues)
    return progress.map(lambda field: field.unflatten(0, (-1, N)))


def _match(token_ids: Tensor, position: Tensor, keyword_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many pieces of each spelling end at each position, and whether a spelling is complete there.

    ``[B, F, T]``, in which complete spellings count as 0, and ``[B, T]``.
    """
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


Word = TypeVar("Word")  # a keyword, as text or as pieces
Chooser: TypeAlias = Callable[[Sequence[Spelling], random.Random], Spelling | None]


def choose_keyword(keywords: Sequence[Word], rng: random.Random, headword: float = 0.5) -> Word | None:
    """Draw the condition of one training sentence: its headword half of the time, else any of its content words.

    A sentence supports every word in it, so a new draw in each epoch multiplies the conditions seen at no cost.
    """
    if not keywords:
        return None
    return keywords[0] if rng.random() < headword else rng.choice(keywords)


def is_spelled_in(token_ids: Sequence[int], spelling: Spelling) -> bool:
    """Return whether the automaton finds the keyword in a text's tokens: inside, or capitalised at the start."""
    inside, at_start = map(list, spelling)
    tokens = list(token_ids)
    found = any(tokens[i : i + len(inside)] == inside for i in range(len(tokens) - len(inside) + 1))
    return found or tokens[: len(at_start)] == at_start


def contains_keyword(text: str, keyword: str) -> bool:
    """Return whether the text holds the keyword as a whole word, in any case. Give the continuation, not the prompt."""
    return count_keyword(text, keyword) > 0


def find_keyword(text: str, keyword: str) -> int | None:
    """Return where the keyword first stands as a whole word, or None."""
    match = _whole_word(keyword).search(text)
    return match and match.start()


def count_keyword(text: str, keyword: str) -> int:
    """Return how often the text holds the keyword as a whole word."""
    return len(_whole_word(keyword).findall(text))


def _whole_word(keyword: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(check_keyword(keyword))}(?!\w)", re.IGNORECASE)


def contains_stem(text: str, keyword: str) -> bool:
    """Return whether the text holds the keyword or an inflected form of it ("lanterns" for "lantern")."""
    stems = {stem(word) for word in re.findall(r"[\w'’-]+", text)}
    return stem(check_keyword(keyword)) in stems or contains_keyword(text, keyword)


def stem(word: str) -> str:
    """Return the English stem of a word, by Snowball (Porter 1980, 2001)."""
    return _stemmer().stemWord(word.lower())


@cache
def _stemmer() -> Any:
    from snowballstemmer import stemmer

    return stemmer("english")
