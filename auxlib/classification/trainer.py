"""How is anything that tells texts apart trained and judged? One way for all, so that only the systems differ.

A system is a module that maps a batch to scores ``[B, K]``. What it reads is up to its collator: states that were kept
on disk, or the texts themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import Encoder, as_batch
from auxlib.collator import padded
from auxlib.errors import TrainingError
from auxlib.frozen import best_dtype

if TYPE_CHECKING:
    from transformers import Trainer

Rows = torch.utils.data.Dataset
Batch = dict[str, Tensor]
Collate = Callable[[Sequence[Mapping[str, Any]]], Batch]
Loss = Callable[[Tensor, Tensor], Tensor]


def states_batch(rows: Sequence[Mapping[str, Any]]) -> Batch:
    """Rows of ``cache_states``: ``hidden [B, T, D]``, ``mask [B, T]``, ``labels [B]``."""
    lengths = torch.tensor([len(row["token_ids"]) for row in rows])
    hidden = padded([np.asarray(row["hidden"]).reshape(len(row["token_ids"]), -1) for row in rows])
    mask = torch.arange(hidden.shape[1]) < lengths.unsqueeze(1)
    return {"hidden": hidden, "mask": mask, "labels": torch.tensor([row["label"] for row in rows])}


def text_batch(encoder: Encoder, rows: Sequence[Mapping[str, Any]]) -> Batch:
    """The same rows for whoever reads the texts itself: ``input_ids [B, T]``, ``mask``, ``labels``."""
    ids, mask = as_batch(encoder, [row["token_ids"] for row in rows])
    return {"input_ids": ids, "mask": mask, "labels": torch.tensor([row["label"] for row in rows])}


@dataclass(frozen=True)
class FitResult:
    """What a training left beside the trained weights.

    Attributes:
        dev: accuracy on the dev rows after each epoch; the weights are those of the best one.
        losses: mean training loss since the one before.
        steps, seconds: of the whole training.
    """

    dev: list[float]
    losses: list[float]
    steps: int
    seconds: float

    @property
    def best_epoch(self) -> int:
        """Counted from one; the first of equally good ones."""
        return 1 + self.dev.index(max(self.dev))


def fit(
    system: nn.Module,
    train: Rows,
    dev: Rows,
    collate: Collate,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
    progress: bool = True,
) -> FitResult:
    """Train in place by `transformers.Trainer` (AdamW, warm-up, cosine to zero) and keep the epoch that is best on dev.

    Raises:
        TrainingError: there is nothing to learn from, or nothing to choose by.
    """
    if not len(train) or not len(dev):
        raise TrainingError(f"{len(train)} texts to learn from and {len(dev)} to choose by: both are needed.")
    start, learner = perf_counter(), _Learner(system, loss)
    with TemporaryDirectory() as folder:
        arguments = _arguments(folder, epochs, batch_size, learning_rate, seed, progress)
        trainer = _trainer(learner, train, dev, collate, arguments)
        trainer.train()
    log = trainer.state.log_history
    dev, losses = ([entry[key] for entry in log if key in entry] for key in ("eval_accuracy", "loss"))
    return FitResult(dev, losses, trainer.state.global_step, perf_counter() - start)


class _Learner(nn.Module):
    """What a trainer wants: a module that takes labels too and gives a loss."""

    accepts_loss_kwargs = False

    def __init__(self, system: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.system, self.loss = system, loss

    def forward(self, labels: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        scores = self.system(**batch).float()
        return {"loss": self.loss(scores, labels), "logits": scores}


def _trainer(learner: nn.Module, train: Rows, dev: Rows, collate: Collate, arguments: Any) -> Trainer:
    from transformers import PrinterCallback, Trainer
    from transformers.trainer_pt_utils import LengthGroupedSampler

    trainer = Trainer(
        learner, arguments, data_collator=collate, train_dataset=train, eval_dataset=dev,
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )  # fmt: skip
    trainer._get_train_sampler = lambda *_: LengthGroupedSampler(arguments.train_batch_size, lengths=train.lengths)
    trainer.remove_callback(PrinterCallback)  # without a bar it prints every log line instead
    return trainer


def _arguments(folder: str, epochs: int, batch_size: int, rate: float, seed: int, progress: bool) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=batch_size, learning_rate=rate,
        per_device_eval_batch_size=128, lr_scheduler_type="cosine", warmup_steps=0.1, adam_beta2=0.98,
        weight_decay=0.01, max_grad_norm=1.0, eval_strategy="epoch", save_strategy="best", save_only_model=True,
        load_best_model_at_end=True, metric_for_best_model="eval_accuracy", greater_is_better=True,
        logging_strategy="epoch", remove_unused_columns=False, label_names=["labels"], report_to="none",
        disable_tqdm=not progress, seed=seed, use_cpu=not torch.cuda.is_available(),
        bf16=best_dtype("cuda" if torch.cuda.is_available() else "cpu") == torch.bfloat16,
    )  # fmt: skip


@torch.inference_mode()
def predict_logits(system: nn.Module, rows: Rows, collate: Collate, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Scores ``[N, K]`` for all rows, in their order.

    Args:
        noise: standard deviation of Gaussian noise on the states, in units of the states' own. Who reads the texts
            itself gives its ``states`` first.
    """
    system.eval()
    draw, found = torch.Generator().manual_seed(seed), []
    device = next((weight.device for weight in system.parameters()), torch.device("cpu"))
    for start in range(0, len(rows), 128):
        batch = collate([rows[i] for i in range(start, min(start + 128, len(rows)))])
        batch = {name: value.to(device) for name, value in batch.items() if name != "labels"}
        if noise:
            hidden = (batch["hidden"] if "hidden" in batch else system.states(**batch)).float()
            spread = hidden[batch["mask"]].std()
            noisy = hidden + noise * spread * torch.randn(hidden.shape, generator=draw).to(hidden.device)
            batch = {"hidden": noisy, "mask": batch["mask"]}
        found.append(system(**batch).float().cpu())
    return torch.cat(found)


def labels_of(rows: Rows) -> list[int]:
    """The right answers, in the order of the rows."""
    return [rows[i]["label"] for i in range(len(rows))]


def classification_metrics(scores: Tensor, labels: Sequence[int]) -> dict[str, float]:
    """Accuracy, and F1 averaged over all labels, each of which counts the same."""
    said, true = scores.argmax(-1), torch.tensor(labels)
    both = torch.zeros(scores.shape[1], scores.shape[1])
    both.index_put_((true, said), torch.ones(len(true)), accumulate=True)
    hits = both.diag()
    f1 = 2 * hits / (both.sum(0) + both.sum(1)).clamp(min=1)
    return {"accuracy": float(hits.sum() / len(true)), "macro_f1": float(f1[both.sum(1) > 0].mean())}
