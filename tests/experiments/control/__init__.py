"""Questions of Storyland, a corpus of a few sentences, and tiny runs of every trial, for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor

from experiments.baselines.decoding import DecodingContext
from experiments.claim.setup import load_world
from experiments.control import real, storyland
from experiments.control.joint_conditions import JointConditions
from experiments.control.story import draw_keyword_sets
from experiments.runner import Record

TINY = storyland.StorySize(train=64, epochs=1, questions=20)
FEW = real.RealSize(words=4, pairs=3, dial=3)
HELD_OUT = ["night", "cat", "grey", "narrow", "owl", "pier", "moat", "inn", "well"]


@cache
def sentences(n: int = 30) -> Tensor:
    """Sentences of the world, ``[n, T]``."""
    return load_world().sample(n, torch.Generator().manual_seed(7))


@cache
def words(n: int = 30) -> Tensor:
    """Three different words of each, ``[n, 3]``."""
    content = load_world().is_content(sentences(n))
    return draw_keyword_sets(content, sentences(n), 3, torch.Generator().manual_seed(8))


@cache
def several(K: int, n: int = 30) -> JointConditions:
    """Requests for the first K of them."""
    return JointConditions.keywords(load_world(), words(n)[:, :K])


def what_is_read() -> DecodingContext:
    """What is known before each token of these sentences, asked for the first of the words."""
    return DecodingContext.before(sentences(), words()[:, 0])


@cache
def storyland_found() -> dict[str, Record]:
    """What Storyland's trials find when they are tiny; to be looked at and not to be changed."""
    return {f"storyland-{name}": work(TINY) for name, work in storyland.TRIALS.items()}


def figures_in(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every measurement in a record, however deep it lies."""
    if isinstance(part, Mapping) and "interval" in part:
        yield part
    elif isinstance(part, Mapping | list):
        for inner in part.values() if isinstance(part, Mapping) else part:
            yield from figures_in(inner)


def corpus() -> DatasetDict:
    """Sentences about two words each; in one of the test a word is trained, and one has no headword."""
    draw = random.Random(0)
    pairs = [("dog", "owl"), ("quay", "pier"), *pairwise(HELD_OUT)]

    def rows(asked: Sequence[tuple[str, str]]) -> Dataset:
        texts = [f"The {a} saw {draw.randrange(100)} of the {b}." for a, b in asked]
        headed = [a != "quay" for a, _ in asked]
        return Dataset.from_dict({"text": texts, "keywords": [list(pair) for pair in asked], "has_headword": headed})

    return DatasetDict({"train": rows([("Dog", "violin"), ("coat", "violin")]), "test": rows(pairs)})


def real_found(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[dict[str, Record], list[tuple[Any, Sequence[Any], dict[str, Any]]]]:
    """What the trials with a real model find when nobody but a stub writes, and everything that it was asked for.

    It says the first of its words, and all of them if they were asked for together or guaranteed.
    """
    calls = []

    def write(model: Any, rows: Sequence[Any], **options: Any) -> list[str]:
        calls.append((model, rows, options))
        named = [[row] if isinstance(row, str) else [word for word in row if word] for row in rows]
        every = model.joint or options.get("guarantee")
        return [f"It was the {' and the '.join(row if every else row[:1])}." for row in named]

    monkeypatch.setattr(real, "load_expert", lambda: None)
    monkeypatch.setattr(real, "load_corpus", corpus)
    monkeypatch.setattr(real, "Slor", lambda *_: lambda texts: [2 - len(text.split()) / 100 for text in texts])
    monkeypatch.setattr(real, "load_pretrained", stub_of)
    monkeypatch.setattr(real, "write_sentences", write)
    return {f"real-{name}": work(FEW) for name, work in real.TRIALS.items()}, calls


def stub_of(expert: Any, multi_keyword: bool = False) -> Any:
    """What `write_sentences` is handed in the place of a model."""
    stub = SimpleNamespace(joint=multi_keyword, auxiliaries=["keyword"])
    stub.add = lambda name, folder: stub.auxiliaries.append(name)
    return stub
