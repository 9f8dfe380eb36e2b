"""Training and evaluation of text classifiers, the same for all of them.

A classifier is a module that maps a batch to class logits ``[B, K]``. Its collator decides what it reads: cached
states of a frozen encoder, or token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import Encoder, as_batch, length_mask
from auxlib.collator import padded
from auxlib.errors import TrainingError
from auxlib.frozen import best_device, best_dtype

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

Batch = dict[str, Tensor]
Collate = Callable[[Sequence[Mapping[str, Any]]], Batch]
Loss = Callable[[Tensor, Tensor], Tensor]


class Rows(Protocol):
    """Rows with ``token_ids`` and ``label``, by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Mapping[str, Any]: ...


class TrainRows(Rows, Protocol):
    """Rows to train on, with the number of tokens of each."""

    @property
    def lengths(self) -> Sequence[int]: ...


def states_batch(rows: Sequence[Mapping[str, Any]]) -> Batch:
    """Collate rows of ``cache_states``: ``hidden [B, T, D]``, ``mask [B, T]``, ``labels [B]``."""
    tokens = [row["token_ids"] for row in rows]
    hidden = padded([np.asarray(row["hidden"]).reshape(len(row["token_ids"]), -1) for row in rows])
    return {"hidden": hidden, "mask": length_mask(tokens), "labels": torch.tensor([row["label"] for row in rows])}


def text_batch(encoder: Encoder, rows: Sequence[Mapping[str, Any]]) -> Batch:
    """Collate the same rows as token ids: ``input_ids [B, T]``, ``mask [B, T]``, ``labels [B]``."""
    ids, mask = as_batch(encoder, [row["token_ids"] for row in rows])
    return {"input_ids": ids, "mask": mask, "labels": torch.tensor([row["label"] for row in rows])}


@dataclass(frozen=True)
class FitResult:
    """Metrics of a training run.

    Attributes:
        dev: accuracy on the development rows after each epoch; the model keeps the weights of the best epoch.
        losses: mean training loss of each epoch.
        steps, seconds: of the whole run.
    """

    dev: list[float]
    losses: list[float]
    steps: int
    seconds: float

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch, from 1; the first one in a tie."""
        return 1 + self.dev.index(max(self.dev))


def fit(
    system: nn.Module,
    train: TrainRows,
    dev: Rows,
    collate: Collate,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
    progress: bool = True,
) -> FitResult:
    """Train in place with `transformers.Trainer` (AdamW, warm-up, cosine decay); keep the best epoch on ``dev``.

    Raises:
        TrainingError: there are no training or no development rows.
    """
    if not len(train) or not len(dev):
        raise TrainingError(f"{len(train)} texts to learn from and {len(dev)} to choose by: both are needed.")
    start, model = perf_counter(), _WithLoss(system, loss)
    with TemporaryDirectory() as folder:
        arguments = training_args(
            folder,
            "eval_accuracy",
            seed,
            progress,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=0.1,
            adam_beta2=0.98,
            weight_decay=0.01,
            eval_strategy="epoch",
            logging_strategy="epoch",
            bf16=best_dtype(best_device()) == torch.bfloat16,
        )
        trainer = _length_grouped_trainer(model, train, dev, collate, arguments)
        trainer.train()
    log = trainer.state.log_history
    accuracies, losses = ([entry[key] for entry in log if key in entry] for key in ("eval_accuracy", "loss"))
    return FitResult(accuracies, losses, trainer.state.global_step, perf_counter() - start)


class _WithLoss(nn.Module):
    """A classifier with the forward signature that `Trainer` expects: labels in, loss and logits out."""

    accepts_loss_kwargs = False

    def __init__(self, system: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.system, self.loss = system, loss

    def forward(self, labels: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        logits = self.system(**batch).float()
        return {"loss": self.loss(logits, labels), "logits": logits}


def _length_grouped_trainer(
    model: nn.Module, train: TrainRows, dev: Rows, collate: Collate, arguments: TrainingArguments
) -> Trainer:
    from transformers import PrinterCallback, Trainer
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class LengthGroupedTrainer(Trainer):
        def _get_train_sampler(self, *_: Any) -> LengthGroupedSampler:
            return LengthGroupedSampler(arguments.train_batch_size, lengths=list(train.lengths))

    def accuracy(output: Any) -> dict[str, float]:
        return {"accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())}

    trainer = LengthGroupedTrainer(
        model, arguments, data_collator=collate, train_dataset=train, eval_dataset=dev, compute_metrics=accuracy
    )
    trainer.remove_callback(PrinterCallback)  # without a progress bar it prints every log line
    return trainer


def training_args(folder: str, metric: str | None, seed: int, progress: bool, **settings: Any) -> TrainingArguments:
    """Return `TrainingArguments` that keep the weights with the best ``metric``; None keeps the last weights."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder,
        save_strategy="best" if metric else "no",
        save_only_model=True,
        load_best_model_at_end=metric is not None,
        metric_for_best_model=metric,
        greater_is_better=True,
        per_device_eval_batch_size=128,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=not progress,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        **settings,
    )


@torch.inference_mode()
def predict_logits(system: nn.Module, rows: Rows, collate: Collate, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Return class logits ``[N, K]`` for all rows, in their order.

    Args:
        noise: standard deviation of Gaussian noise on the states, in units of the states' own. A classifier that reads
            token ids must have a method ``states``, and a ``forward`` that accepts ``hidden`` as well.
        seed: of the noise.
    """
    system.eval()
    rng, logits = torch.Generator().manual_seed(seed), []
    device = next((weight.device for weight in system.parameters()), torch.device("cpu"))
    for start in range(0, len(rows), 128):
        batch = collate([rows[i] for i in range(start, min(start + 128, len(rows)))])
        batch = {name: value.to(device) for name, value in batch.items() if name != "labels"}
        if noise:
            hidden = (batch["hidden"] if "hidden" in batch else cast(Any, system).states(**batch)).float()
            spread = hidden[batch["mask"]].std()
            noisy = hidden + noise * spread * torch.randn(hidden.shape, generator=rng).to(hidden.device)
            batch = {"hidden": noisy, "mask": batch["mask"]}
        logits.append(system(**batch).float().cpu())
    return torch.cat(logits)


def labels_of(rows: Rows) -> list[int]:
    """Return the labels, in the order of the rows."""
    return [rows[i]["label"] for i in range(len(rows))]


def classification_metrics(scores: Tensor, labels: Sequence[int]) -> dict[str, float]:
    """Return accuracy and macro-F1 (over labels that occur) of scores ``[N, K]``."""
    predicted, true = scores.argmax(-1), torch.tensor(labels)
    confusion = torch.zeros(scores.shape[1], scores.shape[1])
    confusion.index_put_((true, predicted), torch.ones(len(true)), accumulate=True)
    hits = confusion.diag()
    f1 = 2 * hits / (confusion.sum(0) + confusion.sum(1)).clamp(min=1)
    return {"accuracy": float(hits.sum() / len(true)), "macro_f1": float(f1[confusion.sum(1) > 0].mean())}
