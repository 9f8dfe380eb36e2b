"""Is a real model asked for the right words in the right way? A stub writes, so that no model is needed."""

from __future__ import annotations

import json

import pytest
import torch

from auxlib.recipes import length_label
from experiments.control import real
from experiments.control.real import LATE, WEIGHTS, HeldOutRequests
from experiments.metrics import wilson
from tests.experiments.control import FEW, HELD_OUT, figures_in, real_found


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> HeldOutRequests:
    real_found(monkeypatch)
    return HeldOutRequests(FEW)


def test_no_word_was_a_training_condition_and_strangers_are_each_asked_for_once(requests: HeldOutRequests) -> None:
    assert sorted(requests.words) == sorted(HELD_OUT[:-1]), "the headwords of the test; 'Dog' is known by another case"
    assert requests.words != HELD_OUT[:-1], "in an order that tells nothing"
    used = [word for pair in requests.random_pairs for word in pair]
    assert len(requests.random_pairs) == FEW.pairs
    assert len(set(used)) == len(used)
    assert set(used) <= set(requests.words)


def test_companions_stand_in_one_sentence_and_neither_was_asked_for_in_training(requests: HeldOutRequests) -> None:
    rows = [tuple(words) for words in requests.test["keywords"]]
    assert requests.cooccurring_pairs == [pair for pair in rows if "dog" not in pair][: FEW.pairs]
    assert ("quay", "pier") not in rows, "only sentences with a headword"


def test_what_is_said_of_texts_is_counted_by_hand(requests: HeldOutRequests) -> None:
    texts = ["An owl.", "The night is night.", "Nightly rain", "So many wells and a well and one more well"]
    said = requests.score_texts(texts, [["owl"], ["night"], ["night"], ["well", "owl"]])
    assert said["accuracy"] == 0.5, "whole words, and all of them"
    assert said["interval"] == pytest.approx(wilson(2, 4), abs=1e-4)
    assert said["tokens"] == (2 + 4 + 2 + 10) / 4
    assert said["twice"] == 2 / 5
    assert said["n"] == 4
    assert said["examples"] == [["owl", texts[0]], ["night", texts[1]], ["night", texts[2]], ["well", "owl", texts[3]]]


def test_a_words_place_is_counted_in_fifths_by_its_first_letter() -> None:
    text = "dog and cat or owl is"  # 21 letters: at 0, 8 and 15
    assert real._places([(text, "dog")]) == [1, 0, 0, 0, 0]
    assert real._places([(text, "cat"), (text, "Owl")]) == [0, 1, 0, 1, 0]
    assert real._places([("the last is a dog", "dog")]) == [0, 0, 0, 0, 1]
    assert real._places([(text, "hen"), (text, "do")]) == [0] * 5, "what is not there has no place"
    assert len(real._places([])) == real.PLACES == 5


@pytest.mark.parametrize(("words", "label"), [(1, "short"), (5, "short"), (6, "medium"), (8, "medium"), (9, "long")])
def test_a_length_is_a_number_of_words(words: int, label: str) -> None:
    assert length_label("  ".join(["word"] * words)) == label


def test_every_way_of_asking_is_the_one_that_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    _, calls = real_found(monkeypatch)
    weights = [options["weight"] for _, _, options in calls if isinstance(options.get("weight"), float)]
    assert sorted(weights) == sorted([0.0, *WEIGHTS]), "forced without the auxiliary, and the dial"
    once = [(rows, options["weight"]) for _, rows, options in calls if isinstance(options.get("weight"), torch.Tensor)]
    assert len(once) == 2 + 3, "two kinds of pairs, three lengths"
    for rows, weight in once:
        assert weight.tolist() == [[1.0, 1.0, -1.0]] * len(rows)
        assert all(row[2] is None and None not in row[:2] for row in rows), "once less what is said unasked"
    assert [options["schedule"] for _, _, options in calls if "schedule" in options] == [LATE]
    assert all(("length" in model.auxiliaries) == ("auxiliaries" in options) for model, _, options in calls)
    spoken = [(rows[0][1], options["auxiliaries"]) for _, rows, options in calls if "auxiliaries" in options]
    for i, label in enumerate(("short", "medium", "long")):
        assert spoken[2 * i] == (label, ("keyword", "length"))
        assert spoken[2 * i + 1] == (label, ("keyword", "length", "length"))


def test_every_record_is_that_of_what_was_written_for_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {key: value for record in real_found(monkeypatch)[0].values() for key, value in record.items()}
    assert [row["weight"] for row in found["dial"]] == list(WEIGHTS)
    for kind in ("strangers", "companions"):  # the stub says the first word alone, if it is not asked for both at once
        said = [found[f"{kind}_{name}"]["accuracy"] for name in ("sum", "sum_once", "joint", "joint_sure")]
        assert said == [0, 0, 1, 1]
    for part in figures_in(found):
        assert all(text.startswith(("The ", "It was the ")) and words[0] in text for *words, text in part["examples"])
    assert found["human"]["examples"][0][1].startswith("The ")
    assert found["length_long_once"]["lengths"] == {"short": 1.0, "medium": 0.0, "long": 0.0}
    assert found["human_lengths"] == {"short": 0.0, "medium": 1.0, "long": 0.0}
    json.dumps(found, allow_nan=False)
