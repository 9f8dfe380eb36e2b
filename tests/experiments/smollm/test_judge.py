"""Is the judge a probability, and does it know a sentence from a heap of words?"""

from __future__ import annotations

import random
from math import log

import pytest

from experiments.smollm.judge import TrigramJudge

V = 12
TEXTS = [[1, 2, 3, 0], [1, 2, 4, 0], [5, 2, 3, 0], [1, 2, 3, 3, 0]]
CONTEXTS = [(), (2,), (1, 2), (-1, 1), (-1, -1), (9, 2), (9, 9), (2, 9)]


@pytest.mark.parametrize("context", CONTEXTS)
def test_it_sums_to_one_after_whatever_was_read(context: tuple[int, ...]) -> None:
    judge = TrigramJudge(TEXTS, V)
    assert sum(judge.prob(token, context) for token in range(V)) == pytest.approx(1.0)
    assert all(judge.prob(token, context) > 0 for token in range(V))


def test_its_probabilities_by_hand() -> None:
    judge = TrigramJudge(TEXTS, V)
    unigram = (4 + 0.5) / (17 + 0.5 * V)  # four of 17 tokens are a 3
    assert judge.prob(3, ()) == pytest.approx(unigram)
    bigram = (3 - 0.75) / 4 + 0.75 * 2 / 4 * unigram  # after a 2: three times a 3, once a 4
    assert judge.prob(3, (2,)) == pytest.approx(bigram)
    assert judge.prob(3, (1, 2)) == pytest.approx((2 - 0.75) / 3 + 0.75 * 2 / 3 * bigram)


def test_what_was_never_read_before_is_judged_by_what_came_last() -> None:
    judge = TrigramJudge(TEXTS, V)
    assert judge.prob(3, (9, 2)) == judge.prob(3, (2,))
    assert judge.prob(3, (9, 9)) == judge.prob(3, ())


def test_asking_teaches_it_nothing() -> None:
    judge = TrigramJudge(TEXTS, V)
    before = judge.prob(3, (1, 2))
    for context in CONTEXTS:
        judge.prob(7, context)
    assert judge.prob(3, (1, 2)) == before
    assert (9, 9) not in judge.counts


def test_slor_is_what_order_adds_to_the_words_by_hand() -> None:
    judge, text = TrigramJudge(TEXTS, V), [1, 2, 3, 0]
    marked = [-1, -1, *text]
    steps = [(tuple(marked[i : i + 2]), token) for i, token in enumerate(text)]
    by_hand = sum(log(judge.prob(token, context)) - log(judge.prob(token, ())) for context, token in steps) / 4
    assert judge.slor(text) == pytest.approx(by_hand)


def test_a_sentence_is_worth_more_than_its_words_in_another_order() -> None:
    draw = random.Random(0)
    texts = [[1, draw.choice([2, 3, 4]), 5, draw.choice([6, 7, 8]), 9, 0] for _ in range(200)]
    judge = TrigramJudge(texts[:150], 10)
    for text in texts[150:]:
        assert judge.slor(text) > judge.slor([*draw.sample(text[:-1], 5), 0]) - 1e-9
        assert judge.slor(text) > 0.5 > judge.slor(text[::-1])
