"""Is everybody bare_request_prompt, scored and sampled alike?"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from auxlib.features import EXAMPLES_PREAMBLE
from auxlib.frozen import Expert
from auxlib.keywords import contains_keyword
from experiments.smollm.fine_tuning import PromptedSystem
from experiments.smollm.prompt import EXAMPLE_WORDS, IGNORE_INDEX, PromptedModel, bare_request_prompt, few_shot_prompt
from experiments.smollm.setup import WritingSetup

WORDS = ["dog", "harbour", "lantern"]
TEXTS = [[40, 41, 42, 7], [50, 7], [60, 61, 62, 63, 64, 7]]


@pytest.fixture
def system(expert: Expert) -> PromptedModel:
    return PromptedModel(expert)


def test_the_shown_examples_are_the_auxiliarys_preamble_each_under_a_word_of_its_own() -> None:
    lines = few_shot_prompt("lantern").splitlines()
    assert lines[1::2] == EXAMPLES_PREAMBLE.splitlines()[1:]
    assert lines[-1] == bare_request_prompt("lantern").strip()
    assert len(EXAMPLE_WORDS) == len(lines[1::2])
    for word, request, text in zip(EXAMPLE_WORDS, lines[::2], lines[1::2], strict=False):
        assert request == bare_request_prompt(word).strip()
        assert contains_keyword(text, word)


def test_only_the_text_is_scored_and_all_of_it(system: PromptedModel) -> None:
    batch = system.batch(WORDS, TEXTS)
    for row, (word, text) in enumerate(zip(WORDS, TEXTS, strict=True)):
        scored = batch["labels"][row] != IGNORE_INDEX
        assert batch["labels"][row][scored].tolist() == text
        length = int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :length].tolist() == [*system.prompt_ids(word), *text]
    assert system.expert.tokenizer.decode(system.prompt_ids("dog")[1:]) == bare_request_prompt("dog")


def test_the_score_is_the_mean_over_tokens_whatever_the_batch(system: PromptedModel) -> None:
    total = 0.0
    for word, text in zip(WORDS, TEXTS, strict=True):
        ids = torch.tensor([[*system.prompt_ids(word), *text]])
        log_probs = system.model(ids).logits[0].log_softmax(-1)
        first = ids.shape[1] - len(text)
        total -= sum(float(log_probs[first + i - 1, token]) for i, token in enumerate(text))
    by_hand = total / sum(map(len, TEXTS))
    for size in (1, 2, 3):
        assert system.nll(WORDS, TEXTS, size) == pytest.approx(by_hand, rel=1e-5)


def test_a_line_is_written_for_each_word_and_a_seed_repeats_it(system: PromptedModel) -> None:
    first = system.write(WORDS, end_id=7, seed=3)
    torch.rand(3)
    assert system.write(WORDS, end_id=7, seed=3) == first
    assert system.write(WORDS, end_id=7, seed=4) != first
    assert len(first) == len(WORDS)
    assert not any("sentence with the word" in text for text in first)


def test_a_chat_opens_with_its_own_mark_and_is_not_scored(expert: Expert, bench: WritingSetup) -> None:
    chat = PromptedModel(expert, lambda word: f"<{word}>", chat=True)
    assert expert.tokenizer.decode(chat.prompt_ids("dog")) == "<dog>"
    assert PromptedSystem(bench, chat).nll(bench.test) is None


def test_padding_says_nothing(system: PromptedModel) -> None:
    long = few_shot_prompt("dog")
    greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": 5}
    mixed = PromptedModel(system.expert, lambda word: long if word == "dog" else bare_request_prompt(word))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.smollm.prompt.SAMPLING", greedy)
        together = mixed.write(["dog", "coat"], end_id=7)
        assert together == [mixed.write([word], end_id=7)[0] for word in ("dog", "coat")]


# --- the bench ---


def test_nobody_learns_from_what_is_judged_by_or_asked_for(bench: WritingSetup) -> None:
    train, dev, test = (set(part["text"]) for part in (bench.corpus["train"], bench.corpus["dev"], bench.test))
    assert len(bench.corpus["train"]) == bench.size.train
    assert not train & test
    assert not dev & test
    trained = {word for row in bench.corpus["train"] for word in row["keywords"]}
    assert not trained & set(bench.words)
    assert len(set(bench.words)) == bench.size.questions
    unread = bench.order.select(range(bench.size.train, len(bench.order)))
    assert not {tuple(row["keywords"]) for row in unread} & {tuple(row["keywords"]) for row in bench.test}


def test_scored_sentences_are_asked_for_their_headword_alone(bench: WritingSetup) -> None:
    for part in (bench.corpus["dev"], bench.test):
        assert all(len(row["keywords"]) == 1 and row["keywords"][0] in row["text"] for row in part)


def test_no_two_seeds_ask_for_the_same_word(bench: WritingSetup) -> None:
    size = replace(bench.size, questions=2)
    assert not set(WritingSetup(size, 0).words) & set(WritingSetup(size, 1).words)


def test_what_is_said_of_samples_counts_an_empty_line_as_a_miss_without_slor(bench: WritingSetup) -> None:
    copied = bench.corpus["train"][0]["text"]
    said = bench.score_texts(["The cat ran.", "", copied, "A catalogue."], ["cat", "cat", "cat", "cat"])
    assert (said["hits"], said["n"], said["recited"], said["empty"]) == (1, 4, 1, 1)
    real = [bench.ids(text)[:-1] for text in ("The cat ran.", copied, "A catalogue.")]
    assert said["slor"] == pytest.approx(sum(map(bench.judge.slor, real)) / 3, abs=1e-4)
    assert said["tokens"] == pytest.approx(sum(map(len, real)) / 4, abs=0.01)
