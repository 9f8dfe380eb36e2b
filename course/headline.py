"""The headline table of the recorded full run, for the terminal, the README and the page of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json

RESULTS = Path("data/results/full/real.json")
NEEDED = {"accuracy", "accuracy_ci", "base_rate", "slor", "slor_human", "n_samples", "train_minutes", "decode_ratio"}


def load_figures(root: Path) -> dict[str, Any] | None:
    """Return the figures of the recorded run, or None if there is none."""
    return read_json(root / RESULTS, NEEDED, "python -m auxlib evaluate")


def headline(root: Path) -> list[dict[str, str]]:
    """Return the rows of the headline table; none if no full run was recorded."""
    record = load_figures(root)
    if record is None:
        return []
    low, high = record["accuracy_ci"]
    rows = {
        "keyword accuracy on words held out from training": (
            f"{record['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
            f"by chance {record['base_rate']:.3f}; n = {record['n_samples']}",
        ),
        "… an inflected form counts as well": (f"{record['stem_accuracy']:.3f}", "same samples"),
        "fluency, mean SLOR in nats per token": (
            f"{record['slor']:.2f}",
            f"human sentences {record['slor_human']:.2f}; frozen model {record['slor_frozen']:.2f}",
        ),
        "training time from cached features": (
            f"{record['train_minutes']:.1f} min",
            f"{record['machine']['cores']} CPU cores",
        ),
        "decoding time against the frozen model alone": (
            f"{record['decode_ratio']:.2f} ×",
            f"{record['ms_per_token_pair']:.0f} against {record['ms_per_token_frozen']:.0f} ms a token",
        ),
        "frozen weights after training": (
            "bit-identical" if record["frozen_unchanged"] else "CHANGED",
            "fingerprint",
        ),
    }
    return [{"figure": figure, "value": value, "reference": reference} for figure, (value, reference) in rows.items()]
