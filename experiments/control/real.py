"""What is tried with a real model? Words that no auxiliary was ever asked for in training: one, two, with a guarantee,
with a length, with other strengths. Sampling is that of every other figure here, and no sentence is left out."""

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
from auxlib.metrics import Slor, distinct, nanmean, repeats_keyword, wilson
from auxlib.recipes import SHIPPED_LENGTH, length_label, load_pretrained
from experiments.runner import Record
from experiments.smollm.headline import held_out_words

if TYPE_CHECKING:
    from auxlib.keywords import Keywords
    from auxlib.modeling import AuxiliaryTunedLM

DIAL = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
LATE = (0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0)  # λ grows from the fourth token on
ONCE = torch.tensor([[1.0, 1.0, -1.0]])  # two words, and once less what is said when nobody asks for anything
PLACES = 5  # bins of a word's place in its sentence


@dataclass(frozen=True)
class RealSize:
    """How many requests each way of asking is measured with."""

    words: int = 500
    pairs: int = 350
    dial: int = 200


class Requests:
    """What everybody is asked: words of the test sentences that were never a training condition."""

    def __init__(self, size: RealSize) -> None:
        self.size, self.expert, corpus = size, load_expert(), load_corpus()
        self.train, self.test = corpus["train"], corpus["test"].filter(lambda row: row["has_headword"])
        self.words = held_out_words(corpus)
        random.Random(1).shuffle(self.words)

    @cached_property
    def slor(self) -> Slor:
        """Judged by the frozen model itself, each sentence alone in its context: not independent."""
        return Slor(self.expert, self.train["text"])

    @property
    def random_pairs(self) -> list[tuple[str, str]]:
        """Words that nothing connects, each once."""
        half = len(self.words) // 2
        return list(zip(self.words[:half], self.words[half:], strict=False))[: self.size.pairs]

    @property
    def cooccurring_pairs(self) -> list[tuple[str, str]]:
        """Two words that a human has put into one sentence."""
        asked = {word.casefold() for words in self.train["keywords"] for word in words}
        unseen = [[word for word in words if word.casefold() not in asked] for words in self.test["keywords"]]
        return [(words[0], words[1]) for words in unseen if len(words) > 1][: self.size.pairs]

    def score_texts(self, texts: Sequence[str], asked: Sequence[Sequence[str]]) -> dict[str, Any]:
        """All that can be said of what was written for words: the share that holds all of them, and how it reads."""
        hits = [all(contains_keyword(text, word) for word in words) for text, words in zip(texts, asked, strict=True)]
        each = [(text, word) for text, words in zip(texts, asked, strict=True) for word in words]
        return {
            "accuracy": round(sum(hits) / len(hits), 4),
            "interval": [round(bound, 4) for bound in wilson(sum(hits), len(hits))],
            "slor": round(nanmean(self.slor(texts)), 4),
            "tokens": round(nanmean([len(text.split()) for text in texts]), 2),
            "distinct_2": round(distinct(texts, 2), 3),
            "twice": round(nanmean([repeats_keyword(text, word) for text, word in each]), 4),
            "places": _places(each),
            "n": len(hits),
            "examples": [[*words, text] for text, words in zip(texts, asked, strict=True)][:30],
        }


def _places(said: Sequence[tuple[str, str]]) -> list[int]:
    """How often a word stands in the first, second, … fifth of its sentence, by its first letter."""
    counts = [0] * PLACES
    for text, word in said:
        if (start := find_keyword(text, word)) is not None:
            counts[PLACES * start // len(text)] += 1
    return counts


def words(size: RealSize) -> Record:
    """One word: steered, made certain, both; and what the words look like in sentences by humans."""
    requests = Requests(size)
    model, asked = load_pretrained(requests.expert), [[word] for word in requests.words[: size.words]]
    several = load_pretrained(requests.expert, multi_keyword=True)
    human = {row["keywords"][0]: row["text"] for row in requests.test}
    kept = [words for words in asked if words[0] in human]

    def write(who: AuxiliaryTunedLM, **options: Any) -> dict[str, Any]:
        return requests.score_texts(write_sentences(who, [words[0] for words in asked], **options), asked)

    return {
        "one": write(model),
        "one_sure": write(model, guarantee=True),
        "one_forced": write(model, weight=0.0, guarantee=True),
        "one_together": write(several),
        "human": requests.score_texts([human[words[0]] for words in kept], kept),
    }


def pairs(size: RealSize, kind: str) -> Record:
    """Two words: the sum of two single answers, the sum with the style counted once, one reading of both."""
    requests = Requests(size)
    asked = getattr(requests, kind)
    single, both = load_pretrained(requests.expert), load_pretrained(requests.expert, multi_keyword=True)
    ways: dict[str, tuple[AuxiliaryTunedLM, Sequence[Keywords], dict[str, Any]]] = {
        "sum": (single, asked, {}),
        "sum_once": (single, [(*words, None) for words in asked], {"weight": ONCE.expand(len(asked), -1)}),
        "joint": (both, asked, {}),
        "joint_sure": (both, asked, {"guarantee": True}),
    }
    return {
        f"{kind}_{name}": requests.score_texts(write_sentences(model, rows, **options), asked)
        for name, (model, rows, options) in ways.items()
    }


def random_pairs(size: RealSize) -> Record:
    """Two words that nothing connects."""
    return pairs(size, "strangers")


def cooccurring_pairs(size: RealSize) -> Record:
    """Two words that a human has put into one sentence."""
    return pairs(size, "companions")


def dial(size: RealSize) -> Record:
    """Other strengths than the one that was trained, up to where the word comes twice; and a dial that opens late."""
    requests = Requests(size)
    model, asked = load_pretrained(requests.expert), [[word] for word in requests.words[-size.dial :]]

    def write(**options: Any) -> dict[str, Any]:
        return requests.score_texts(write_sentences(model, [words[0] for words in asked], **options), asked)

    return {"dial": [{"weight": weight} | write(weight=weight) for weight in DIAL], "late": write(schedule=LATE)}


def lengths(size: RealSize) -> Record:
    """A word and a length: two auxiliaries beside one expert, added, and added with the style counted once."""
    requests = Requests(size)
    model, asked = load_pretrained(requests.expert), [[word] for word in requests.words[-size.dial :]]
    model.add("length", data_dir() / "checkpoints" / SHIPPED_LENGTH)
    found: Record = {"human_lengths": _shares(requests.test["text"])}
    for label in ("short", "medium", "long"):
        summed = write_sentences(model, [(words[0], label) for words in asked], auxiliaries=("keyword", "length"))
        once = write_sentences(
            model, [(words[0], label, None) for words in asked], weight=ONCE.expand(len(asked), -1),
            auxiliaries=("keyword", "length", "length"),
        )  # fmt: skip
        for name, texts in {"sum": summed, "once": once}.items():
            found[f"length_{label}_{name}"] = requests.score_texts(texts, asked) | {"lengths": _shares(texts)}
    return found


def _shares(texts: Sequence[str]) -> dict[str, float]:
    labels = [length_label(text) for text in texts]
    return {label: round(labels.count(label) / len(labels), 4) for label in ("short", "medium", "long")}


TRIALS: dict[str, Callable[[RealSize], Record]] = {
    work.__name__: work for work in (words, random_pairs, cooccurring_pairs, dial, lengths)
}
