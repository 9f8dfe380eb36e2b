"""Scores are what their formulas say, and no text's score depends on its neighbours."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
import torch

from auxlib.frozen import Expert
from auxlib.keywords import contains_keyword
from experiments.benchmarking import hardware_info, paired_seconds, peak_memory_mb
from experiments.metrics import Slor, distinct, keyword_control, nanmean, repeats_keyword, wilson
from tests.conftest import SENTENCES

TEXTS = [*SENTENCES, "A", "Dogs", "the the the the", "naïve 🎈"]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_has_the_textbook_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=2e-4)


def test_wilsons_bounds_solve_the_quadratic_they_come_from() -> None:
    for hits, n in [(1, 7), (40, 50), (999, 1000)]:
        for bound in wilson(hits, n):
            assert (hits / n - bound) ** 2 == pytest.approx(1.96**2 * bound * (1 - bound) / n)


def test_wilson_is_symmetric_and_narrows() -> None:
    low, high = wilson(3, 20)
    assert wilson(17, 20) == pytest.approx((1 - high, 1 - low))
    assert wilson(150, 1000)[1] - wilson(150, 1000)[0] < high - low


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_an_impossible_count_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="hits"):
        wilson(hits, n)


def test_control_counts_every_sample_strictly_leniently_and_by_chance() -> None:
    samples = ["A dog.", "Two dogs.", "", "The dog's bone"]
    found = keyword_control(samples, ["dog"] * 4, ["A dog."] + ["A cat."] * 3)
    assert (found.accuracy, found.stem_accuracy, found.base_rate, found.n) == (0.5, 0.75, 0.25, 4)
    assert found.interval == wilson(2, 4)


# --- SLOR ---


@pytest.fixture(scope="module")
def slor(expert: Expert) -> Slor:
    return Slor(expert, SENTENCES)


def slow_slor(slor: Slor, text: str) -> float:
    """One text alone, token by token."""
    tokenizer, ids = slor.judge.tokenizer, [slor.judge.end_of_text_id]
    counts = torch.full((slor.judge.unembedding.shape[0],), 0.5, dtype=torch.float64)
    for reference in SENTENCES:
        for token in tokenizer(reference)["input_ids"]:
            counts[token] += 1
    total = 0.0
    for token in tokenizer(text)["input_ids"]:
        with torch.inference_mode():
            log_probs = slor.judge.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        total += float(log_probs[token] - (counts[token] / counts.sum()).log())
        ids.append(token)
    return total / (len(ids) - 1)


def test_slor_is_its_formula(slor: Slor) -> None:
    assert slor(TEXTS) == pytest.approx([slow_slor(slor, text) for text in TEXTS], abs=1e-4)


def test_slor_is_zero_when_the_judge_is_the_unigram_model(make_expert: Callable[..., Expert]) -> None:
    judge = make_expert(tie_word_embeddings=False)
    slor, model = Slor(judge, SENTENCES), judge.model
    with torch.no_grad():  # blocks that add nothing, one state for every token, and its logits are the log-counts
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.model.norm.weight.zero_()[0] = 1.0
        model.lm_head.weight.zero_()[:, 0] = slor.log_unigram
    assert slor(TEXTS) == pytest.approx([0.0] * len(TEXTS), abs=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_the_batch_does_not_change_slor(slor: Slor, batch: int) -> None:
    assert slor(TEXTS, batch=batch) == pytest.approx(slor(TEXTS, batch=5), abs=1e-4)


def test_each_text_is_judged_in_a_context_of_its_own(slor: Slor) -> None:
    alone = [slor([text])[0] for text in TEXTS]
    order = list(range(len(TEXTS)))
    random.Random(0).shuffle(order)
    shuffled = slor([TEXTS[i] for i in order])
    assert [shuffled[order.index(i)] for i in range(len(TEXTS))] == pytest.approx(alone, abs=1e-4)


def test_an_empty_text_has_no_slor_and_harms_nobody(slor: Slor) -> None:
    values = slor(["", SENTENCES[0], ""])
    assert math.isnan(values[0])
    assert math.isnan(values[2])
    assert values[1] == pytest.approx(slor(SENTENCES[:1])[0], abs=1e-4)
    assert math.isnan(slor([""])[0])
    assert slor([]) == []


def test_smoothing_gives_every_token_a_chance_even_without_a_reference(expert: Expert) -> None:
    log_unigram = Slor(expert, []).log_unigram
    assert torch.allclose(log_unigram.exp(), torch.full_like(log_unigram, 1 / len(log_unigram)))


def test_the_mean_leaves_out_what_does_not_exist() -> None:
    assert nanmean([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(nanmean([]))
    assert math.isnan(nanmean([math.nan]))


# --- diversity and repetition ---


def test_distinct_is_the_share_of_different_ngrams() -> None:
    assert distinct(["a b c", "d e"], 2) == 1.0
    assert distinct(["a b", "A B"], 2) == 0.5
    assert distinct(["x x x x"], 1) == 0.25
    assert distinct(["one", ""], 2) == 0.0
    assert distinct(["a b", "c d"], 2) == 1.0, "no n-gram crosses from one text into the next"


@pytest.mark.parametrize(
    ("text", "keyword", "twice"),
    [
        ("The dog saw the Dog.", "dog", True),
        ("One dog.", "dog", False),
        ("The art of the party", "art", False),
        ("the cat sat on a category", "cat", False),
        ("Fire truck, fire truck!", "fire truck", True),
        ("", "dog", False),
    ],
)
def test_a_keyword_repeats_as_a_whole_word(text: str, keyword: str, twice: bool) -> None:
    assert repeats_keyword(text, keyword) is twice
    assert contains_keyword(text, keyword) or not twice


# --- cost ---


def test_two_things_are_timed_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    first, second = paired_seconds(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3)
    assert calls == ["a", "b"] * 4
    assert len(first) == len(second) == 3
    assert min(first + second) >= 0


def test_the_receipt_says_where_it_was_measured() -> None:
    expected = {"cpu", "cores", "threads", "gpu", "system", "instructions", "precision"}
    assert set(hardware_info()) == expected
    assert hardware_info()["cores"] >= 1
    assert peak_memory_mb() > 50 or math.isnan(peak_memory_mb())
