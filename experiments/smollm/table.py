"""Table of the comparison with SmolLM2: one row for each system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.tables import Row, failure_row, label_of


def system_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each system; one that failed with every seed keeps its row, with the error in it."""
    return [_system_row(name, system) for name, system in results["systems"].items()]


def _system_row(name: str, system: Mapping[str, Any]) -> Row:
    if "error" in system:
        return failure_row(system)
    value, low, high = (f"{number:.3f}" for number in system["accuracy_interval"])
    learned = "learning" in system
    return {
        "system": label_of(system),
        "keyword": f"{value} [{low}, {high}]",
        # the judge was trained on sentences that the shipped auxiliary was trained on as well
        "SLOR": "–" if name == "shipped" else f"{system['slor']:.2f}",
        "nats a token": f"{system['nll']:.2f}" if "nll" in system else "–",
        "other text": f"{system['forgotten']:+.2f}" if learned else "–",
        "training": f"{system['flops'] / 1e12:,.0f} TFLOP" if learned else "–",
        "weights": f"{system['learning'] / 1e6:.1f} million" if learned else "–",
        "training memory": f"{system['memory_bytes'] / 1e9:.1f} GB" if learned else "–",
        "a written token": f"{system['flops_per_written_token'] / 1e9:.2f} GFLOP",
    }
