"""The headline figures on a tiny pair: what is counted, and that nothing can be left out or made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict

from auxlib.frozen import Expert
from auxlib.modeling import AuxiliaryTunedLM
from experiments.metrics import Slor
from experiments.smollm.headline import (
    FRONTIER,
    Samples,
    decode_ratio,
    draw_frontier,
    draw_samples,
    evaluate,
    frontier,
    held_out_words,
    score,
)
from tests.conftest import SENTENCES


def part(*rows: tuple[str, list[str], bool]) -> Dataset:
    return Dataset.from_list([{"text": text, "keywords": words, "has_headword": head} for text, words, head in rows])


@pytest.fixture(scope="module")
def corpus() -> DatasetDict:
    return DatasetDict(
        train=part(("The dog barked at the postman.", ["dog", "postman"], True)),
        test=part(
            ("The lantern lit the narrow street.", ["lantern", "street"], True),
            ("He wore a grey coat.", ["coat"], False),
            ("A Dog is a dog.", ["Dog"], True),
            ("Another lantern here.", ["lantern"], True),
        ),
    )


@pytest.fixture(scope="module")
def slor(expert: Expert) -> Slor:
    return Slor(expert, SENTENCES)


def test_held_out_words_are_headwords_that_training_never_asked_for(corpus: DatasetDict) -> None:
    assert held_out_words(corpus) == ["lantern"]


def test_every_sample_counts_and_the_base_rate_stands_beside_it(slor: Slor) -> None:
    samples = Samples(
        keywords=["dog", "dog", "coat", "coat"],
        steered=["The dog ran.", "Dogs ran.", "", "A coat, a coat."],
        unsteered=["The dog ran.", "It rained.", "It rained.", "It rained."],
    )
    found = score(samples, list(SENTENCES), slor, ["A dog is here."])
    assert (found["accuracy"], found["stem_accuracy"], found["base_rate"], found["n_samples"]) == (0.5, 0.75, 0.25, 4)
    low, high = found["accuracy_ci"]
    assert low < 0.5 < high
    assert found["keyword_twice"] == 0.25
    assert (found["accuracy_unread"], found["n_unread"]) == (0.5, 2), "coat is in no training text"
    assert torch.isfinite(torch.tensor([found["slor"], found["slor_human"], found["slor_frozen"]])).all()


def test_samples_go_round_the_words_and_the_unsteered_are_the_frozen_models(tuned: AuxiliaryTunedLM) -> None:
    samples = draw_samples(tuned, ["dog", "coat"], 5)
    assert samples.keywords == ["dog", "coat", "dog", "coat", "dog"]
    assert len(samples.steered) == len(samples.unsteered) == 5
    assert draw_samples(tuned, ["lantern"], 5).unsteered == samples.unsteered, "nobody told the frozen model a word"


def test_the_frontier_and_its_picture_say_the_same(tuned: AuxiliaryTunedLM, slor: Slor) -> None:
    points = frontier(tuned, ["dog"], slor, n=3)
    assert [point["lambda"] for point in points] == list(FRONTIER)
    assert f"{points[-1]['accuracy']:.2f}" in draw_frontier(points).alt


def test_decoding_is_timed_against_the_frozen_model(tuned: AuxiliaryTunedLM) -> None:
    found = decode_ratio(tuned, keywords="dog", rows=2, tokens=3, rounds=2)
    assert found["decode_ratio"] > 0
    assert found["ms_per_token_frozen"] > 0


def test_an_evaluation_holds_the_keys_the_readme_needs_and_can_be_stored(
    tuned: AuxiliaryTunedLM, corpus: DatasetDict, tmp_path: Path
) -> None:
    from course.headline import NEEDED, RESULTS, headline

    found = evaluate(tuned, corpus, n=5)
    assert set(NEEDED) <= set(found)
    assert found["lambda"] == 1.0
    assert found["frozen_unchanged"]
    (tmp_path / RESULTS).parent.mkdir(parents=True)
    (tmp_path / RESULTS).write_text(json.dumps(found))
    assert {row["figure"] for row in headline(tmp_path)} > {"fluency, mean SLOR in nats per token"}
