"""Trainers of LoRA and full fine-tuning of the same model, on the same sentences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlib.features import TextTemplate
from experiments.smollm.fine_tuning import collate
from experiments.smollm.prompt import PromptedModel
from experiments.training import quiet_trainer, trainer_arguments

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback


def baseline_trainer(
    system: PromptedModel,
    frame: TextTemplate,
    rows: Dataset,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
    **arguments: Any,
) -> Trainer:
    """Return a `transformers.Trainer` for a prompted model, with the arguments of the comparison with SmolLM2."""
    lengths = [len(frame.encode(system.expert, text)) for text in rows["text"]]
    options = {"num_train_epochs": 1, "save_strategy": "no", "use_cpu": system.model.device.type == "cpu"} | arguments
    return quiet_trainer(
        system.model,
        trainer_arguments(folder, **options),
        train_dataset=rows.add_column("length", lengths),
        data_collator=partial(collate, system, frame, random.Random(0)),
        callbacks=list(callbacks),
    )
