"""Speed of decoding with an auxiliary, beside the frozen model alone and decoding without a cache."""

from __future__ import annotations

from statistics import median
from typing import Any

from auxlib.recipes import load_pretrained
from experiments.benchmarking import median_ratio, paired_seconds
from experiments.smollm.headline import greedy_decoding
from experiments.speed.roofline import decoding_work, measure_peak

TWO_WORDS = ("lantern", "harbour")
TOKENS, LONG = 64, 256


def decode_figures(rounds: int = 5) -> dict[str, Any]:
    """Return tokens a second of greedy decoding as a share of the frozen model's, and the latter over its floor."""
    one = load_pretrained()
    both = load_pretrained(one.expert_info, multi_keyword=True)
    models = {"one word": (one, "lantern"), "sum of two": (one, TWO_WORDS), "two together": (both, TWO_WORDS)}
    figures: dict[str, Any] = {}
    peak = measure_peak(one.device, one.expert.dtype)
    for rows in (1, 8):
        calls = {name: greedy_decoding(model, words, rows, TOKENS) for name, (model, words) in models.items()}
        frozen, *pairs = paired_seconds(greedy_decoding(one, None, rows, TOKENS), *calls.values(), rounds=rounds)
        ratios = {name: median_ratio(frozen, pair) for name, pair in zip(calls, pairs, strict=True)}
        floor = decoding_work(one.expert, rows).floor(peak)
        figures |= {
            f"decode_ratio_b{rows}": ratios["one word"],
            f"decode_ratios_b{rows}": ratios,
            f"frozen_ms_per_step_b{rows}": 1000 * median(frozen) / TOKENS,
            f"frozen_over_floor_b{rows}": median(frozen) / TOKENS / floor,
        }
    return figures


def prefix_figures(rounds: int = 1) -> dict[str, Any]:
    """Return how many times faster 256 tokens are decoded with a key-value cache than without.

    Without a cache, as in the code of DExperts (Liu et al. 2021), every step encodes the whole text again.
    """
    model = load_pretrained()
    calls = (greedy_decoding(model, "lantern", 1, LONG, use_cache=cached) for cached in (True, False))
    with_cache, without = paired_seconds(*calls, rounds=rounds)
    return {f"prefix_speedup_{LONG}": median_ratio(without, with_cache)}
