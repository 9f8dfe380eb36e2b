"""The auxiliary as a system of the comparison, trained on cached states of the frozen model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from auxlib.features import cache_features, normalisers, read_preamble, read_texts
from auxlib.generation import write_sentences
from auxlib.keywords import Spelling
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import Recipe, load_pretrained, prepare_data, train
from auxlib.training import FeatureCollator, FeatureLoss, mean_nll
from experiments.flops import FLOAT, counted_by_torch, saved_activation_bytes
from experiments.records import Setting
from experiments.smollm.prompt import PromptedModel, no_request_prompt, stop_ids
from experiments.smollm.setup import WritingSetup

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 48
TOKENS_AT_ONCE = 1024  # that the frozen model reads at once, as in `cache_features`


class AuxiliarySystem:
    """The frozen expert with an auxiliary: the shipped one until `learn` trains another."""

    def __init__(self, setup: WritingSetup) -> None:
        self.setup, self.model = setup, load_pretrained(setup.expert)

    def learn(self, setting: Setting) -> dict[str, Any]:
        """Train on the setup's sentences and return the costs; without a setting, those of the shipped auxiliary."""
        if not setting:
            receipt = self.model.receipt
            return training_costs(self.model, self.setup.whole["train"], receipt["recipe"]["epochs"])
        recipe = Recipe(learning_rate=setting["rate"], epochs=setting["epochs"], batch_size=BATCH, seed=self.setup.seed)
        start = perf_counter()
        data = prepare_data(recipe, self.setup.expert, progress=False, corpus=self.setup.corpus)
        with TemporaryDirectory() as folder:
            self.model, run = train(data, output_dir=folder, progress=False)
        figures = {"train_seconds": round(perf_counter() - start), "steps": run.steps[-1]}
        return training_costs(self.model, self.setup.corpus["train"], setting["epochs"]) | figures

    def write(self, words: Sequence[str], **generation: Any) -> list[str]:
        """Return one line for each word."""
        generation["eos_token_id"] = stop_ids(self.setup.expert, self.setup.frame.end_id)
        return write_sentences(self.model, words, seed=self.setup.seed, **generation)

    def nll(self, rows: Dataset) -> float:
        """Return nats per token of sentences given their headwords."""
        return mean_nll(_loss(self.model), _features(self.model, rows), _collator(self.model))

    def forgetting(self) -> float:
        """Return by how many nats per token other text, without a keyword, scores worse than under the frozen model.

        The auxiliary is active, in its own template; switched off, it changes nothing.
        """
        from datasets import Dataset

        glosses = self.setup.glosses
        rows = Dataset.from_dict({"text": glosses, "keywords": [[""]] * len(glosses)})
        frozen = PromptedModel(self.setup.expert, no_request_prompt)
        return self.nll(rows) - frozen.nll([""] * len(glosses), [self.setup.ids(gloss) for gloss in glosses])


def training_costs(model: AuxiliaryTunedLM, sentences: Dataset, epochs: float) -> dict[str, Any]:
    """Return the costs of a training: operations by torch's counter, trainable weights, and memory.

    Operations are counted on one batch of sentences of median length, which has little padding. Memory is the larger of
    two: the frozen model with the logits of the tokens that it reads at once, while the cache is filled; or what
    training needs, the cache of states included.
    """
    lengths = [len(model.template.encode(model.expert_info, text)) for text in sentences["text"]]
    tokens, order = sum(lengths), sorted(range(len(lengths)), key=lengths.__getitem__)
    middle = order[max(0, (len(order) - BATCH) // 2) :][:BATCH]
    loss, rows = _loss(model), _features(model, sentences.select(middle))
    batch = {name: value.to(model.device) for name, value in _collator(model)(list(rows.with_format("numpy"))).items()}
    texts = [list(map(int, ids)) for ids in rows["token_ids"]]
    counted, prefix = sum(map(len, texts)), read_preamble(model.expert_info, model.template)

    support: Any = model.auxiliary.support

    def read() -> None:
        hidden = read_texts(model.expert_info, prefix, texts, model.template)
        normalisers(model.expert_info, hidden, support)

    per_token = counted_by_torch(read) + epochs * counted_by_torch(lambda: loss(**batch)["loss"].backward())
    with saved_activation_bytes(loss) as kept:
        loss(**batch)
    learning = sum(weight.numel() for weight in model.auxiliary.parameters())
    frozen = sum(buffer.nbytes for buffer in model.auxiliary.buffers())
    V, D = model.expert_info.unembedding.shape
    cache = tokens * (2 * D + 2 * FLOAT)  # a kept token is a vector of float16 and two numbers
    reading = FLOAT * model.expert.num_parameters() + 2 * FLOAT * TOKENS_AT_ONCE * V  # logits, and a masked copy
    training = 4 * FLOAT * learning + frozen + sum(kept.values()) + cache
    return {
        "flops": tokens * per_token / counted,
        "learning": learning,
        "task_bytes": FLOAT * learning,
        "memory_bytes": max(reading, training),
        "training_bytes": training,
    }


def _loss(model: AuxiliaryTunedLM) -> FeatureLoss:
    mask: Any = model.continuation_mask
    return FeatureLoss(model.auxiliary, mask)


def _features(model: AuxiliaryTunedLM, rows: Dataset) -> Dataset:
    support: Any = model.auxiliary.support
    return cache_features(
        model.expert_info, rows, model.template, None if support is None else support.cpu(), progress=False
    )


def _collator(model: AuxiliaryTunedLM) -> FeatureCollator:
    """Return a collator that takes every sentence's first keyword."""
    return FeatureCollator(
        model.expert_info.tokenizer, model.template.preamble_ids[-1], condition_dropout=0.0, chooser=_first
    )


def _first(spelled: Sequence[Spelling], rng: random.Random) -> Spelling | None:
    return spelled[0] if spelled else None
