"""One classifier on one task: its texts or states, training, evaluation and cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.classification.encoders import cache_states, load_encoder
from auxlib.classification.trainer import (
    Collate,
    FitResult,
    Rows,
    classification_metrics,
    fit,
    labels_of,
    predict_logits,
    states_batch,
    text_batch,
)
from auxlib.classification.ytuning import LOSSES
from auxlib.collator import FeatureRows
from auxlib.data.tasks import label_names
from experiments.flops import ComputeLedger, counted_by_torch
from experiments.records import Setting
from experiments.ytuning.systems import ClassifierSpec

if TYPE_CHECKING:
    from datasets import DatasetDict

BATCH, LEAST_STEPS = 32, 45


class TextRows(torch.utils.data.Dataset):
    """Token ids and labels of texts for a trainable encoder, sorted by length as cached states are."""

    def __init__(self, encoded: Sequence[Sequence[int]], labels: Sequence[int]) -> None:
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        self.encoded, self.labels = [encoded[row] for row in order], [labels[row] for row in order]
        self.lengths = list(map(len, self.encoded))

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"token_ids": self.encoded[row], "label": self.labels[row]}


class TrainingSetup:
    """One classifier with one setting and one seed, on the texts of a task.

    Attributes:
        module: the model that `learn` trains.
        collate: from rows to a batch.
    """

    def __init__(self, system: ClassifierSpec, setting: Setting, texts: DatasetDict, seed: int) -> None:
        self.system, self.setting, self.texts, self.seed = system, setting, texts, seed
        self.encoder = system.encoder(setting)
        torch.manual_seed(seed)
        device = self.encoder.model.device
        self.module: Any = system.build(self.encoder, label_names(texts["train"])).to(device)
        self.collate: Collate = states_batch if system.cached else partial(text_batch, self.encoder)

    def rows(self, part: str) -> FeatureRows | TextRows:
        """Return a part of the task, as cached states or as texts; missing states are computed and cached."""
        if self.system.cached:
            return FeatureRows(cache_states(self.encoder, self.texts[part], progress=False), plain="label")
        return TextRows(self.encoder.encode(self.texts[part][:]), list(self.texts[part]["label"]))

    @cached_property
    def train(self) -> FeatureRows | TextRows:
        """The training texts."""
        return self.rows("train")

    @property
    def epochs(self) -> int:
        """The classifier's epochs; more where few texts would make them less than `LEAST_STEPS` steps."""
        return max(self.system.epochs, -(-LEAST_STEPS * BATCH // len(self.train)))

    def learn(self) -> FitResult:
        """Train with the setting, and keep the weights of the epoch that is best on development texts."""
        loss: Any = LOSSES[self.setting.get("loss", "softmax")]
        train, dev, rate = self.train, self.rows("dev"), self.setting["rate"]
        return fit(self.module, train, dev, self.collate, self.epochs, BATCH, rate, loss, self.seed, progress=False)

    def evaluate(self) -> dict[str, float]:
        """Return figures on the test texts."""
        return self._evaluate(self.rows("test"))

    def accuracy_under_noise(self, noises: Sequence[float], texts: int) -> dict[str, float]:
        """Return accuracy on some test texts, by the strength of noise on the states that the labels attend to."""
        rows = self.rows("test")
        drawn = sorted(random.Random(0).sample(range(len(rows)), min(texts, len(rows))))
        some = torch.utils.data.Subset(rows, drawn)
        return {str(noise): self._evaluate(some, noise)["accuracy"] for noise in noises}

    def _evaluate(self, rows: Rows, noise: float = 0.0) -> dict[str, float]:
        return classification_metrics(
            predict_logits(self.module, rows, self.collate, noise, self.seed), labels_of(rows)
        )

    def cost(self) -> dict[str, float]:
        """Return the operations of a training and of classifying one text, the trainable weights, and training memory.

        One batch of texts of median length is counted; batches hold texts of one length, so its cost per token is that
        of all.
        """
        train, tokens = self.train, sum(self.train.lengths)
        order = sorted(range(len(train)), key=train.lengths.__getitem__)
        rows = [train[row] for row in order[max(0, (len(order) - BATCH) // 2) :][:BATCH]]
        batch = {name: value.to(self.encoder.model.device) for name, value in self.collate(rows).items()}
        labels, module = batch.pop("labels"), self.module.train()
        share = tokens / float(batch["mask"].sum())

        def step() -> Tensor:
            return F.cross_entropy(module(**batch), labels)

        forward = counted_by_torch(lambda: module(**batch))
        stepped, ledger = counted_by_torch(lambda: step().backward()), ComputeLedger.of(module, step, BATCH)
        module.zero_grad()
        reading = self._reading(tokens) if self.system.cached else 0.0
        return {
            "train_flops": stepped * share * self.epochs,
            "read_flops": reading,
            "told_flops": forward / len(labels) + reading / len(train),
            "learning": ledger.learning,
            "encoder": sum(weight.numel() for weight in load_encoder().model.parameters()),
            "memory_bytes": ledger.memory_bytes,
        }

    def _reading(self, tokens: int) -> float:
        """Return the operations of encoding this many tokens once, counted on texts of mean length."""
        ids = torch.ones(8, round(tokens / len(self.train)), dtype=torch.long, device=self.encoder.model.device)
        counted = counted_by_torch(lambda: self.encoder.read(ids, torch.ones_like(ids, dtype=torch.bool)))
        return counted * tokens / ids.numel()
