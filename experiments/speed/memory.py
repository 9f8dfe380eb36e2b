"""Peak memory of training, each in a process of its own: a process never lowers its peak."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from auxlib.features import TextTemplate
from auxlib.frozen import Expert, load_expert
from auxlib.recipes import Recipe, prepare_data
from experiments.benchmarking import peak_memory_mb
from experiments.smollm.fine_tuning import fine_tuned, lora
from experiments.smollm.prompt import PromptedModel
from experiments.speed.baselines import baseline_trainer
from experiments.speed.train import SENTENCES, cached_epoch


def memory_figures(sentences: int = SENTENCES) -> dict[str, float | dict[str, float]]:
    """Return peak memory of whole processes, and ratios of what exceeds that of an interpreter with its libraries.

    Over the sentences whose epochs are timed: the longest sentences make the peak, and fewer sentences have fewer.
    """
    recipe = Recipe(sentences=sentences)
    prepare_data(recipe, progress=False)  # fills the cache before anything is measured
    works = {"nothing": _nothing, "auxiliary": _auxiliary, "LoRA": _lora, "full": _full}
    peaks = {name: peak_of(work, recipe) for name, work in works.items()}
    above = {name: peak - peaks["nothing"] for name, peak in peaks.items()}
    return {
        "memory_ratio_lora": above["auxiliary"] / above["LoRA"],
        "memory_ratio_full": above["auxiliary"] / above["full"],
        "memory_ratio_lora_whole": peaks["auxiliary"] / peaks["LoRA"],
        "memory_mb": peaks,
    }


def peak_of(work: Callable[[Recipe], None], recipe: Recipe) -> float:
    """Return the peak memory, in MiB, of a fresh process that does this work."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work, recipe).result()


def _measured(work: Callable[[Recipe], None], recipe: Recipe) -> float:
    work(recipe)
    return peak_memory_mb()


def _nothing(recipe: Recipe) -> None:
    """Import the libraries that all trainings use."""
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401


def _auxiliary(recipe: Recipe) -> None:
    with TemporaryDirectory() as folder:
        cached_epoch(prepare_data(recipe, progress=False), Path(folder))


def _lora(recipe: Recipe) -> None:
    _train_baseline(recipe, lora)


def _full(recipe: Recipe) -> None:
    _train_baseline(recipe, fine_tuned)


def _train_baseline(recipe: Recipe, build: Callable[[Expert], PromptedModel]) -> None:
    """Train a baseline for one epoch."""
    from auxlib.data.corpora import load_corpus

    system = build(load_expert(recipe.expert))
    # the baseline has its own copy of the model
    system.expert = replace(system.expert, model=None)  # type: ignore[arg-type]
    rows = load_corpus(recipe.corpus, seed=recipe.seed, limit=recipe.sentences)["train"]
    with TemporaryDirectory() as folder:
        baseline_trainer(system, TextTemplate.of(system.expert), rows, Path(folder)).train()
