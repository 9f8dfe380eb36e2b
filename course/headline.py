"""What did a recorded full run find? One table for the page, the terminal and the README, from one JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json

RESULTS = Path("data/results/full/real.json")
NEEDED = {"accuracy", "accuracy_ci", "base_rate", "slor", "slor_human", "n_samples", "train_minutes", "decode_ratio"}


def load_figures(root: Path) -> dict[str, Any] | None:
    """The figures of the recorded run, or None before there is one."""
    return read_json(root / RESULTS, NEEDED, "python -m auxlib evaluate")


def headline(root: Path) -> list[dict[str, str]]:
    """The rows of the headline table; none before a full run was kept."""
    found = load_figures(root)
    if found is None:
        return []
    low, high = found["accuracy_ci"]
    rows = [
        ("keyword accuracy on words never asked for in training",
         f"{found['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
         f"by chance {found['base_rate']:.3f}; n = {found['n_samples']}"),
        ("… an inflected form counts as well", f"{found['stem_accuracy']:.3f}", "same samples"),
        ("fluency, mean SLOR in nats per token", f"{found['slor']:.2f}",
         f"human sentences {found['slor_human']:.2f}; frozen model {found['slor_frozen']:.2f}"),
        ("training time from cached features", f"{found['train_minutes']:.1f} min",
         f"{found['machine']['cores']} CPU cores"),
        ("decoding time against the frozen model alone", f"{found['decode_ratio']:.2f} ×",
         f"{found['ms_per_token_pair']:.0f} against {found['ms_per_token_frozen']:.0f} ms a token"),
        ("frozen weights after training", "bit-identical" if found["frozen_unchanged"] else "CHANGED", "fingerprint"),
    ]  # fmt: skip
    return [dict(zip(("figure", "value", "beside it"), row, strict=True)) for row in rows]
