"""Trainers of baselines: the `transformers.Trainer` and its arguments, shared by every comparison with SmolLM2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

BATCH = 16  # sentences a step


def trainer_arguments(folder: Path | str, **arguments: Any) -> TrainingArguments:
    """Return the arguments that all baselines share, with those of one caller added.

    AdamW with β₂ = 0.98, a cosine schedule with a tenth of the steps as warm-up, batches of sentences of one length.
    """
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        adam_beta2=0.98,
        weight_decay=0.01,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        **arguments,
    )


def quiet_trainer(model: nn.Module, arguments: TrainingArguments, **options: Any) -> Trainer:
    """Return a `transformers.Trainer` that prints nothing."""
    from transformers import PrinterCallback, Trainer

    trainer = Trainer(model, arguments, **options)
    trainer.remove_callback(PrinterCallback)  # without a progress bar it prints every log line instead
    return trainer
