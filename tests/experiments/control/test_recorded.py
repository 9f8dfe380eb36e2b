"""Do the recorded results belong to this code, do they agree with themselves, and do they keep what was promised?"""

from __future__ import annotations

from typing import Any

import pytest

from experiments.metrics import wilson
from tests.experiments.control import figures_in
from tests.recorded import recorded


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return recorded("control")


def at_one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["weight"] == 1)


def test_nothing_failed_and_every_headline_figure_is_there(found: dict[str, Any]) -> None:
    assert found["failed"] == {}
    assert None not in found.values()


def test_headline_figures_are_those_of_the_parts_they_come_from(found: dict[str, Any]) -> None:
    learned = at_one(found["learned"])
    assert (found["control_efficiency"], found["control_accuracy"]) == (learned["efficiency"], learned["accuracy"])
    assert found["two_keywords_joint"] == found["strangers_joint"]["accuracy"]
    assert found["two_keywords_sum"] == found["strangers_sum"]["accuracy"]
    assert found["guarantee_accuracy"] == found["one_sure"]["accuracy"]
    lost = found["one"]["slor"] - found["one_sure"]["slor"]
    assert found["guarantee_slor_loss"] == pytest.approx(lost, abs=1e-4)


def test_intervals_and_efficiencies_are_those_of_their_own_figures(found: dict[str, Any]) -> None:
    rows = list(figures_in(found))
    assert len(rows) > 40
    for row in rows:
        hits = round(row["accuracy"] * row["n"])
        assert row["interval"] == pytest.approx(wilson(hits, row["n"]), abs=2e-4)
        if "efficiency" in row:
            assert row["efficiency"] * row["drift"] == pytest.approx(row["least_drift"], abs=2e-3)


def test_an_auxiliary_controls_at_nearly_the_least_price(found: dict[str, Any]) -> None:
    assert found["control_efficiency"] >= 0.9
    assert found["control_accuracy"] >= 0.95


def test_the_exact_answer_pays_the_least_price_for_one_word_and_for_several(found: dict[str, Any]) -> None:
    exact = [at_one(found["exact"]), *(found[f"exact_{name}"] for name in ("2", "3", "hour"))]
    assert [row["efficiency"] for row in exact] == pytest.approx([1.0] * 4, abs=0.03)
    assert [row["accuracy"] for row in exact] == [1.0] * 4


def test_a_guarantee_is_kept_in_every_sentence(found: dict[str, Any]) -> None:
    assert found["guarantee_accuracy"] == 1
    assert found["one_forced"]["accuracy"] == found["strangers_joint_sure"]["accuracy"] == 1


def test_two_words_read_together_are_said_at_least_as_often_as_by_a_sum(found: dict[str, Any]) -> None:
    assert found["two_keywords_joint"] >= found["two_keywords_sum"] - 0.05
