"""How are the recorded results read and said? Rows for the README and for notebook 08, as they are; results that other
code or data have made are refused by `report.load_control`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json
from experiments.claim.table import Row

RESULTS, AGAIN = Path("data/results/full/generation.json"), "python -m auxlib run --experiment generation"
NEEDED = {
    "control_efficiency", "control_accuracy", "two_keywords_joint", "two_keywords_sum", "guarantee_accuracy",
    "guarantee_slor_loss", "failed", "made_by", "rehearsal", "seconds",
}  # fmt: skip
STORYLAND = {
    "exact": "one word, exact answer",
    "learned": "one word, auxiliary",
    "exact_2": "two words, exact answer",
    "exact_sum_2": "two words, sum of exact answers",
    "sum_2": "two words, sum of auxiliaries",
    "together_2": "two words, read together",
    "exact_3": "three words, exact answer",
    "exact_sum_3": "three words, sum of exact answers",
    "sum_3": "three words, sum of auxiliaries",
    "together_3": "three words, read together",
    "hour": "the hour, auxiliary",
    "exact_hour": "word and hour, exact answer",
    "exact_sum_hour": "word and hour, sum of exact answers",
    "sum_hour": "word and hour, sum of auxiliaries",
}
REAL = {
    "human": "sentences by humans",
    "one": "one word",
    "one_together": "one word, read together",
    "one_sure": "one word, guaranteed",
    "one_forced": "one word, guaranteed, no auxiliary",
    "companions_sum": "two words of one sentence, sum",
    "companions_sum_once": "two words of one sentence, sum, style once",
    "companions_joint": "two words of one sentence, read together",
    "companions_joint_sure": "two words of one sentence, read together, guaranteed",
    "strangers_sum": "two unconnected words, sum",
    "strangers_sum_once": "two unconnected words, sum, style once",
    "strangers_joint": "two unconnected words, read together",
    "strangers_joint_sure": "two unconnected words, read together, guaranteed",
    "length_short_once": "one word, short",
    "length_medium_once": "one word, medium",
    "length_long_once": "one word, long",
}


def read_control(root: Path) -> dict[str, Any] | None:
    """The recorded results as they are, or None before there are any."""
    return read_json(root / RESULTS, NEEDED, AGAIN)


def storyland_rows(found: Mapping[str, Any]) -> list[Row]:
    """One row for each way of asking in Storyland; of a dial the trained strength λ = 1."""
    return [_story_row(label, _at_one(found[key])) for key, label in STORYLAND.items() if key in found]


def real_rows(found: Mapping[str, Any]) -> list[Row]:
    """One row for each way of asking with the real model."""
    return [
        {
            "asked for": label + _as_long(key, found[key]),
            "fulfilled": _share(found[key]),
            "SLOR": f"{found[key]['slor']:.2f}",
            "words": f"{found[key]['tokens']:.1f}",
            "said twice": f"{found[key]['twice']:.3f}",
        }
        for key, label in REAL.items()
        if key in found
    ]


def _story_row(label: str, figures: Mapping[str, Any]) -> Row:
    return {
        "asked for": label,
        "fulfilled": _share(figures),
        "grammatical": f"{figures['grammatical']:.3f}",
        "drift": f"{figures['drift']:.2f}" if "drift" in figures else "∞",
        "efficiency": f"{figures['efficiency']:.2f}" if "efficiency" in figures else "–",
    }


def _as_long(key: str, figures: Mapping[str, Any]) -> str:
    """How many have the length that was asked for; the other figures of the row are about the word."""
    return f" ({figures['lengths'][key.split('_')[1]]:.0%} are)" if "lengths" in figures else ""


def _at_one(figures: Any) -> Mapping[str, Any]:
    return figures if isinstance(figures, Mapping) else next(row for row in figures if row["weight"] == 1)


def _share(figures: Mapping[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
