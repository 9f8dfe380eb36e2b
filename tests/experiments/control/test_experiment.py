"""Is every part run, does it find what it is for, and who has made it?"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import runner
from experiments.control import experiment, storyland
from experiments.control.experiment import made_by, merged, run_experiment, run_trial
from experiments.runner import Record, SystemTrial, TrialRunner
from experiments.smollm import experiment as smollm
from tests.experiments.control import FEW, TINY, corpus, figures_in, storyland_found

# --- trials ---

KEYS = {
    "learned": {"learned", "sum_2", "sum_3", "hour", "sum_hour"},
    "swapped": {"swapped"},
    "together": {"together_1", "together_2", "together_3"},
    "truth": {
        "exact",
        "myopic",
        "bound",
        "exact_2",
        "exact_sum_2",
        "exact_3",
        "exact_sum_3",
        "exact_hour",
        "exact_sum_hour",
    },
    "kinds": {"kinds"},
}


@pytest.mark.parametrize("name", storyland.TRIALS)
def test_a_trial_of_storyland_finds_what_it_is_for_and_asks_every_question(name: str) -> None:
    found = storyland_found()[f"storyland-{name}"]
    assert found.keys() == KEYS[name]
    json.dumps(found, allow_nan=False)
    assert {figures["n"] for figures in figures_in(found)} == (set() if name == "kinds" else {TINY.questions})


def test_the_tiny_trials_vary_what_they_say_they_vary() -> None:
    found = merged(storyland_found().values())
    dials = {"exact": storyland.EXACT, "myopic": storyland.MYOPIC, "learned": storyland.LEARNED}
    for name, weights in dials.items():
        assert [row["weight"] for row in found[name]] == list(weights)
        assert len({row["drift"] for row in found[name]}) > 1
    assert all(row["accuracy"] == 1 for row in found["exact"])
    assert [accuracy for accuracy, _ in found["bound"]] == list(storyland.BOUND)
    assert found["swapped"].keys() == {"at_home", "reads_the_old", "reads_the_new"}
    assert found["swapped"]["at_home"] != found["swapped"]["reads_the_old"], "another expert writes"
    assert sum(row["n"] for row in found["kinds"].values()) == TINY.questions // 4 * 15, "two of six words"


def test_a_part_is_run_by_its_name_and_again_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_trial(SystemTrial("storyland-together", 0, TINY)) == storyland_found()["storyland-together"]
    monkeypatch.setitem(experiment.TRIALS["real"], "words", lambda size: {"asked": size.words})
    assert run_trial(SystemTrial("real-words", 0, FEW)) == {"asked": FEW.words}


# --- the experiment ---


def test_every_part_is_run_once_with_the_size_of_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[SystemTrial] = []

    def run(folder: Path, trials: dict[str, SystemTrial], work: Any, made: str, jobs: int) -> dict[str, Record]:
        assert (folder, work, made, jobs) == (tmp_path, run_trial, {"version": "ours"}, 4)
        asked.extend(trials.values())
        return {name: {trial.system: 1, "seconds": 6.0} for name, trial in trials.items()}

    monkeypatch.setattr(runner, "run_trials", run)
    trials = TrialRunner(tmp_path, run_trial, {"version": "ours"}, jobs=4)
    records = run_experiment(trials, experiment.ControlSize(TINY, FEW))
    parts = {f"{where}-{name}" for where, works in experiment.TRIALS.items() for name in works}
    assert sorted(trial.system for trial in asked) == sorted(record["system"] for record in records) == sorted(parts)
    assert all(trial.size == (TINY if trial.system.startswith("storyland") else FEW) for trial in asked)
    assert merged(records) == dict.fromkeys(parts, 1), "and none has another's record"
    assert trials.seconds == 6.0 * len(parts) / 4


def test_one_table_of_all_parts_has_no_receipt_of_a_single_one() -> None:
    done = {"one": {"accuracy": 1.0}, "seconds": 3.0, "made_by": "us"}
    assert merged([done, {"system": "b", "seed": 0, "error": "ValueError: no", "seconds": 1.0, "made_by": "us"}]) == {
        "one": {"accuracy": 1.0}
    }
    found = storyland_found()
    assert len(merged(found.values())) == sum(map(len, found.values())), "no part overwrites what another has found"


def test_the_provenance_changes_with_all_that_decides_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    corpora = {part: corpus()[part] for part in ("train", "test")}
    one = {"load_expert": SimpleNamespace(fingerprint="12"), "load_corpus": corpora, "weights_hash": "ab"}
    other = {"load_expert": SimpleNamespace(fingerprint="34"), "load_corpus": {"train": corpora["test"]}}

    def stand(name: str, value: Any) -> None:
        room = smollm if name == "load_corpus" else experiment
        monkeypatch.setattr(room, name, lambda *_: value)

    for name, value in one.items():
        stand(name, value)
    found = [made_by()]
    for name, value in {**other, "weights_hash": "cd"}.items():
        stand(name, value)
        found.append(made_by())
    monkeypatch.setattr(experiment, "VERSION", 2)
    found.append(made_by())
    assert [made not in found[:i] for i, made in enumerate(found)] == [True] * 5
