"""Do the recorded results belong to this code, and do they agree with themselves?"""

from __future__ import annotations

from typing import Any

import pytest

from experiments.metrics import wilson
from experiments.smollm.experiment import SEEDS
from experiments.smollm.systems import SYSTEMS
from tests.recorded import every_system_has_a_figure_or_an_error, recorded


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return recorded("smollm")


def test_every_system_has_a_figure_or_an_error(found: dict[str, Any]) -> None:
    assert every_system_has_a_figure_or_an_error(found, SYSTEMS)


def test_the_interval_is_the_one_of_all_its_sentences(found: dict[str, Any]) -> None:
    for name, system in found["systems"].items():
        accuracy, low, high = system["accuracy_interval"]
        hits = round(accuracy * system["n"])
        assert [low, high] == pytest.approx(wilson(hits, system["n"]), abs=1e-4), name
        by_seed = [share for share, _ in system["by_seed"].values()]
        assert len(by_seed) + len(system["failed_seeds"]) == len(SEEDS)
        assert sum(by_seed) / len(by_seed) == pytest.approx(accuracy, abs=2e-3), name


def test_rule_and_counter_agree_for_every_system_trained_by_the_trainer(found: dict[str, Any]) -> None:
    for name in ("tuned", "lora"):
        assert found["systems"][name]["rule_by_counter"] == pytest.approx(1.0, abs=0.05), name
