"""What does the auxiliary cost while writing, beside the frozen model alone and a rule that reads all text again?"""

from __future__ import annotations

from statistics import median
from typing import Any

from auxlib.benchmarking import median_ratio, paired_seconds
from auxlib.recipes import load_pretrained
from experiments.smollm.headline import writing
from experiments.speed.roofline import measure_peak, reading

TWO = ("lantern", "harbour")
TOKENS, LONG = 64, 256


def decode_figures(rounds: int = 5) -> dict[str, Any]:
    """Greedy decoding with cache: tokens a second as a share of the frozen model's, whose floor stands beside it."""
    one = load_pretrained()
    both = load_pretrained(one.expert_info, multi_keyword=True)
    asked = {"one word": (one, "lantern"), "sum of two": (one, TWO), "two together": (both, TWO)}
    found: dict[str, Any] = {}
    peak = measure_peak(one.device, one.expert.dtype)
    for rows in (1, 8):
        calls = {name: writing(model, words, rows, TOKENS) for name, (model, words) in asked.items()}
        frozen, *pairs = paired_seconds(writing(one, None, rows, TOKENS), *calls.values(), rounds=rounds)
        ratios = {name: median_ratio(frozen, pair) for name, pair in zip(calls, pairs, strict=True)}
        floor = reading(one.expert, rows).floor(peak)
        found |= {
            f"decode_ratio_b{rows}": ratios["one word"],
            f"decode_ratios_b{rows}": ratios,
            f"frozen_ms_per_step_b{rows}": 1000 * median(frozen) / TOKENS,
            f"frozen_over_floor_b{rows}": median(frozen) / TOKENS / floor,
        }
    return found


def prefix_figures(rounds: int = 1) -> dict[str, Any]:
    """How many times faster 256 tokens are written than by the rule that reads the whole text again for each.

    It is the same sum of the same models, decoded as the code of DExperts (Liu et al. 2021) decodes: without a cache.
    """
    model = load_pretrained()
    calls = (writing(model, "lantern", 1, LONG, use_cache=cached) for cached in (True, False))
    ours, rule = paired_seconds(*calls, rounds=rounds)
    return {f"prefix_speedup_{LONG}": median_ratio(rule, ours)}
