"""Recorded results, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from experiments.runner import load_experiment, load_record

ROOT = Path(__file__).parents[1]


def recorded(name: str) -> dict[str, Any]:
    """Return an experiment's record, refused if other code or data have made it; skip the test where there is none."""
    results = load_record(load_experiment(name), ROOT)
    if results is None:
        pytest.skip("the experiment has not been run yet")
    return results


def every_system_has_a_figure_or_an_error(results: dict[str, Any], planned: Iterable[str]) -> bool:
    """Return whether the systems are those of the plan in its order, each with figures or an error."""
    systems = results["systems"]
    return list(systems) == list(planned) and all("accuracy_interval" in s or "error" in s for s in systems.values())
