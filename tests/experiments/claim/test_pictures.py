"""Do the figures of the experiment show what was recorded?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auxlib.data.storage import write_json_atomic
from auxlib.plot import Picture
from experiments.claim.pictures import (
    data_efficiency,
    first_losses,
    frontier,
    illustrate,
    load_curves,
    over_cost,
    over_tasks,
    over_weight,
)
from experiments.records import CLAIM_CURVES, RECORDS

FIGURES = ("accuracy", "grammatical", "success", "slor", "drift")


def run(system: str, seed: int, sentences: int = 5000, shift: float = 0.0, trained: float | None = None) -> dict:
    """A recorded run of three checkpoints."""
    values = {name: [round(0.1 * (i + 1) + shift, 3) for i in range(3)] for name in FIGURES}
    curve = {"step": [1, 2, 3], "flops": [1e9, 2e9, 4e9], "train_seconds": [1.0, 2.0, 4.0]} | values
    point = {"accuracy": 0.8, "grammatical": 0.7, "slor": 3.0, "drift": 2.0}
    dial = [{"weight": 2.0} | point] if system == "auxiliary" else []
    losses = [3.0, 2.0, 1.0] if system in ("auxiliary", "random_init") else []
    return {
        "system": system,
        "seed": seed,
        "sentences": sentences,
        "setting": {"weight": trained} if trained else {},
        "curve": curve,
        "dial": dial,
        "early_losses": losses,
    }


@pytest.fixture
def recorded() -> list[dict]:
    runs = [run(name, seed, shift=0.1 * seed) for name in ("auxiliary", "scratch") for seed in range(3)]
    return [*runs, run("random_init", 0), run("auxiliary", 0, sentences=20_000, shift=0.5)]


@pytest.fixture
def found() -> dict:
    costs = {
        name: {"flops_to_bar": flops, "drift": 5.0, "accuracy": 0.9}
        for name, flops in (("scratch", 4e12), ("auxiliary", 1e12))
    }
    return {"systems": costs, "frontier": [[0.5, 1.0], [0.9, 3.0]], "flops_ratio": 4.0}


def test_a_line_is_the_median_of_its_seeds_and_the_axis_has_its_unit(recorded: list[dict]) -> None:
    alt = over_cost(recorded, "Title", systems=["auxiliary", "scratch"]).alt
    assert alt.startswith("Title. Lines, keyword accuracy over training operations (GFLOP).")
    assert "auxiliary (ours): from 0.2 at training operations (GFLOP) 1 through 0.3 at 2 to 0.4 at 4" in alt


def test_runs_on_other_amounts_of_data_stay_out(recorded: list[dict]) -> None:
    few = over_cost(recorded, "Title", systems=["auxiliary"]).alt
    assert "0.8" not in few
    assert "0.6" in over_cost(recorded, "Title", systems=["auxiliary"], sentences=20_000).alt


def test_a_readers_own_line_lies_beside_the_recorded_ones(recorded: list[dict]) -> None:
    alt = over_cost(recorded, "Title", systems=["scratch"], live={"yours": ([3e9], [0.77])}).alt
    assert "yours: 0.77 at training operations (GFLOP) 3." in alt


def test_the_dial_holds_the_trained_weight_as_well(recorded: list[dict]) -> None:
    assert "from 0.4 at weight λ 1 to 0.8 at 2" in over_weight(recorded, "Title").alt


def test_who_was_built_with_another_weight_stands_there_and_not_at_one() -> None:
    runs = [run("auxiliary", 0, trained=8.0)]
    assert "from 0.8 at weight λ 2 to 0.3 at 8" in over_weight(runs, "Title").alt


def test_the_frontier_stands_beside_points_and_lines(found: dict, recorded: list[dict]) -> None:
    alt = frontier(found, recorded, "Title", ["auxiliary", "scratch"]).alt
    assert "exact frontier: from 0.5 at drift" in alt
    assert "size of the expert: 0.9 at drift from the expert, KL (nats per sentence) 5." in alt


def test_data_starts_and_tasks_can_be_drawn(found: dict, recorded: list[dict]) -> None:
    assert "to 0.8 at 2e+04" in data_efficiency(recorded, "Title", ["auxiliary"]).alt
    assert "starts at random: from 3 at step 1" in first_losses(recorded, "Title").alt
    assert "pre-training, then auxiliaries: from 12 at tasks 0" in over_tasks(found, 12e12, "Title").alt


def test_the_readmes_figure_is_kept_with_its_description(tmp_path: Path, found: dict, recorded: list[dict]) -> None:
    write_json_atomic(tmp_path / RECORDS["claim"].path, found)
    write_json_atomic(tmp_path / CLAIM_CURVES, recorded)
    illustrate(tmp_path)
    kept = json.loads((tmp_path / RECORDS["claim"].path).read_text(encoding="utf-8"))
    assert (tmp_path / RECORDS["claim"].path.parent / kept["figure"]).read_bytes().startswith(b"\x89PNG")
    assert "as far as from scratch with 4 times fewer operations." in kept["figure_alt"]
    assert load_curves(tmp_path) == recorded


def test_more_than_four_lines_put_their_names_below(recorded: list[dict]) -> None:
    many = over_cost(recorded, "Title", live={str(i): ([1e9, 2e9], [0.1, 0.2]) for i in range(5)})
    assert isinstance(many, Picture)
    height = int.from_bytes(many.png[20:24], "big")
    assert height > int.from_bytes(over_cost(recorded, "Title", systems=["scratch"]).png[20:24], "big")
