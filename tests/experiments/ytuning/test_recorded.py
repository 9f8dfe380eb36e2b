"""Do the recorded results belong to this code, and do they agree with themselves?"""

from __future__ import annotations

from typing import Any

import pytest

from auxlib.data.assets import asset_path
from experiments.ytuning.plan import EACH, FEW_SHOT_SYSTEMS, SEEDS, TASKS
from experiments.ytuning.systems import BY_NAME, SYSTEMS
from experiments.ytuning.table import accuracy_rows, goal_rows, task_rows, use_rows
from tests.recorded import recorded


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    if missing := [name for name in ("minilm", "topics", "vader", "wordnet") if asset_path(name) is None]:
        pytest.skip(f"needs python -m auxlib fetch {' '.join(missing)}")
    return recorded("ytuning")


def test_every_task_and_system_has_a_figure_or_an_error(found: dict[str, Any]) -> None:
    assert list(found["tasks"]) == list(TASKS)
    for table in found["tasks"].values():
        assert list(table["systems"]) == list(SYSTEMS)
        assert all("accuracy" in system or "error" in system for system in table["systems"].values())
    assert list(found["few"]) == [name for name in (*SYSTEMS, *BY_NAME) if name in (*FEW_SHOT_SYSTEMS, *BY_NAME)]


def test_the_figures_that_the_claim_is_about_are_those_of_the_table(found: dict[str, Any]) -> None:
    for task, table in found["tasks"].items():
        ours, full = table["systems"]["ytuning"], table["systems"]["full"]
        for name in SYSTEMS:
            assert table[name] == table["systems"][name]["accuracy"], task
        spent = ours["train_flops"] + ours["read_flops"]
        assert table["flops_ratio_full"] == pytest.approx(full["train_flops"] / spent, rel=1e-2)
        shared = len(SEEDS) * ours["train_flops"] + ours["read_flops"]
        assert table["flops_ratio_seeds"] == pytest.approx(len(SEEDS) * full["train_flops"] / shared, rel=1e-2)
        assert table["flops_ratio_full"] < 3 * SYSTEMS["full"].epochs * 1.5, "what is read once cannot save more"
        assert ours["params_percent"] == table["params_percent"] < 2


def test_everybody_did_better_than_the_most_frequent_label(found: dict[str, Any]) -> None:
    for task, table in found["tasks"].items():
        for system in table["systems"].values():
            assert "error" in system or system["accuracy"] > table["chance"], (task, system["label"])


def test_each_table_has_a_row_for_everybody(found: dict[str, Any]) -> None:
    assert len(task_rows(found)) == len(TASKS) * len(SYSTEMS)
    assert len(goal_rows(found)) == len(accuracy_rows(found)) == len(TASKS)
    assert len(use_rows(found)) == len(found["few"])
    assert found["each"] == list(map(str, EACH))
