"""The common setup of all systems of one seed: sentences to learn from, held-out words, held-out sentences, a judge."""

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
from experiments.metrics import distinct, nanmean
from experiments.smollm.headline import held_out_words
from experiments.smollm.judge import TrigramJudge

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class WritingSize:
    """The size of a trial.

    Attributes:
        train, dev: sentences to learn from and to choose by.
        questions: held-out words to write for.
        scored: held-out sentences to score.
        glosses: definitions, on which forgetting is measured.
    """

    train: int = 1000
    dev: int = 100
    questions: int = 300
    scored: int = 300
    glosses: int = 200


class WritingSetup:
    """Expert, corpus, held-out words and judge of one seed.

    Attributes:
        whole: the corpus; `corpus` is the part that this trial trains on and chooses by.
        test: held-out sentences, each with its headword as the only keyword.
        words: held-out words; no two seeds share one.
    """

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
        self.words = held_out[seed * size.questions :][: size.questions]

    def _with_headword(self, part: str, n: int) -> Dataset:
        """Return n sentences of a part that hold a headword, with it as their only keyword."""
        rows = self.whole[part].filter(lambda row: row["has_headword"]).shuffle(seed=self.seed).select(range(n))
        return rows.map(lambda row: {"keywords": row["keywords"][:1]})

    def ids(self, text: str) -> list[int]:
        """Return a text's token ids with its end token."""
        return self.frame.encode(self.expert, text)

    @cached_property
    def judge(self) -> TrigramJudge:
        """A trigram model of the training sentences that no system of this trial learns from.

        The shipped auxiliary was trained on these sentences too: its SLOR is not comparable.
        """
        others = self.order.select(range(self.size.train, len(self.order)))["text"]
        return TrigramJudge([self.ids(text) for text in others], self.expert.unembedding.shape[0])

    @cached_property
    def glosses(self) -> list[str]:
        """Definitions of the same dictionary: text of another kind, on which no system trains."""
        return wordnet_glosses(self.size.glosses)

    def score_texts(self, written: Sequence[str], words: Sequence[str]) -> dict[str, float]:
        """Return control, fluency and diversity of texts for words; an empty text is a miss and has no SLOR."""
        ids, trained = [self.ids(text)[:-1] for text in written], set(self.corpus["train"]["text"])
        return {
            "hits": sum(map(contains_keyword, written, words)),
            "n": len(words),
            "slor": round(nanmean([self.judge.slor(tokens) for tokens in ids if tokens]), 4),
            "distinct_2": round(distinct(written, 2), 3),
            "tokens": round(sum(map(len, ids)) / len(ids), 2),
            "empty": written.count(""),
            "recited": sum(text in trained for text in written),
        }
