"""The headline figures of an auxiliary beside SmolLM2: control, fluency, cost, and the receipt beside them.

Test words are headwords of the test split and never a training condition. Sampling was fixed before the measurement
(nucleus 0.95, temperature 0.8, at most 24 tokens), λ = 1 as in training, and every sample counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from auxlib.frozen import fingerprint
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.plot import Picture, weight_sweep
from experiments.benchmarking import hardware_info, median_ratio, package_versions, paired_seconds, peak_memory_mb
from experiments.metrics import Slor, distinct, keyword_control, nanmean, repeats_keyword, wilson

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from auxlib.keywords import Keywords

FRONTIER = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Samples:
    """Keywords, a steered sample for each, and as many samples of the frozen model alone."""

    keywords: list[str]
    steered: list[str]
    unsteered: list[str]


def held_out_words(corpus: DatasetDict, part: str = "test") -> list[str]:
    """Return the headwords of a part that are no training condition, each once, in a fixed order."""
    trained = {word.casefold() for row in corpus["train"]["keywords"] for word in row}
    heads = dict.fromkeys(row["keywords"][0] for row in corpus[part] if row["has_headword"])
    return [word for word in heads if word.casefold() not in trained]


def draw_samples(
    model: AuxiliaryTunedLM, words: Sequence[str], n: int, weight: float = 1.0, seed: int = 0, progress: bool = False
) -> Samples:
    """Return n steered samples, cycling through the words, and n of the frozen model alone."""
    keywords = [words[i % len(words)] for i in range(n)]
    steered = write_sentences(model, keywords, weight=weight, seed=seed, progress=progress)
    unsteered = write_sentences(model, [None] * n, weight=0.0, seed=seed + 1, progress=progress)
    return Samples(keywords, steered, unsteered)


def score(samples: Samples, human: Sequence[str], slor: Slor, train_texts: Sequence[str] = ()) -> dict[str, Any]:
    """Return control, fluency beside that of human sentences and of the frozen model, diversity, repetition."""
    control = keyword_control(samples.steered, samples.keywords, samples.unsteered)
    repeated = sum(map(repeats_keyword, samples.steered, samples.keywords))
    return {
        "accuracy": round(control.accuracy, 4),
        "accuracy_ci": [round(bound, 4) for bound in control.interval],
        "stem_accuracy": round(control.stem_accuracy, 4),
        "base_rate": round(control.base_rate, 4),
        "slor": round(nanmean(slor(samples.steered)), 3),
        "slor_human": round(nanmean(slor(human)), 3),
        "slor_frozen": round(nanmean(slor(samples.unsteered)), 3),
        "n_samples": control.n,
        "distinct_2": round(distinct(samples.steered, 2), 3),
        "distinct_2_human": round(distinct(human, 2), 3),
        "keyword_twice": round(repeated / control.n, 4),
        **_unread(samples, train_texts),
    }


def _unread(samples: Samples, train_texts: Sequence[str]) -> dict[str, Any]:
    """Return accuracy on the words that occur nowhere in the training texts, not even as a non-keyword."""
    trained = {word.strip(".,;:!?'\"()").casefold() for text in train_texts for word in text.split()}
    pairs = [
        (text, word)
        for text, word in zip(samples.steered, samples.keywords, strict=True)
        if not trained & {part.casefold() for part in word.split()}
    ]
    if not train_texts or not pairs:
        return {}
    hits = sum(contains_keyword(text, word) for text, word in pairs)
    return {
        "accuracy_unread": round(hits / len(pairs), 4),
        "accuracy_unread_ci": [round(bound, 4) for bound in wilson(hits, len(pairs))],
        "n_unread": len(pairs),
    }


def frontier(
    model: AuxiliaryTunedLM, words: Sequence[str], slor: Slor, n: int = 200, seed: int = 0, progress: bool = False
) -> list[dict[str, float]]:
    """Return accuracy and fluency over the weight λ, from n samples a point on the same words."""
    keywords = [words[i % len(words)] for i in range(n)]
    points = []
    for weight in FRONTIER:
        texts = write_sentences(model, keywords, weight=weight, seed=seed, progress=progress)
        hits = sum(map(contains_keyword, texts, keywords))
        points.append({"lambda": weight, "accuracy": hits / n, "slor": round(nanmean(slor(texts)), 3), "n": n})
    return points


def draw_frontier(points: Sequence[dict[str, float]]) -> Picture:
    """Plot accuracy and fluency over the weight λ; the title states the finding."""
    best = max(points, key=lambda point: point["slor"])
    title = f"Accuracy rises with λ to {points[-1]['accuracy']:.2f}; SLOR is highest at λ = {best['lambda']:g}"
    series = {"keyword accuracy": [p["accuracy"] for p in points], "SLOR (nats/token)": [p["slor"] for p in points]}
    return weight_sweep([p["lambda"] for p in points], series, title)


def greedy_decoding(
    model: AuxiliaryTunedLM, keywords: Keywords | None, rows: int, tokens: int, **options: Any
) -> Callable[[], Tensor]:
    """Return a call that greedily decodes ``rows`` texts of ``tokens`` tokens each, ready to be timed.

    It decodes with the pair of expert and auxiliary; with keywords None, with the frozen model alone.
    """
    inputs: dict[str, Any] = model.inputs_for([keywords] * rows)
    options |= {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens}
    if keywords is None:
        inputs.pop("keyword_ids")
        expert: Any = model.expert  # `generate` is a mixin of its class
        return lambda: expert.generate(**inputs, **options, pad_token_id=model.config.pad_token_id)
    return lambda: model.generate(**inputs, **options)


def decode_ratio(
    model: AuxiliaryTunedLM, keywords: Keywords = "lantern", rows: int = 1, tokens: int = 32, rounds: int = 7
) -> dict[str, Any]:
    """Return the time of greedy decoding with the pair over that of the frozen model alone; cache on, runs in turn."""
    frozen, pair = paired_seconds(
        *(greedy_decoding(model, word, rows, tokens) for word in (None, keywords)), rounds=rounds
    )
    return {
        "decode_ratio": round(median_ratio(pair, frozen), 3),
        "ms_per_token_frozen": round(1000 * median(frozen) / tokens / rows, 1),
        "ms_per_token_pair": round(1000 * median(pair) / tokens / rows, 1),
    }


def evaluate(
    model: AuxiliaryTunedLM, corpus: DatasetDict, n: int = 1000, weight: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """Return all headline figures of one auxiliary, with machine, versions and seed beside them."""
    before = fingerprint(model.expert)
    start = perf_counter()
    words = held_out_words(corpus)
    samples = draw_samples(model, words, n, weight, seed, progress=True)
    human = _human(corpus["test"])
    slor = Slor(model.expert_info, corpus["train"]["text"])
    figures = score(samples, human, slor, corpus["train"]["text"])
    recipe = model.receipt.get("recipe", {})
    return {
        **figures,
        "train_minutes": model.receipt.get("minutes", math.nan),
        **decode_ratio(model),
        "lambda": weight,
        "distinct_words": len(words),
        "frontier": frontier(model, words, slor, n=max(1, n // 5), seed=seed, progress=True),
        "frozen_unchanged": before == fingerprint(model.expert) == model.expert_info.fingerprint,
        "sampling": "nucleus 0.95, temperature 0.8, at most 24 tokens",
        "judge": "the frozen expert itself, each sample alone in its context: not independent",
        "evaluation_minutes": round((perf_counter() - start) / 60, 1),
        "peak_memory_mb": round(peak_memory_mb()),
        "seed": seed,
        "recipe": recipe,
        "machine": hardware_info(),
        "versions": package_versions(),
        "examples": [list(pair) for pair in zip(samples.keywords, samples.steered, strict=True)][:40],
    }


def _human(test: Dataset) -> list[str]:
    return [row["text"] for row in test if row["has_headword"]]
