"""What does every system of one seed find on the table? The same sentences to learn from, the same held-out words to
be asked for, the same held-out sentences to be scored on, and a judge who has read none of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from auxlib.data.corpora import load_corpus, wordnet_glosses
from auxlib.features import TextTemplate
from auxlib.frozen import load_expert
from auxlib.keywords import contains_keyword
from auxlib.metrics import distinct, nanmean
from experiments.smollm.headline import held_out_words
from experiments.smollm.judge import TrigramJudge

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class WritingSize:
    """How much there is: sentences to learn from and to choose by, words to ask for, sentences and glosses to score."""

    train: int = 1000
    dev: int = 100
    questions: int = 300
    scored: int = 300
    glosses: int = 200


class WritingSetup:
    """What every system of one seed finds on the table."""

    def __init__(self, size: WritingSize, seed: int) -> None:
        from datasets import DatasetDict

        self.size, self.seed, self.expert = size, seed, load_expert(dtype=torch.float32)
        self.frame = TextTemplate.of(self.expert)
        self.whole = load_corpus()
        self.order = self.whole["train"].shuffle(seed=seed)
        train = self.order.select(range(size.train))
        self.corpus = DatasetDict({"train": train, "dev": self._with_headword("dev", size.dev)})
        self.test = self._with_headword("test", size.scored)
        held_out = held_out_words(self.whole)
        random.Random(0).shuffle(held_out)
        self.words = held_out[seed * size.questions :][: size.questions]  # no two seeds ask for the same word

    def _with_headword(self, part: str, n: int) -> Dataset:
        """n sentences of a part that hold a headword, which then is their only keyword."""
        rows = self.whole[part].filter(lambda row: row["has_headword"]).shuffle(seed=self.seed).select(range(n))
        return rows.map(lambda row: {"keywords": row["keywords"][:1]})

    def ids(self, text: str) -> list[int]:
        """A text's tokens and its end."""
        return self.frame.encode(self.expert, text)

    @cached_property
    def judge(self) -> TrigramJudge:
        """Has read the sentences that nobody trains on here (the shipped auxiliary did), and none of dev or test."""
        unread = self.order.select(range(self.size.train, len(self.order)))["text"]
        return TrigramJudge([self.ids(text) for text in unread], self.expert.unembedding.shape[0])

    @cached_property
    def glosses(self) -> list[str]:
        """Definitions from the same dictionary: text of another kind, which nobody here trains on."""
        return wordnet_glosses(self.size.glosses)

    def score_texts(self, written: Sequence[str], words: Sequence[str]) -> dict[str, float]:
        """All that can be said of what was written for words; an empty line counts as a miss, but has no SLOR."""
        ids, read = [self.ids(text)[:-1] for text in written], set(self.corpus["train"]["text"])
        return {
            "hits": sum(map(contains_keyword, written, words)),
            "n": len(words),
            "slor": round(nanmean([self.judge.slor(tokens) for tokens in ids if tokens]), 4),
            "distinct_2": round(distinct(written, 2), 3),
            "tokens": round(sum(map(len, ids)) / len(ids), 2),
            "empty": written.count(""),
            "recited": sum(text in read for text in written),
        }
