"""How does the auxiliary take part? It learns from the same sentences, on states that the frozen model left once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from auxlib.features import cache_features, normalisers, read_preamble, read_texts
from auxlib.flops import FLOAT, counted_by_torch, saved_activation_bytes
from auxlib.generation import write_sentences
from auxlib.keywords import Spelling
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import Recipe, load_pretrained, prepare_data, train
from auxlib.training import FeatureCollator, FeatureLoss, mean_nll
from experiments.smollm.prompt import Prompted, ends, unasked
from experiments.smollm.setup import WritingSetup

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 48
READ_AT_ONCE = 1024  # tokens, as in `cache_features`


class AuxiliarySystem:
    """The pair of frozen expert and auxiliary; until it has learned, the one that comes with the repository."""

    def __init__(self, bench: WritingSetup) -> None:
        self.bench, self.model = bench, load_pretrained(bench.expert)

    def learn(self, setting: Mapping[str, float]) -> dict[str, Any]:
        """Train on the bench's sentences, and say what it cost; without a setting, what the shipped one has cost."""
        if not setting:
            receipt = self.model.receipt
            return costs(self.model, self.bench.whole["train"], receipt["recipe"]["epochs"])
        recipe = Recipe(learning_rate=setting["rate"], epochs=setting["epochs"], batch_size=BATCH, seed=self.bench.seed)
        start = perf_counter()
        stuff = prepare_data(recipe, self.bench.expert, progress=False, corpus=self.bench.corpus)
        with TemporaryDirectory() as folder:
            self.model, run = train(stuff, output_dir=folder, progress=False)
        spent = {"train_seconds": round(perf_counter() - start), "steps": run.steps[-1]}
        return costs(self.model, self.bench.corpus["train"], setting["epochs"]) | spent

    def write(self, words: Sequence[str], **generation: Any) -> list[str]:
        """One line for each word."""
        stop = {"eos_token_id": ends(self.bench.expert, self.bench.frame.end_id)}
        return write_sentences(self.model, words, seed=self.bench.seed, **stop, **generation)

    def nll(self, rows: Dataset) -> float:
        """Nats per token of sentences given their headwords."""
        return mean_nll(_loss(self.model), _features(self.model, rows), _collator(self.model))

    def forgetting(self) -> float:
        """By how many nats per token other text, asked for nothing, is read worse than by the frozen model.

        The auxiliary is on, in the frame in which it speaks; where it is off, nothing has changed.
        """
        from datasets import Dataset

        glosses = self.bench.glosses
        rows = Dataset.from_dict({"text": glosses, "keywords": [[""]] * len(glosses)})
        alone = Prompted(self.bench.expert, unasked)
        return self.nll(rows) - alone.nll([""] * len(glosses), [self.bench.ids(gloss) for gloss in glosses])


def costs(model: AuxiliaryTunedLM, sentences: Dataset, epochs: float) -> dict[str, Any]:
    """Operations by torch's counter, weighed on one batch of middling sentences, where padding is little.

    Memory is the larger of two: the frozen model with the logits of the tokens that it reads at once, while the cache
    is filled; or what training needs, the cache of states included.
    """
    lengths = [len(model.template.encode(model.expert_info, text)) for text in sentences["text"]]
    tokens, order = sum(lengths), sorted(range(len(lengths)), key=lengths.__getitem__)
    middle = order[max(0, (len(order) - BATCH) // 2) :][:BATCH]
    loss, rows = _loss(model), _features(model, sentences.select(middle))
    batch = {name: value.to(model.device) for name, value in _collator(model)(list(rows.with_format("numpy"))).items()}
    texts = [list(map(int, ids)) for ids in rows["token_ids"]]
    here, prefix = sum(map(len, texts)), read_preamble(model.expert_info, model.template)

    def read() -> None:
        hidden = read_texts(model.expert_info, prefix, texts, model.template)
        normalisers(model.expert_info, hidden, model.auxiliary.support)

    a_token = counted_by_torch(read) + epochs * counted_by_torch(lambda: loss(**batch)["loss"].backward())
    with saved_activation_bytes(loss) as kept:
        loss(**batch)
    learning = sum(weight.numel() for weight in model.auxiliary.parameters())
    frozen = sum(buffer.nbytes for buffer in model.auxiliary.buffers())
    V, D = model.expert_info.unembedding.shape
    cache = tokens * (2 * D + 2 * FLOAT)  # a kept token is a vector of float16 and two numbers
    reading = FLOAT * model.expert.num_parameters() + 2 * FLOAT * READ_AT_ONCE * V  # logits, and a copy without some
    training = 4 * FLOAT * learning + frozen + sum(kept.values()) + cache
    return {
        "flops": tokens * a_token / here, "learning": learning, "task_bytes": FLOAT * learning,
        "memory_bytes": max(reading, training), "training_bytes": training,
    }  # fmt: skip


def _loss(model: AuxiliaryTunedLM) -> FeatureLoss:
    return FeatureLoss(model.auxiliary, model.continuation_mask)


def _features(model: AuxiliaryTunedLM, rows: Dataset) -> Dataset:
    support = model.auxiliary.support
    return cache_features(
        model.expert_info, rows, model.template, None if support is None else support.cpu(), progress=False
    )


def _collator(model: AuxiliaryTunedLM) -> FeatureCollator:
    """Every sentence with its first keyword."""
    return FeatureCollator(
        model.expert_info.tokenizer, model.template.preamble_ids[-1], condition_dropout=0.0, chooser=_first
    )


def _first(spelled: Sequence[Spelling], draw: random.Random) -> Spelling | None:
    return spelled[0] if spelled else None
