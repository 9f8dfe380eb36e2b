"""Do the recorded results belong to this code, and do they agree with themselves?"""

from __future__ import annotations

from typing import Any

import pytest

from experiments.claim.experiment import SEEDS
from experiments.claim.plan import SYSTEMS
from experiments.claim.rule import FACTORS, SEEDS_NEEDED
from tests.recorded import every_system_has_a_figure_or_an_error, recorded


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return recorded("claim")


def test_every_system_has_a_figure_or_an_error(found: dict[str, Any]) -> None:
    assert every_system_has_a_figure_or_an_error(found, SYSTEMS)
    assert [int(seed) for seed in found["verdicts"]] == list(SEEDS)


def test_the_verdict_is_the_rules(found: dict[str, Any]) -> None:
    passing = sum(verdict["passes"] for verdict in found["verdicts"].values())
    assert passing == found["seeds_passing"]
    assert found["supported"] == (passing >= SEEDS_NEEDED)


def test_the_factors_make_up_the_ratio(found: dict[str, Any]) -> None:
    for verdict in found["verdicts"].values():
        if "factors" in verdict:
            product = 1.0
            for name in FACTORS:
                product *= verdict["factors"][name]
            assert product == pytest.approx(verdict["flops_ratio"], rel=1e-6)


def test_rule_and_counter_agree_for_every_system_that_learns(found: dict[str, Any]) -> None:
    for name, system in found["systems"].items():
        if system.get("learning"):
            assert system["rule_by_counter"] == pytest.approx(1.0, abs=0.05), name
