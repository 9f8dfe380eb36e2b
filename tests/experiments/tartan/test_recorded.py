"""Do the recorded results belong to this code, and do they agree with themselves?"""

from __future__ import annotations

from typing import Any

import pytest

from auxlib.data.assets import asset_path
from experiments.tartan.arms import ARMS, CROWD
from experiments.tartan.plan import EACH, MAIN_EACH, MAIN_PASSES, PASSES, REAL, SEEDS, TASKS
from tests.recorded import recorded


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    if missing := [name for name in ("minilm", "topics", "vader") if asset_path(name) is None]:
        pytest.skip(f"needs python -m auxlib fetch {' '.join(missing)}")
    return recorded("tartan")


def test_every_arm_has_its_figures(found: dict[str, Any]) -> None:
    assert found["failed"] == {}
    assert list(found["storyland"]["main"]) == list(ARMS)
    assert list(found["storyland"]["crowd"]) == list(CROWD)
    assert all(len(arm["seeds"]) == len(SEEDS) for arm in found["storyland"]["main"].values())
    assert list(found["real"]) == list(TASKS)
    assert all(list(table) == list(REAL) for table in found["real"].values())
    assert all(list(curve) == list(map(str, PASSES)) for curve in found["storyland"]["passes"].values())
    assert all(list(curve) == list(map(str, EACH)) for curve in found["storyland"]["labels"].values())


def test_figures_that_stand_in_two_places_are_the_same(found: dict[str, Any]) -> None:
    story = found["storyland"]
    for arm, curve in story["passes"].items():
        assert curve[str(MAIN_PASSES)] == story["main"][arm]["macro_f1"] == story["labels"][arm][str(MAIN_EACH)]


def test_weights_sum_to_one(found: dict[str, Any]) -> None:
    for steps in found["storyland"]["weights"].values():
        for mean, least, most in steps:
            assert sum(mean) == pytest.approx(1, abs=1e-3)
            assert all(a <= b <= c for a, b, c in zip(least, mean, most, strict=True))
