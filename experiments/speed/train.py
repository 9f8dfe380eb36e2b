"""What does an epoch cost? The auxiliary's, from the cache and with the reading that fills it, beside its rivals'."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from auxlib.benchmarking import median_ratio, paired_seconds
from auxlib.recipes import Recipe, TrainingData, prepare_data, train
from experiments.smollm.fine_tuning import all_weights, lora
from experiments.speed.baselines import baseline_trainer

SENTENCES = 480
LORA_RATE, LORA_EPOCHS, FULL_RATE = 1e-3, 2, 1e-4  # of the comparison of the rivals


def epoch_figures(rounds: int = 3, sentences: int = SENTENCES) -> dict[str, Any]:
    """Seconds of one epoch over the same sentences, in turn: ours from the cache, ours with reading, LoRA, all weights.

    Each has the batch that suits it; what the trainer does before its first batch counts.
    """
    stuff = prepare_data(Recipe(sentences=sentences), progress=False)
    rows = stuff.corpus["train"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        low_rank, full = (
            baseline_trainer(build(stuff.expert), stuff.template, rows, folder, learning_rate=rate)
            for build, rate in ((lora, LORA_RATE), (all_weights, FULL_RATE))
        )
        calls = {
            "auxiliary": lambda: cached_epoch(stuff, folder),
            "auxiliary, with reading": lambda: first_epoch(stuff, folder),
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


def cached_epoch(stuff: TrainingData, folder: Path) -> None:
    """One epoch of a new auxiliary on features that are there."""
    train(replace(stuff, recipe=replace(stuff.recipe, epochs=1)), output_dir=folder, progress=False, save_strategy="no")


def first_epoch(stuff: TrainingData, folder: Path) -> None:
    """The same, after the frozen model has read the sentences."""
    cached_epoch(unread(stuff)(), folder)


def unread(stuff: TrainingData) -> Callable[[], TrainingData]:
    """Throw away what the frozen model has left of its reading; returns what will have to read all again."""
    for part in (stuff.train, stuff.dev):
        shutil.rmtree(Path(part.cache_files[0]["filename"]).parent, ignore_errors=True)
    return lambda: prepare_data(stuff.recipe, stuff.expert, progress=False, corpus=stuff.corpus)
