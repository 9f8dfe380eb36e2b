"""Who is raced? LoRA and full fine-tuning of the same model, by the same trainer, on the same sentences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlib.features import TextTemplate
from experiments.smollm.fine_tuning import collate
from experiments.smollm.prompt import Prompted

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback

BATCH = 16


def baseline_trainer(
    system: Prompted,
    frame: TextTemplate,
    rows: Dataset,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
    **arguments: Any,
) -> Trainer:
    """A `transformers.Trainer` for one who is told the keyword in words, set as in the comparison of the rivals."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    lengths = [len(frame.encode(system.expert, text)) for text in rows["text"]]
    settings = {
        "output_dir": str(folder), "num_train_epochs": 1, "per_device_train_batch_size": BATCH,
        "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "adam_beta2": 0.98, "weight_decay": 0.01,
        "max_grad_norm": 1.0, "save_strategy": "no", "train_sampling_strategy": "group_by_length",
        "length_column_name": "length", "remove_unused_columns": False, "report_to": "none", "disable_tqdm": True,
        "use_cpu": system.model.device.type == "cpu",
    }  # fmt: skip
    trainer = Trainer(
        system.model, TrainingArguments(**settings | arguments), train_dataset=rows.add_column("length", lengths),
        data_collator=partial(collate, system, frame, random.Random(0)), callbacks=list(callbacks),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer
