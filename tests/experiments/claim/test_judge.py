"""The judge of Storyland's sentences against loops and sums over every text of a small language."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from auxlib.worlds.automaton import BLANK
from auxlib.worlds.storyland import Storyland
from experiments.claim.judge import StoryJudge, distinct_pairs, holds_keyword
from experiments.claim.setup import load_world
from tests.grammars import TEXTS, Listed, Words, close, grammar_of

TINY = """
[remember]
[states]
start = ["0.7: <pet> -> end", "0.3: old <pet> -> end"]
[function]
[content]
pet = "cat*3, dog"
"""
SMALL = {"tiny": TINY, **TEXTS}


@pytest.fixture(scope="module", params=SMALL)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Listed:
    return Listed(grammar_of(SMALL[request.param], tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Listed:
    return Listed(grammar_of(TINY, tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def world() -> Storyland:
    return load_world()


@pytest.fixture(scope="module")
def judge(world: Storyland) -> StoryJudge:
    return StoryJudge(world)


@pytest.fixture(scope="module")
def good(world: Storyland) -> Tensor:
    return world.sample(400, torch.Generator().manual_seed(0))


def shuffled(token_ids: Tensor) -> Tensor:
    """The same words in another order, the full stop at the end as before."""
    draw, rows = torch.Generator().manual_seed(1), []
    for row in token_ids:
        n = int((row != BLANK).sum()) - 1
        rows.append(torch.cat([row[:n][torch.randperm(n, generator=draw)], row[n:]]))
    return torch.stack(rows)


# ---------------------------------------------------------------- SLOR, by hand


class BySum:
    """Word shares, pairs of words and the judge's opinion, from a list of all sentences and their probabilities."""

    def __init__(self, p: dict[Words, float]) -> None:
        self.p, self.shares, self.pairs, self.before = p, Counter(), Counter(), Counter()
        length = math.fsum(prob * len(x) for x, prob in p.items())
        for x, prob in p.items():
            for last, word in itertools.pairwise(("<s>", *x)):
                self.shares[word] += prob / length
                self.pairs[last, word] += prob
                self.before[last] += prob

    def second_opinion(self, x: Words) -> float:
        steps = itertools.pairwise(("<s>", *x))
        follows = ((self.pairs[a, b] / self.before[a] if self.pairs[a, b] else 0.0, b) for a, b in steps)
        return math.prod(0.9 * bigram + 0.1 * self.shares[word] for bigram, word in follows)

    def slor(self, x: Words) -> float:
        believed = 0.99 * self.p.get(x, 0.0) + 0.01 * self.second_opinion(x)
        return (math.log(believed) - math.fsum(math.log(self.shares[word]) for word in x)) / len(x)


def texts_of(small: Listed) -> list[Words]:
    """Some sentences, and the same backwards with their full stop at the end."""
    said = sorted(small.p, key=small.p.__getitem__)[-40::3]
    return said + [(*reversed(x[:-1]), ".") for x in said]


def test_i19_slor_is_its_formula(small: Listed) -> None:
    by_sum, texts = BySum(small.p), texts_of(small)
    found = StoryJudge(small.world).slor(small.encode(texts))
    assert found.tolist() == pytest.approx([by_sum.slor(x) for x in texts], abs=1e-9)
    assert any(x not in small.p for x in texts)


def test_word_shares_count_words(small: Listed) -> None:
    by_sum, shares = BySum(small.p), small.world.unigram_probs()
    assert close(shares.sum(), 1.0)
    assert close(shares, torch.tensor([by_sum.shares[word] for word in small.world.vocabulary], dtype=torch.float64))


def believed(small: Listed, texts: Sequence[Words]) -> Tensor:
    """The judge's P of each text, taken back out of its SLOR."""
    token_ids = small.encode(texts)
    log_unigram = small.world.unigram_probs().log()[token_ids].masked_fill(token_ids == BLANK, 0.0).sum(1)
    return (StoryJudge(small.world).slor(token_ids) * (token_ids != BLANK).sum(1) + log_unigram).exp()


def test_i20_the_judge_believes_in_all_texts_together_with_one(tiny: Listed) -> None:
    words = [word for word in tiny.world.vocabulary if word not in ("<s>", ".")]
    texts = [(*x, ".") for n in range(9) for x in itertools.product(words, repeat=n)]
    assert float(believed(tiny, texts).sum()) == pytest.approx(1.0, abs=1e-6)


def test_all_but_its_doubt_is_on_the_grammar(small: Listed) -> None:
    by_sum, said = BySum(small.p), list(small.p)
    second = torch.tensor([by_sum.second_opinion(x) for x in said], dtype=torch.float64)
    assert close((believed(small, said) - 0.01 * second).sum(), 0.99)


# ---------------------------------------------------------------- the course's own language


def test_words_in_order_always_beat_the_same_words_shuffled(judge: StoryJudge, world: Storyland, good: Tensor) -> None:
    worse = shuffled(good)
    broken = ~world.is_grammatical(worse)
    assert float(broken.double().mean()) > 0.99
    gap = judge.slor(good) - judge.slor(worse)
    assert float(gap[broken].min()) > 0.5
    assert bool(judge.slor(worse).isfinite().all())


def test_one_slip_costs_what_the_grammar_knows_and_not_everything(judge: StoryJudge, world: Storyland) -> None:
    said = "It is the old farmer who feeds the hens while the others dance near the barn."
    right, slip = judge.slor(world.encode([said, said.replace("hens", "goats")])).tolist()
    assert math.isfinite(slip)
    assert 0.2 < right - slip < right


def test_neither_batch_mates_nor_blanks_change_a_sentences_slor(judge: StoryJudge, good: Tensor) -> None:
    rows = torch.cat([good[:20], shuffled(good[:20])])
    whole = judge.slor(rows)
    wider = torch.nn.functional.pad(rows, (0, 5), value=BLANK)
    alone = torch.cat([judge.slor(row[row != BLANK][None]) for row in rows])
    assert close(judge.slor(wider), whole)
    assert close(alone, whole)
    assert close(judge.slor(rows.flip(0)).flip(0), whole)


def test_word_shares_are_the_frequencies_of_many_samples(world: Storyland) -> None:
    drawn = world.sample(20_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[drawn != BLANK], minlength=len(world.vocabulary)).double()
    shares, n = world.unigram_probs(), counts.sum()
    assert close(shares.sum(), 1.0)
    assert shares[BLANK] == 0
    assert bool(((counts / n - shares).abs() <= 5 * (shares / n).sqrt()).all())
    assert float(((counts - n * shares) ** 2 / (n * shares))[1:].mean()) < 1.5, "as far off as chance, and no further"


# ---------------------------------------------------------------- counting


def test_a_keyword_is_held_as_a_whole_word(world: Storyland) -> None:
    texts = ["The old farmer feeds the hens.", "The old farmer feeds the goats.", "", "Farmers feed hens."]
    token_ids = world.encode(texts)
    for word in ("hens", "farmer", "the", "farmers"):
        by_hand = [word in text.lower().replace(".", "").split() for text in texts]
        assert holds_keyword(token_ids, world.keyword_ids([word]).expand(4)).tolist() == by_hand
    own = world.keyword_ids(["hens", "hens", "hens", "farmers"])
    assert holds_keyword(token_ids, own).tolist() == [True, False, False, True]


def pairs_by_hand(rows: list[list[int]]) -> float:
    pairs = [pair for row in rows for pair in itertools.pairwise(word for word in row if word != BLANK)]
    return len(set(pairs)) / max(1, len(pairs))


def test_distinct_pairs_are_a_set(good: Tensor) -> None:
    for rows in (good, good[:1], torch.cat([good[:5], good[:5]]), torch.tensor([[3, 3, 3, 3]]), torch.tensor([[7, 0]])):
        assert distinct_pairs(rows) == pytest.approx(pairs_by_hand(rows.tolist()))
    assert distinct_pairs(torch.tensor([[4, 5, 0, 0], [5, 4, 0, 0]])) == 1.0, "no pair crosses into the next sentence"
