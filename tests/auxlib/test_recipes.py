"""The main job end to end on a tiny expert: material, training, writing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from auxlib.auxiliary import AuxiliaryConfig
from auxlib.errors import CheckpointError, KeywordError, WeightError
from auxlib.frozen import Expert, fingerprint
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import (
    Recipe,
    TrainingData,
    labelled,
    load_pretrained,
    prepare_data,
    scaled_down,
    train,
)
from tests.auxlib.data.test_corpora import sentences
from tests.conftest import PREAMBLE

GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": 8}
WORDS = ["lantern", "dog", None, "violin", "coat"]


# --- writing ---


def test_a_sentence_is_written_for_each_keyword_and_keeps_its_start(tuned: AuxiliaryTunedLM) -> None:
    texts = write_sentences(tuned, WORDS, start="The old dog", max_new_tokens=6)
    assert len(texts) == len(WORDS)
    assert all(text.startswith("The old dog") for text in texts)
    assert not any(PREAMBLE.split()[0] in text for text in texts)
    assert all(text == " ".join(text.split()) for text in texts)


def test_a_seed_repeats_what_was_written_and_another_seed_does_not(tuned: AuxiliaryTunedLM) -> None:
    first = write_sentences(tuned, WORDS, seed=1, max_new_tokens=8)
    torch.rand(5)
    assert write_sentences(tuned, WORDS, seed=1, max_new_tokens=8) == first
    assert write_sentences(tuned, WORDS, seed=2, max_new_tokens=8) != first


def test_without_a_seed_the_generator_goes_on(tuned: AuxiliaryTunedLM) -> None:
    torch.manual_seed(0)
    first = write_sentences(tuned, WORDS, seed=None, max_new_tokens=8)
    assert write_sentences(tuned, WORDS, seed=None, max_new_tokens=8) != first
    torch.manual_seed(0)
    assert write_sentences(tuned, WORDS, seed=None, max_new_tokens=8) == first


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_do_not_mix_up_words_or_weights(tuned: AuxiliaryTunedLM, batch_size: int) -> None:
    weights = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])
    texts = write_sentences(tuned, WORDS, weight=weights, batch_size=batch_size, **GREEDY)
    for word, weight, text in zip(WORDS, weights.tolist(), texts, strict=True):
        assert write_sentences(tuned, [word], weight=weight, **GREEDY) == [text]


def test_weight_zero_writes_what_the_frozen_model_writes(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for([None], ["The dog"])
    plain = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    end = {"eos_token_id": tuned.config.eos_token_id, "pad_token_id": 0}
    ids = tuned.expert.generate(**plain, max_new_tokens=8, do_sample=False, **end)
    expected = tuned.expert_info.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    written = write_sentences(tuned, ["lantern"], weight=0.0, start="The dog", **GREEDY)
    assert written == [" ".join(f"The dog{expected}".split())]


@pytest.mark.parametrize("keywords", [["dog", ""], [" "], ["🎈"], ["a" * 10_000], ["zqxj" * 20]])
def test_a_bad_keyword_is_refused(tuned: AuxiliaryTunedLM, keywords: list[str]) -> None:
    with pytest.raises(KeywordError):
        write_sentences(tuned, keywords)


@pytest.mark.parametrize("weight", [math.nan, torch.tensor([1.0, 2.0]), torch.ones(9), torch.tensor([math.inf] * 5)])
@pytest.mark.parametrize("batch_size", [2, 32])
def test_a_bad_weight_is_refused(tuned: AuxiliaryTunedLM, weight: Any, batch_size: int) -> None:
    with pytest.raises(WeightError):
        write_sentences(tuned, WORDS, weight=weight, batch_size=batch_size)


@pytest.mark.parametrize("options", [{"use_cache": False}, {"num_beams": 2}, {"num_beams": 1}], ids=str)
def test_options_of_generate_are_passed_on(tuned: AuxiliaryTunedLM, options: dict[str, Any]) -> None:
    inputs = tuned.inputs_for(WORDS, ["The"] * len(WORDS))
    ids = tuned.generate(**inputs, weight=1.0, **{**GREEDY, **options})[:, inputs["input_ids"].shape[1] :]
    expected = tuned.expert_info.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert write_sentences(tuned, WORDS, start="The", **{**GREEDY, **options}) == [
        " ".join(f"The{text}".split()) for text in expected
    ]


SEVERAL = [("dog", "street"), None, "lantern", ("coat", None, "old street")]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("weight", [1.0, torch.tensor([0.5, 1.0, 2.0, 0.0]), torch.arange(12.0).view(4, 3) / 6])
def test_rows_of_several_words_are_what_they_are_alone(tuned: AuxiliaryTunedLM, batch_size: int, weight: Any) -> None:
    texts = write_sentences(tuned, SEVERAL, weight=weight, batch_size=batch_size, **GREEDY)
    for i, (asked, text) in enumerate(zip(SEVERAL, texts, strict=True)):
        own = weight if isinstance(weight, float) else weight[i : i + 1]
        if isinstance(own, torch.Tensor) and own.dim() == 2:
            own = own[:, : len(asked) if isinstance(asked, tuple) else 1]
        assert write_sentences(tuned, [asked], weight=own, **GREEDY) == [text]


@pytest.mark.parametrize("batch_size", [2, 32])
def test_guaranteed_words_are_there_whatever_the_batch(tuned: AuxiliaryTunedLM, batch_size: int) -> None:
    asked = [*SEVERAL, *SEVERAL]  # rows of equal text are still rows of their own
    texts = write_sentences(tuned, asked, weight=0.0, batch_size=batch_size, guarantee=True, start="The")
    for words, text in zip(asked, texts, strict=True):
        for word in [words] if isinstance(words, str) else words or ():
            assert word is None or contains_keyword(text, word)


@pytest.mark.parametrize(
    "end", [{"stop_strings": ["."]}, {"max_time": 1.0}, {"eos_token_id": [0, 5]}, {"max_length": 9}]
)
def test_with_a_guarantee_nothing_else_may_end_a_text(tuned: AuxiliaryTunedLM, end: dict[str, Any]) -> None:
    with pytest.raises(KeywordError, match=next(iter(end))):
        write_sentences(tuned, ["dog"], guarantee=True, **end)


def test_nothing_asked_is_nothing_written(tuned: AuxiliaryTunedLM) -> None:
    assert write_sentences(tuned, []) == []


# --- from text to a pair ---


@pytest.fixture(scope="module")
def stuff(expert: Expert, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "texts.txt").write_text("\n".join(sentences(0, 300)), encoding="utf-8")
    recipe = Recipe(
        corpus=str(folder / "texts.txt"), preamble=PREAMBLE, sentences=60, support_at_least=2, epochs=4, batch_size=8
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLIB_CACHE", str(folder / "cache"))
        return prepare_data(recipe, expert, progress=False)


def test_material_fits_together(stuff: TrainingData, expert: Expert) -> None:
    vocabulary = expert.unembedding.shape[0]
    assert len(stuff.train) == 60
    assert stuff.continuation_mask.shape == (vocabulary,)
    assert len(stuff.groups) == vocabulary
    assert stuff.support.tolist() == sorted(set(stuff.support.tolist()))
    ends = {ids[-1] for ids in stuff.train["token_ids"]}
    assert ends == {stuff.template.end_id}
    assert stuff.template.end_id in stuff.support


def test_a_recipe_becomes_a_pair_with_a_receipt(stuff: TrainingData, expert: Expert, tmp_path: Path) -> None:
    config = AuxiliaryConfig(width=16, heads=2)
    model, run = train(stuff, config, tmp_path / "run", progress=False)
    assert run.losses[-1] < run.losses[0]
    assert run.dev_loss == model.receipt["dev_nll"]
    assert model.receipt["recipe"]["sentences"] == 60
    assert fingerprint(expert.model) == expert.fingerprint
    model.save_pretrained(tmp_path / "saved")
    loaded = AuxiliaryTunedLM.from_pretrained(tmp_path / "saved", expert)
    assert loaded.receipt == model.receipt
    assert len(write_sentences(loaded, ["lantern", None], max_new_tokens=5)) == 2


def test_labels_take_the_place_of_keywords_and_the_features_stay(
    stuff: TrainingData, expert: Expert, tmp_path: Path
) -> None:
    lengths = labelled(stuff, lambda text: "short" if len(text) < 30 else "long")
    assert [row["keywords"] for row in lengths.train] == [
        ["short" if len(text) < 30 else "long"] for text in stuff.train["text"]
    ]
    assert lengths.train["hidden"][0] == stuff.train["hidden"][0]
    model, _ = train(lengths, output_dir=tmp_path / "run", progress=False)
    assert model.receipt["recipe"]["labels"]
    assert not model.auxiliary.config.progress
    assert not model.auxiliary.config.copy_head


def test_a_scaled_down_recipe_changes_only_its_size() -> None:
    recipe = Recipe(seed=3)
    assert scaled_down(recipe, 100, 1) == replace(recipe, sentences=100, epochs=1)


def test_a_repository_without_its_auxiliary_says_so(
    expert: Expert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auxlib.recipes.data_dir", lambda: tmp_path)
    with pytest.raises(CheckpointError, match="holds no auxiliary"):
        load_pretrained(expert)


def test_the_pair_can_be_shipped(
    expert: Expert, tmp_path: Path, make_tuned: Callable[..., AuxiliaryTunedLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tuned().save_pretrained(tmp_path / "checkpoints" / "wordnet-keyword")
    monkeypatch.setattr("auxlib.recipes.data_dir", lambda: tmp_path)
    assert isinstance(load_pretrained(expert), AuxiliaryTunedLM)
