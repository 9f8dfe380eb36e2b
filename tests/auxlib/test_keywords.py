"""The keyword automaton against one that is slow and obvious, and what may be a keyword at all."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from auxlib.errors import KeywordError
from auxlib.frozen import Expert
from auxlib.keywords import (
    MAX_PIECES,
    NO_PIECE,
    KeywordProgress,
    KeywordState,
    check_keyword,
    choose_keyword,
    contains_keyword,
    contains_stem,
    continuation_mask,
    encode_keyword,
    is_spelled_in,
    keyword_batch,
    keyword_progress,
    pad_keywords,
)

LETTERS = 4  # tokens 0..3; token 3 is a letter that carries a word on
CONTINUES = torch.tensor([False, False, False, True])
Spelling = tuple[Sequence[int], Sequence[int]]


def slow_automaton(text: Sequence[int], spelling: Spelling) -> list[tuple[KeywordState, int, int]]:
    """State, next piece and pieces remaining before each token of a text and after its last."""
    inside, at_start = map(list, spelling)
    states, done = [], False
    for t in range(len(text) + 1):
        read = list(text[:t])
        previous = read[:-1]
        was_complete = written(previous, inside, at_start)
        done = done or (was_complete and not bool(CONTINUES[read[-1]]))
        if not inside:
            states.append((KeywordState.NO_KEYWORD, NO_PIECE, 0))
        elif done:
            states.append((KeywordState.DONE, NO_PIECE, 0))
        elif written(read, inside, at_start):
            states.append((KeywordState.COMPLETE, NO_PIECE, 0))
        else:
            form, count = longest_prefix(read, inside, at_start)
            states.append((KeywordState.PARTIAL if count else KeywordState.NOT_STARTED, form[count], len(form) - count))
    return states


def written(read: list[int], inside: list[int], at_start: list[int]) -> bool:
    ends = bool(inside) and len(read) >= len(inside) and read[-len(inside) :] == inside
    return ends or (bool(at_start) and read == at_start)


def longest_prefix(read: list[int], inside: list[int], at_start: list[int]) -> tuple[list[int], int]:
    if read == at_start[: len(read)]:  # also the empty text: a word may open it only with its capital
        return at_start, len(read)
    return inside, max(k for k in range(len(inside)) if k == 0 or read[-k:] == inside[:k])


def random_case(draw: random.Random) -> tuple[list[int], Spelling]:
    text = [draw.randrange(LETTERS) for _ in range(draw.randint(0, 14))]
    inside = [draw.randrange(2) for _ in range(draw.randint(1, 4))]  # two letters only: pieces repeat
    at_start = [draw.randrange(2, LETTERS), *(draw.randrange(2) for _ in range(draw.randint(0, 2)))]
    return text, (inside, at_start) if draw.random() < 0.9 else ((), ())


def run(
    texts: Sequence[Sequence[int]], spellings: Sequence[Spelling], before: int = 1, pad: int = 0
) -> list[KeywordProgress]:
    """The library's automaton; ``before`` tokens of preamble, ``pad`` of padding on the left, cut to each text."""
    width = pad + before + max(map(len, texts))
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    position = torch.full_like(ids, -1)
    for row, text in enumerate(texts):
        first = width - len(text)
        ids[row, first:] = torch.tensor(text, dtype=torch.long)
        position[row, first - before :] = torch.arange(1 - before, len(text) + 1)
    whole = keyword_progress(ids, position, pad_keywords(spellings), CONTINUES)
    cuts = [slice(width - len(text) - 1, None) for text in texts]
    return [
        KeywordProgress(whole.state[i, cut], whole.next_piece[i, cut], whole.remaining[i, cut])
        for i, cut in enumerate(cuts)
    ]


def as_rows(progress: KeywordProgress) -> list[tuple[KeywordState, int, int]]:
    columns = (progress.state.tolist(), progress.next_piece.tolist(), progress.remaining.tolist())
    return [(KeywordState(state), piece, left) for state, piece, left in zip(*columns, strict=True)]


@pytest.mark.parametrize("seed", range(10))
def test_automaton_is_the_slow_one_on_random_texts(seed: int) -> None:
    draw = random.Random(seed)
    texts, spellings = zip(*(random_case(draw) for _ in range(60)), strict=True)
    for text, spelling, fast in zip(texts, spellings, run(texts, spellings), strict=True):
        assert as_rows(fast) == slow_automaton(text, spelling), (text, spelling)


@pytest.mark.parametrize("seed", range(3))
def test_preamble_padding_and_neighbours_change_nothing(seed: int) -> None:
    draw = random.Random(100 + seed)
    texts, spellings = zip(*(random_case(draw) for _ in range(30)), strict=True)
    together = run(texts, spellings, before=5, pad=3)
    for text, spelling, row in zip(texts, spellings, together, strict=True):
        assert as_rows(row) == as_rows(run([text], [spelling])[0])


@pytest.mark.parametrize("seed", range(3))
def test_reading_further_never_changes_what_was_said(seed: int) -> None:
    draw = random.Random(200 + seed)
    for text, spelling in (random_case(draw) for _ in range(20)):
        whole = as_rows(run([text], [spelling])[0])
        for t in range(len(text) + 1):
            assert as_rows(run([text[:t]], [spelling])[0])[-1] == whole[t]


def test_a_keyword_that_repeats_a_piece_falls_back_to_its_longest_prefix() -> None:
    inside = [0, 0, 1]
    assert [row[2] for row in as_rows(run([[0, 0, 0, 1]], [(inside, [3])])[0])] == [1, 2, 1, 1, 0]


def test_a_letter_right_after_the_word_spoils_it_and_another_token_ends_it() -> None:
    spelling = ([0, 1], [2])
    assert [row[0] for row in as_rows(run([[0, 1, 3, 1]], [spelling])[0])][2:] == [
        KeywordState.COMPLETE,
        KeywordState.NOT_STARTED,
        KeywordState.NOT_STARTED,
    ]
    assert as_rows(run([[0, 1, 1, 1]], [spelling])[0])[3:] == [(KeywordState.DONE, NO_PIECE, 0)] * 2


def test_the_capitalised_spelling_counts_only_at_the_start() -> None:
    spelling = ([0, 1], [2, 1])
    assert as_rows(run([[2, 1, 0]], [spelling])[0])[-1][0] == KeywordState.DONE
    assert as_rows(run([[1, 2, 1, 0]], [spelling])[0])[-1][0] == KeywordState.PARTIAL


@pytest.mark.parametrize("seed", range(4))
def test_is_spelled_in_agrees_with_the_automaton(seed: int) -> None:
    draw = random.Random(300 + seed)
    for text, spelling in (random_case(draw) for _ in range(100)):
        if spelling[0]:
            states = [row[0] for row in as_rows(run([text], [spelling])[0])]
            assert is_spelled_in(text, spelling) == (KeywordState.COMPLETE in states), (text, spelling)


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("", "is empty"),
        (" \t\n", "is empty"),
        ("\u00a0\u2003", "is empty"),
        ("a" * 10_000, "10000 characters"),
        ("🎈🎈", "no letter or digit"),
        ("…!?", "no letter or digit"),
    ],
)
def test_what_is_no_word_is_refused_in_one_sentence(expert: Expert, keyword: str, message: str) -> None:
    with pytest.raises(KeywordError, match=message) as caught:
        encode_keyword(expert.tokenizer, keyword)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("keyword", [None, 7, b"dog", ["dog"]])
def test_what_is_no_text_is_refused(keyword: object) -> None:
    with pytest.raises(KeywordError):
        check_keyword(keyword)


def test_a_keyword_of_too_many_pieces_is_refused(expert: Expert) -> None:
    with pytest.raises(KeywordError, match=f"at most {MAX_PIECES} are read"):
        encode_keyword(expert.tokenizer, "zqxj" * MAX_PIECES)


@pytest.mark.parametrize("keyword", ["dog", "fire truck", "שלום", "NASA", "o'clock", "1984", "naïve", "x", "dog 🎈"])
def test_words_of_every_kind_are_read_back_from_their_pieces(expert: Expert, keyword: str) -> None:
    inside, at_start = encode_keyword(expert.tokenizer, f"  {keyword} ")
    assert expert.tokenizer.decode(inside) == f" {keyword}"
    assert expert.tokenizer.decode(at_start) == keyword[0].upper() + keyword[1:]
    continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    text = expert.tokenizer(f"We saw {keyword}.\n")["input_ids"]
    ids = torch.tensor([[0, *text]])
    progress = keyword_progress(
        ids, torch.arange(ids.shape[1])[None], keyword_batch(expert.tokenizer, [keyword]), continues
    )
    assert progress.state[0, -1] == KeywordState.DONE
    assert (progress.state[0, :-2] < KeywordState.DONE).all()


def test_a_batch_pads_and_a_row_without_a_keyword_is_all_padding(expert: Expert) -> None:
    ids = keyword_batch(expert.tokenizer, ["dog", None, "zebra crossing"])
    assert ids.shape[:2] == (3, 2)
    assert (ids[1] == NO_PIECE).all()
    assert (ids[0, :, -1] == NO_PIECE).all()
    assert keyword_batch(expert.tokenizer, [None]).shape == (1, 2, 1)


def test_word_continues_marks_letters_and_digits_but_no_space_or_stop(expert: Expert) -> None:
    flags = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    ids = expert.tokenizer.convert_tokens_to_ids
    assert flags[[ids("s"), ids("7"), ids("_")]].all()
    assert not flags[[ids("."), ids("Ġ"), ids("Ċ"), ids("Ġthe"), 0]].any()
    assert not flags[len(expert.tokenizer) :].any()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("A dog.", True),
        ("Two dogs.", False),
        ("Dog!", True),
        ("A hot-dog stand", True),
        ("the DOG", True),
        ("hotdog", False),
        ("dog_house", False),
        ("dogma dog", True),
        ("", False),
    ],
)
def test_a_keyword_counts_as_a_whole_word_in_any_case(text: str, holds: bool) -> None:
    assert contains_keyword(text, "dog") is holds


def test_keywords_with_signs_in_them_are_taken_literally() -> None:
    assert contains_keyword("He knows C++ well", "C++")
    assert not contains_keyword("He knows Cxx well", "C++")
    assert contains_keyword("a fire truck", " fire  truck ")
    assert contains_keyword("at six o'clock", "o'clock")


@pytest.mark.parametrize(
    ("text", "keyword", "holds"),
    [
        ("Two lanterns.", "lantern", True),
        ("He baked bread", "bake", True),
        ("cities", "city", True),
        ("glasses", "glass", True),
        ("the dog's bone", "dog", True),
        ("dogma", "dog", False),
        ("fire truck", "fire truck", True),
        ("bus", "but", False),
    ],
)
def test_inflected_forms_count_as_the_same_stem(text: str, keyword: str, holds: bool) -> None:
    assert contains_stem(text, keyword) is holds


def test_the_lenient_count_is_never_below_the_strict_one() -> None:
    draw = random.Random(0)
    words = ["dog", "dogs", "Dog", "running", "run", "glass", "es", "s", "as", "ass", "asses", "x"]
    for _ in range(300):
        text, word = " ".join(draw.choices(words, k=3)), draw.choice(words)
        assert contains_stem(text, word) >= contains_keyword(text, word)


def test_the_headword_is_drawn_half_of_the_time_and_nothing_from_nothing() -> None:
    draw = random.Random(0)
    pairs = [((i,), (i,)) for i in range(4)]
    heads = sum(choose_keyword(pairs, draw) == pairs[0] for _ in range(2000)) / 2000
    assert heads == pytest.approx(0.5 + 0.5 / 4, abs=0.04)
    assert choose_keyword([], draw) is None
