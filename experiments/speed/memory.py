"""How much memory does training need? Each in a process of its own, since a process never gives back its peak."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from auxlib.benchmarking import peak_memory_mb
from auxlib.features import TextTemplate
from auxlib.recipes import Recipe, prepare_data
from experiments.smollm.fine_tuning import all_weights, lora
from experiments.speed.baselines import baseline_trainer
from experiments.speed.train import SENTENCES, cached_epoch


def memory_figures(sentences: int = SENTENCES) -> dict[str, float | dict[str, float]]:
    """Peak megabytes of whole processes, and the ratios of what comes on top of an interpreter with its libraries.

    Over the sentences whose epochs are timed: fewer would have fewer long ones, and a peak is made by the longest.
    """
    recipe = Recipe(sentences=sentences)
    prepare_data(recipe, progress=False)  # the cache is filled before, by this process
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
    """The most megabytes that a fresh process held while it did this."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work, recipe).result()


def _measured(work: Callable[[Recipe], None], recipe: Recipe) -> float:
    work(recipe)
    return peak_memory_mb()


def _nothing(recipe: Recipe) -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401


def _auxiliary(recipe: Recipe) -> None:
    with TemporaryDirectory() as folder:
        cached_epoch(prepare_data(recipe, progress=False), Path(folder))


def _lora(recipe: Recipe) -> None:
    _peer(recipe, lora)


def _full(recipe: Recipe) -> None:
    _peer(recipe, all_weights)


def _peer(recipe: Recipe, build: Callable) -> None:
    from auxlib.data.corpora import load_corpus
    from auxlib.frozen import load_expert

    system = build(load_expert(recipe.expert))
    system.expert = replace(system.expert, model=None)  # it has a copy of its own, and nobody needs two
    rows = load_corpus(recipe.corpus, seed=recipe.seed, limit=recipe.sentences)["train"]
    with TemporaryDirectory() as folder:
        baseline_trainer(system, TextTemplate.of(system.expert), rows, Path(folder)).train()
