"""How does the auxiliary take part? It learns from the same sentences, on states that the frozen model left once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from auxlib.features import cache_features, normalisers, read_preamble, read_texts
from auxlib.keywords import Spelling
from auxlib.ledger import FLOAT, counted_by_torch, keeping
from auxlib.recipes import Recipe, material, shipped, train, write_sentences
from auxlib.rivals.bench import Bench
from auxlib.rivals.prompt import Prompted
from auxlib.rivals.tune import Told
from auxlib.training import FeatureCollator, FeatureLoss, mean_nll
from auxlib.tuned import AuxiliaryTunedLM

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 48


class Ours:
    """The pair of frozen expert and auxiliary; until it has learned, the one that comes with the repository."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.model = bench, shipped(bench.expert)

    def learn(self, setting: Mapping[str, float]) -> dict[str, Any]:
        """Train on the bench's sentences, and say what it cost; without a setting, what the shipped one has cost."""
        if not setting:
            receipt = self.model.receipt
            return costs(self.model, self.bench.whole["train"], receipt["recipe"]["epochs"])
        recipe = Recipe(learning_rate=setting["rate"], epochs=setting["epochs"], batch_size=BATCH, seed=self.bench.seed)
        start = perf_counter()
        stuff = material(recipe, self.bench.expert, progress=False, corpus=self.bench.corpus)
        with TemporaryDirectory() as folder:
            self.model, run = train(stuff, output_dir=folder, progress=False)
        spent = {"train_seconds": round(perf_counter() - start), "steps": run.steps[-1]}
        return costs(self.model, self.bench.corpus["train"], setting["epochs"]) | spent

    def write(self, words: Sequence[str]) -> list[str]:
        """One line for each word."""
        return write_sentences(self.model, words, seed=self.bench.seed)

    def nll(self, rows: Dataset) -> float:
        """Nats per token of sentences given their headwords."""
        return mean_nll(_loss(self.model), _features(self.model, rows), _collator(self.model))

    def plain_nll(self) -> float:
        """Nats per token of other text, asked for nothing: without its auxiliary the expert is what it was."""
        return Told(self.bench, Prompted(self.bench.expert)).plain_nll()


def costs(model: AuxiliaryTunedLM, sentences: Dataset, epochs: float) -> dict[str, Any]:
    """Operations by torch's counter, weighed on one batch of middling sentences; memory with the cache of states."""
    tokens = sum(len(model.frame.encode(model.expert_info, text)) for text in sentences["text"])
    loss, rows = _loss(model), _features(model, sentences.select(range(min(BATCH, len(sentences)))))
    batch = _collator(model)(list(rows.with_format("numpy")))
    texts = [list(map(int, ids)) for ids in rows["token_ids"]]
    here, prefix = sum(map(len, texts)), read_preamble(model.expert_info, model.frame)

    def read() -> None:
        hidden = read_texts(model.expert_info, prefix, texts, model.frame)
        normalisers(model.expert_info, hidden, model.auxiliary.support)

    a_token = counted_by_torch(read) + epochs * counted_by_torch(lambda: loss(**batch)["loss"].backward())
    with keeping(loss) as kept:
        loss(**batch)
    learning = sum(weight.numel() for weight in model.auxiliary.parameters())
    frozen = sum(buffer.nbytes for buffer in model.auxiliary.buffers())
    # a kept token is a vector of float16 and two numbers
    cache = tokens * (2 * model.expert_info.unembedding.shape[1] + 2 * FLOAT)
    return {
        "flops": tokens * a_token / here, "learning": learning, "task_bytes": FLOAT * learning,
        "memory_bytes": 4 * FLOAT * learning + frozen + sum(kept.values()) + cache,
    }  # fmt: skip


def _loss(model: AuxiliaryTunedLM) -> FeatureLoss:
    return FeatureLoss(model.auxiliary, model.continues)


def _features(model: AuxiliaryTunedLM, rows: Dataset) -> Dataset:
    return cache_features(model.expert_info, rows, model.frame, model.auxiliary.support, progress=False)


def _collator(model: AuxiliaryTunedLM) -> FeatureCollator:
    """Every sentence with its first keyword."""
    return FeatureCollator(model.expert_info.tokenizer, model.frame.preamble_ids[-1], drop=0.0, chooser=_first)


def _first(spelled: Sequence[Spelling], draw: random.Random) -> Spelling | None:
    return spelled[0] if spelled else None
