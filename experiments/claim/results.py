"""Where are the recorded results, and what is in them? Here they are read as they are; `report.load_claim` refuses
those that other code or data have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json

RESULTS, CURVES = Path("data/results/full/claim.json"), Path("data/results/full/claim_curves.json")
AGAIN = "python -m auxlib run --experiment claim"
FACTORS = ("fewer_sentences", "cheaper_sentences", "cached_states")
NEEDED = {
    "supported", "seeds_passing", "flops_ratio", "accuracy", "slor", "systems", "verdicts", "settings", "made_by",
    "rehearsal",
}  # fmt: skip


def read_claim(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any."""
    return read_json(root / RESULTS, NEEDED, AGAIN)
