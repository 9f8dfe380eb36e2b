"""A small world for the experiment: a random encoder and texts that one word tells apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from auxlib.classification.encoders import Encoder
from experiments.ytuning import experiment, few_shot, setup, systems

WORDS = {
    "comp.graphics": "lantern",
    "rec.sport.baseball": "fence",
    "sci.med": "doctor",
    "alt.dog": "dog",
    "alt.cats": "cats",
    "soc.religion.christian": "night",
    "talk.politics.mideast": "street",
}


def rows(each: int, start: int = 0) -> Dataset:
    found = [
        {"text": f"{word} {'the old ' * (i % 3)}and {i}", "label": label}
        for i in range(start, start + each)
        for label, word in enumerate(WORDS.values())
    ]
    return Dataset.from_list(found).cast_column("label", ClassLabel(names=list(WORDS)))


@pytest.fixture
def texts() -> DatasetDict:
    return DatasetDict({"train": rows(6), "dev": rows(2, 100), "test": rows(4, 200)})


@pytest.fixture
def small(
    encoder: Encoder, texts: DatasetDict, monkeypatch: pytest.MonkeyPatch, cache: object
) -> Callable[[], Encoder]:
    """Every room that loads the encoder, or a task, gets the small one."""

    def load(*_: object, **__: object) -> Encoder:
        return replace(encoder, model=copy.deepcopy(encoder.model))

    for room in (systems, setup, few_shot, experiment):
        monkeypatch.setattr(room, "load_encoder", load, raising=False)
    monkeypatch.setattr(experiment, "load_task", lambda *_, **__: texts)
    monkeypatch.setattr(setup, "LEAST_STEPS", 1)
    return load
