"""Where are the recorded results, and what is in them? Here they are read as they are; `report.load_claim` refuses
those that other code or data have made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auxlib.errors import CourseError

RESULTS, CURVES = Path("data/results/full/claim.json"), Path("data/results/full/claim_curves.json")
AGAIN = "python -m auxlib run --experiment claim"
FACTORS = ("fewer_sentences", "cheaper_sentences", "cached_states")
NEEDED = {"supported", "seeds_passing", "flops_ratio", "accuracy", "slor", "systems", "verdicts", "settings", "made_by"}


def read_claim(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any."""
    path = root / RESULTS
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also what is cut within a character
        raise CourseError(f"{path} is damaged or truncated ({error}); make it again: {AGAIN}") from error
    if missing := NEEDED - set(found):
        raise CourseError(f"{path} lacks {', '.join(sorted(missing))}; make it again: {AGAIN}")
    return found
