"""Time of one epoch: the auxiliary from the cache and with filling it, LoRA, full fine-tuning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from auxlib.recipes import Recipe, TrainingData, prepare_data, train
from experiments.benchmarking import median_ratio, paired_seconds
from experiments.smollm.fine_tuning import fine_tuned, lora
from experiments.speed.baselines import baseline_trainer

SENTENCES = 480
LORA_RATE, LORA_EPOCHS, FULL_RATE = 1e-3, 2, 1e-4  # as chosen in the comparison with SmolLM2


def epoch_figures(rounds: int = 3, sentences: int = SENTENCES) -> dict[str, Any]:
    """Return seconds of one epoch over the same sentences, timed in turn.

    Each system has its own batch size; what the trainer does before its first batch counts.
    """
    data = prepare_data(Recipe(sentences=sentences), progress=False)
    rows = data.corpus["train"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        low_rank, full = (
            baseline_trainer(build(data.expert), data.template, rows, folder, learning_rate=rate)
            for build, rate in ((lora, LORA_RATE), (fine_tuned, FULL_RATE))
        )
        calls: dict[str, Callable[[], Any]] = {
            "auxiliary": lambda: cached_epoch(data, folder),
            "auxiliary, with reading": lambda: first_epoch(data, folder),
            "LoRA": low_rank.train,
            "full fine-tuning": full.train,
        }
        seconds = dict(zip(calls, paired_seconds(*calls.values(), rounds=rounds), strict=True))
    return {
        "epoch_ratio_lora": median_ratio(seconds["auxiliary"], seconds["LoRA"]),
        "first_epoch_ratio_lora": median_ratio(seconds["auxiliary, with reading"], seconds["LoRA"]),
        "epoch_ratio_full": median_ratio(seconds["auxiliary"], seconds["full fine-tuning"]),
        "epoch_seconds": {name: median(times) for name, times in seconds.items()},
        "epoch_sentences": len(rows),
    }


def cached_epoch(data: TrainingData, folder: Path) -> None:
    """Train a new auxiliary for one epoch on cached features."""
    train(replace(data, recipe=replace(data.recipe, epochs=1)), output_dir=folder, progress=False, save_strategy="no")


def first_epoch(data: TrainingData, folder: Path) -> None:
    """Train a new auxiliary for one epoch, including the frozen model's forward pass over all sentences."""
    cached_epoch(drop_cache(data)(), folder)


def drop_cache(data: TrainingData) -> Callable[[], TrainingData]:
    """Delete the cached features, and return the call that computes them again."""
    for part in (data.train, data.dev):
        shutil.rmtree(Path(part.cache_files[0]["filename"]).parent, ignore_errors=True)
    return lambda: prepare_data(data.recipe, data.expert, progress=False, corpus=data.corpus)
