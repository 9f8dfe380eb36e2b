"""A bench of a tiny expert and of sentences that a generator makes: words of each part are its own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from auxlib.frozen import Expert
from experiments.smollm import setup as benches
from experiments.smollm.setup import WritingSetup, WritingSize

NOUNS = {
    "train": ["dog", "violin", "lantern", "coat", "street", "harbour"],
    "dev": ["postman", "meeting"],
    "test": ["night", "cat", "grey", "narrow"],
}
TINY = WritingSize(train=40, dev=6, questions=4, scored=6, glosses=3)


def rows(part: str, count: int) -> Dataset:
    draw = random.Random(part)
    words = [draw.sample(NOUNS[part], 2) for _ in range(count)]
    texts = [f"The {a} saw {draw.randrange(100)} of the {b}." for a, b in words]
    return Dataset.from_dict({"text": texts, "keywords": words, "has_headword": [True] * count})


@pytest.fixture
def bench(expert: Expert, monkeypatch: pytest.MonkeyPatch, cache: Path) -> WritingSetup:
    whole = DatasetDict({"train": rows("train", 80), "dev": rows("dev", 10), "test": rows("test", 12)})
    monkeypatch.setattr(benches, "load_expert", lambda **_: expert)
    monkeypatch.setattr(benches, "load_corpus", lambda: whole)
    monkeypatch.setattr(benches, "wordnet_glosses", lambda n: ["a street of grey coats", "to bark", "very narrow"][:n])
    return WritingSetup(TINY, 0)
