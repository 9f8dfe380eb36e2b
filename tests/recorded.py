"""Recorded results, as a test finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def recorded(load: Callable[[Path], dict[str, Any] | None]) -> dict[str, Any]:
    """What ``load`` reads, which refuses what other code or data have made; the test is skipped where there is none."""
    found = load(ROOT)
    if found is None:
        pytest.skip("the experiment has not been run yet")
    return found


def every_system_has_a_figure_or_an_error(found: dict[str, Any], planned: Iterable[str]) -> bool:
    """None is missing, none is empty, and they stand in the order of the plan."""
    systems = found["systems"]
    return list(systems) == list(planned) and all("accuracy_interval" in s or "error" in s for s in systems.values())
