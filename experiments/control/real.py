"""The trials with SmolLM2: one and two held-out words, a guarantee, lengths, and other weights λ.

Sampling is that of the headline figures, and every sample counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus
from auxlib.frozen import load_expert
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword, find_keyword
from auxlib.recipes import SHIPPED_LENGTH, length_label, load_pretrained
from experiments.control.table import PLACES
from experiments.metrics import Slor, distinct, nanmean, repeats_keyword, wilson
from experiments.records import Record
from experiments.smollm.headline import held_out_words

if TYPE_CHECKING:
    from auxlib.keywords import Keywords
    from auxlib.modeling import AuxiliaryTunedLM

WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
LATE = (0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0)  # λ grows from the fourth token on
ONCE = torch.tensor([[1.0, 1.0, -1.0]])  # two keywords, minus the auxiliary without a keyword once


@dataclass(frozen=True)
class RealSize:
    """The size of the trials.

    Attributes:
        words, pairs: requests for one word, and for two.
        dial: requests at every weight λ, and of every length.
    """

    words: int = 500
    pairs: int = 350
    dial: int = 200


class HeldOutRequests:
    """The requests of all trials: words of the test sentences that were never a training condition."""

    def __init__(self, size: RealSize) -> None:
        self.size, self.expert, corpus = size, load_expert(), load_corpus()
        self.train, self.test = corpus["train"], corpus["test"].filter(lambda row: row["has_headword"])
        self.words = held_out_words(corpus)
        random.Random(1).shuffle(self.words)

    @cached_property
    def slor(self) -> Slor:
        """SLOR under the frozen model itself, each sentence alone in its context; not an independent judge."""
        return Slor(self.expert, self.train["text"])

    @property
    def random_pairs(self) -> list[tuple[str, str]]:
        """Pairs of unconnected words; every word occurs once."""
        half = len(self.words) // 2
        return list(zip(self.words[:half], self.words[half:], strict=False))[: self.size.pairs]

    @property
    def cooccurring_pairs(self) -> list[tuple[str, str]]:
        """Pairs of words of one human sentence."""
        trained = {word.casefold() for words in self.train["keywords"] for word in words}
        unseen = [[word for word in words if word.casefold() not in trained] for words in self.test["keywords"]]
        return [(words[0], words[1]) for words in unseen if len(words) > 1][: self.size.pairs]

    def score_texts(self, texts: Sequence[str], requests: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Return the share of texts that hold all their words, their fluency, length, repetition and examples."""
        hits = [
            all(contains_keyword(text, word) for word in words) for text, words in zip(texts, requests, strict=True)
        ]
        each = [(text, word) for text, words in zip(texts, requests, strict=True) for word in words]
        return {
            "accuracy": round(sum(hits) / len(hits), 4),
            "interval": [round(bound, 4) for bound in wilson(sum(hits), len(hits))],
            "slor": round(nanmean(self.slor(texts)), 4),
            "tokens": round(nanmean([len(text.split()) for text in texts]), 2),
            "distinct_2": round(distinct(texts, 2), 3),
            "twice": round(nanmean([repeats_keyword(text, word) for text, word in each]), 4),
            "places": _places(each),
            "n": len(hits),
            "examples": [[*words, text] for text, words in zip(texts, requests, strict=True)][:30],
        }


def _places(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Count in which fifth of its sentence each word begins, from pairs of text and word."""
    counts = [0] * PLACES
    for text, word in pairs:
        if (start := find_keyword(text, word)) is not None:
            counts[PLACES * start // len(text)] += 1
    return counts


def words(size: RealSize) -> Record:
    """Measure one word: steered, guaranteed, both, read jointly; and human sentences of the same words."""
    requests = HeldOutRequests(size)
    model, goals = load_pretrained(requests.expert), [[word] for word in requests.words[: size.words]]
    joint = load_pretrained(requests.expert, multi_keyword=True)
    human = {row["keywords"][0]: row["text"] for row in requests.test}
    kept = [words for words in goals if words[0] in human]

    def write(writer: AuxiliaryTunedLM, **options: Any) -> dict[str, Any]:
        return requests.score_texts(write_sentences(writer, [words[0] for words in goals], **options), goals)

    return {
        "one": write(model),
        "one_sure": write(model, guarantee=True),
        "one_forced": write(model, weight=0.0, guarantee=True),
        "one_together": write(joint),
        "human": requests.score_texts([human[words[0]] for words in kept], kept),
    }


def pairs(requests: HeldOutRequests, goals: Sequence[tuple[str, str]], name: str) -> Record:
    """Measure two words: the sum of two auxiliaries, the sum with the style counted once, one auxiliary for both."""
    single, both = load_pretrained(requests.expert), load_pretrained(requests.expert, multi_keyword=True)
    ways: dict[str, tuple[AuxiliaryTunedLM, Sequence[Keywords], dict[str, Any]]] = {
        "sum": (single, goals, {}),
        "sum_once": (single, [(*words, None) for words in goals], {"weight": ONCE.expand(len(goals), -1)}),
        "joint": (both, goals, {}),
        "joint_sure": (both, goals, {"guarantee": True}),
    }
    return {
        f"{name}_{way}": requests.score_texts(write_sentences(model, rows, **options), goals)
        for way, (model, rows, options) in ways.items()
    }


def random_pairs(size: RealSize) -> Record:
    """Measure two unconnected words."""
    requests = HeldOutRequests(size)
    return pairs(requests, requests.random_pairs, "strangers")


def cooccurring_pairs(size: RealSize) -> Record:
    """Measure two words of one human sentence."""
    requests = HeldOutRequests(size)
    return pairs(requests, requests.cooccurring_pairs, "companions")


def dial(size: RealSize) -> Record:
    """Measure other weights λ than the trained one, up to repetition of the word; and a schedule that starts late."""
    requests = HeldOutRequests(size)
    model, goals = load_pretrained(requests.expert), [[word] for word in requests.words[-size.dial :]]

    def write(**options: Any) -> dict[str, Any]:
        return requests.score_texts(write_sentences(model, [words[0] for words in goals], **options), goals)

    return {"dial": [{"weight": weight} | write(weight=weight) for weight in WEIGHTS], "late": write(schedule=LATE)}


def lengths(size: RealSize) -> Record:
    """Measure a word with a length: two auxiliaries added, and added with the style counted once."""
    requests = HeldOutRequests(size)
    model, goals = load_pretrained(requests.expert), [[word] for word in requests.words[-size.dial :]]
    model.add("length", data_dir() / "checkpoints" / SHIPPED_LENGTH)
    results: Record = {"human_lengths": _shares(requests.test["text"])}
    for label in ("short", "medium", "long"):
        summed = write_sentences(model, [(words[0], label) for words in goals], auxiliaries=("keyword", "length"))
        once = write_sentences(
            model,
            [(words[0], label, None) for words in goals],
            weight=ONCE.expand(len(goals), -1),
            auxiliaries=("keyword", "length", "length"),
        )
        for name, texts in {"sum": summed, "once": once}.items():
            results[f"length_{label}_{name}"] = requests.score_texts(texts, goals) | {"lengths": _shares(texts)}
    return results


def _shares(texts: Sequence[str]) -> dict[str, float]:
    """Return the share of texts with each length label."""
    labels = [length_label(text) for text in texts]
    return {label: round(labels.count(label) / len(labels), 4) for label in ("short", "medium", "long")}


TRIALS: dict[str, Callable[[RealSize], Record]] = {
    "words": words,
    "strangers": random_pairs,
    "companions": cooccurring_pairs,
    "dial": dial,
    "lengths": lengths,
}
