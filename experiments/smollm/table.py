"""How are the recorded results read and said, with a real model? One row for each system, read as they are; those that
other code or data have made are refused by `report.load_rivals`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json
from experiments.claim.table import Row, failure, name_of

RESULTS, AGAIN = Path("data/results/full/rivals.json"), "python -m auxlib run --experiment rivals"
NEEDED = {"systems", "slor_human", "sentences", "seeds", "seconds", "machine", "made_by", "rehearsal"}


def read_rivals(root: Path) -> dict[str, Any] | None:
    """The recorded results as they are, or None before there are any."""
    return read_json(root / RESULTS, NEEDED, AGAIN)


def rival_rows(found: Mapping[str, Any]) -> list[Row]:
    """One row for each system; one that failed keeps its row, and its error stands in it."""
    return [_row(name, system) for name, system in found["systems"].items()]


def _row(name: str, system: Mapping[str, Any]) -> Row:
    if "error" in system:
        return failure(system)
    value, low, high = (f"{number:.3f}" for number in system["accuracy_interval"])
    learned = "learning" in system
    return {
        "system": name_of(system),
        "keyword": f"{value} [{low}, {high}]",
        # the judge has read what the shipped auxiliary was trained on
        "SLOR": "–" if name == "shipped" else f"{system['slor']:.2f}",
        "nats a token": f"{system['nll']:.2f}" if "nll" in system else "–",
        "other text": f"{system['forgotten']:+.2f}" if learned else "–",
        "training": f"{system['flops'] / 1e12:,.0f} TFLOP" if learned else "–",
        "weights": f"{system['learning'] / 1e6:.1f} million" if learned else "–",
        "training memory": f"{system['memory_bytes'] / 1e9:.1f} GB" if learned else "–",
        "a written token": f"{system['flops_per_written_token'] / 1e9:.2f} GFLOP",
    }
