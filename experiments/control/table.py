"""Tables of the control results, for README and notebook 08."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.tables import Row

PLACES = 5  # bins of a word's place in its sentence
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


def storyland_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each kind of condition in Storyland; of several weights λ the trained one, 1."""
    return [_story_row(label, _at_trained_weight(results[key])) for key, label in STORYLAND.items() if key in results]


def real_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each kind of condition with SmolLM2."""
    return [
        {
            "asked for": label + _length_share(key, results[key]),
            "fulfilled": _share(results[key]),
            "SLOR": f"{results[key]['slor']:.2f}",
            "words": f"{results[key]['tokens']:.1f}",
            "said twice": f"{results[key]['twice']:.3f}",
        }
        for key, label in REAL.items()
        if key in results
    ]


def _story_row(label: str, figures: Mapping[str, Any]) -> Row:
    return {
        "asked for": label,
        "fulfilled": _share(figures),
        "grammatical": f"{figures['grammatical']:.3f}",
        "drift": f"{figures['drift']:.2f}" if "drift" in figures else "∞",
        "efficiency": f"{figures['efficiency']:.2f}" if "efficiency" in figures else "–",
    }


def _length_share(key: str, figures: Mapping[str, Any]) -> str:
    """Return the share with the requested length; the row's other figures are about the word."""
    return f" ({figures['lengths'][key.split('_')[1]]:.0%} are)" if "lengths" in figures else ""


def _at_trained_weight(figures: Any) -> Mapping[str, Any]:
    """Return figures as they are, or of a list over λ those at λ = 1."""
    return figures if isinstance(figures, Mapping) else next(row for row in figures if row["weight"] == 1)


def _share(figures: Mapping[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
