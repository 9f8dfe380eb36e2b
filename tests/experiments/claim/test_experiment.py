"""Is the comparison a fair one? Everybody is searched alike, nobody sees test sentences early, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from auxlib.worlds.story_lm import load_story_lm
from experiments import runner
from experiments.claim import experiment
from experiments.claim.experiment import (
    SEEDS,
    chosen,
    comparisons,
    made_by,
    repeat_seed,
    results_of,
    run_experiment,
    searches,
)
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import SEARCH_SEED, WHOLE, TrialSize, load_world
from experiments.claim.trial import run_trial
from experiments.runner import SystemTrial, TrialRunner

SEARCHED = {name for name, spec in SYSTEMS.items() if len(spec.settings) > 1}
SETTINGS = {name: SYSTEMS[name].settings[1] for name in SEARCHED}
TINY = TrialSize(train=64, epochs=2, dev=8, test=8)


# --- the search ---


def test_whoever_has_something_to_choose_is_searched_with_three_different_settings() -> None:
    found = searches(WHOLE)
    assert Counter(trial.system for trial in found) == dict.fromkeys(SEARCHED, 3)
    for name in SEARCHED:
        tried = {tuple(trial.setting.items()) for trial in found if trial.system == name}
        assert tried == {tuple(setting.items()) for setting in SYSTEMS[name].settings}
        assert len(tried) == 3


def test_whoever_is_not_searched_learns_nothing_or_takes_over_what_was_found_for_another() -> None:
    for name in SYSTEMS.keys() - SEARCHED:
        spec = SYSTEMS[name]
        assert spec.like in SEARCHED if spec.learns else spec.settings == ({},), name


def test_the_search_has_a_seed_of_its_own_no_test_sentences_and_half_the_epochs() -> None:
    assert SEARCH_SEED not in SEEDS
    for trial in searches(WHOLE):
        assert trial.seed == SEARCH_SEED
        assert trial.size == replace(WHOLE, epochs=WHOLE.epochs / 2, test=0)


def test_a_trial_of_the_search_has_no_test_figures() -> None:
    trial = next(trial for trial in searches(TINY) if trial.system == "auxiliary")
    record = run_trial(trial)
    assert [set(here) & {"dev", "test"} for here in record["curve"]] == [{"dev"}], "measured at its end alone"
    assert record["dial"] == []
    assert record["setting"] == trial.setting


def tried(system: str, setting: Mapping[str, float], *successes: float, **more: float) -> dict[str, Any]:
    curve = [{"step": step, "dev": {"success": success, **more}} for step, success in enumerate(successes)]
    return {"system": system, "setting": setting, "curve": curve}


def test_the_setting_with_the_most_success_at_its_best_checkpoint_is_chosen() -> None:
    a, b, c = ({"rate": rate} for rate in (1.0, 2.0, 3.0))
    records = [
        tried("one", a, 0.5, 0.7), tried("one", b, 0.9, 0.1), tried("one", c, 0.8, 0.8, accuracy=1.0),
        tried("two", c, 0.3), tried("two", a, 0.3), tried("two", b, 0.2),
    ]  # fmt: skip
    assert chosen(records) == {"one": b, "two": c}, "of two alike the one that stands first in the plan"


def test_a_setting_that_failed_is_not_chosen_and_a_system_whose_search_failed_has_none() -> None:
    a, b = {"rate": 1.0}, {"rate": 2.0}
    broken = {"error": "ValueError: no", "seconds": 0.0}
    assert chosen([tried("one", a, 0.4), broken | tried("one", b, 0.9), broken]) == {"one": a}
    assert chosen([broken | {"system": "one", "setting": a}]) == {}


# --- the comparison ---


def test_every_system_is_compared_with_the_seeds_that_are_its_own() -> None:
    main = [trial for trial in comparisons(WHOLE, SETTINGS) if trial.size == WHOLE]
    assert Counter(trial.system for trial in main) == {name: spec.seeds for name, spec in SYSTEMS.items()}
    assert all(trial.seed in SEEDS[: SYSTEMS[trial.system].seeds] for trial in main)
    assert {SYSTEMS[name].seeds for name in ("scratch", "auxiliary", "fine_tuned", "untold")} == {5}


def test_the_two_of_the_claim_are_also_given_fewer_and_more_sentences_and_as_many_readings() -> None:
    other = [trial for trial in comparisons(WHOLE, SETTINGS) if trial.size != WHOLE]
    assert Counter(trial.system for trial in other) == {"scratch": 2, "auxiliary": 2}
    assert {trial.size.train for trial in other} == {1250, 20_000}
    assert {trial.size.train * trial.size.epochs for trial in other} == {WHOLE.train * WHOLE.epochs}
    assert not [trial for trial in comparisons(TINY, SETTINGS) if trial.size != TINY]


def test_variants_and_controls_take_over_the_setting_that_was_chosen() -> None:
    for trial in comparisons(WHOLE, SETTINGS):
        assert trial.setting == SETTINGS.get(SYSTEMS[trial.system].like or trial.system, {})
    assert SYSTEMS["shuffled"].like == SYSTEMS["untold"].like == SYSTEMS["width_16"].like == "auxiliary"


def test_whatever_differs_between_two_trials_is_in_their_names() -> None:
    sizes = [WHOLE, *(replace(WHOLE, **{part: 7}) for part in ("train", "epochs", "dev", "test"))]
    trials = [
        SystemTrial(name, seed, size, setting)
        for name in ("pair", "scratch")
        for seed in (0, 1)
        for size in sizes
        for setting in SYSTEMS[name].settings
    ]
    assert len({trial.name for trial in trials}) == len(trials)


def test_every_trial_has_a_file_of_its_own() -> None:
    planned = sum(spec.seeds for spec in SYSTEMS.values()) + 2 * 2
    compared, searched = comparisons(WHOLE, SETTINGS), searches(WHOLE)
    assert len(compared) == planned
    assert len(searched) == 3 * len(SEARCHED)
    names = [trial.name for trial in (*compared, *searched)]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "/" in name]


def test_one_seed_alone_is_the_same_trials_as_among_five() -> None:
    whole = comparisons(WHOLE, SETTINGS)
    for seed in SEEDS:
        alone = comparisons(WHOLE, SETTINGS, (seed,))
        assert alone == [trial for trial in whole if trial.seed == seed]


# --- the run ---


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[SystemTrial]]:
    """What would be run; all trials of the expert alone fail."""
    calls: list[list[SystemTrial]] = []

    def run(
        folder: Path, trials: dict[str, SystemTrial], work: Any, maker: str, jobs: int
    ) -> dict[str, dict[str, Any]]:
        calls.append(list(trials.values()))
        return {name: _found(trial) | {"made_by": maker} for name, trial in trials.items()}

    monkeypatch.setattr(runner, "run_trials", run)
    return calls


def trials_in(folder: Path) -> TrialRunner:
    return TrialRunner(folder, run_trial, {"version": "ours"}, 2)


def _found(trial: SystemTrial) -> dict[str, Any]:
    if trial.system == "expert":
        return {"error": "ValueError: no", "seconds": 0.0}  # as a process gives it back, and no word more
    best = trial.setting == SETTINGS.get(trial.system)
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": trial.setting}
    return named | {"curve": [{"step": 0, "dev": {"success": float(best)}}], "seconds": 6.0}


def test_the_search_comes_first_and_decides_what_is_compared(asked: list[list[SystemTrial]], tmp_path: Path) -> None:
    run = trials_in(tmp_path)
    records = run_experiment(run, TINY)
    assert chosen(records[: len(asked[0])]) == SETTINGS
    assert asked == [searches(TINY), comparisons(TINY, SETTINGS)]
    assert len(records) == len(asked[0]) + len(asked[1])
    done = [trial for trials in asked for trial in trials if trial.system != "expert"]
    assert run.seconds == 6.0 * len(done) / 2, "the search took its time as well"


def test_a_recorded_search_is_not_repeated(
    asked: list[list[SystemTrial]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "assemble", lambda records, sentences: {"records": records})
    monkeypatch.setattr(experiment, "differences", lambda results, recorded, seed: [f"seed {seed}"])
    results, lines = repeat_seed(trials_in(tmp_path), 3, {"settings": SETTINGS})
    assert lines == ["seed 3"]
    assert asked == [comparisons(WHOLE, SETTINGS, (3,))]
    assert len(results["records"]) == len(asked[0])
    assert repeat_seed(trials_in(tmp_path), 3, None)[1] == []
    assert asked[1:] == [searches(WHOLE), comparisons(WHOLE, SETTINGS, (3,))]


def test_the_search_is_in_the_results_by_its_settings_alone(
    asked: list[list[SystemTrial]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "assemble", lambda records, sentences: {"records": records})
    results = results_of(run_experiment(trials_in(tmp_path), TINY))
    assert results["settings"] == SETTINGS
    assert len(results["records"]) == len(asked[1])


def test_a_trial_that_failed_still_says_which_system_seed_and_size_it_was(
    asked: list[list[SystemTrial]], tmp_path: Path
) -> None:
    records = trials_in(tmp_path)(comparisons(TINY, SETTINGS, (0, 1)))
    failed = [record for record in records if "error" in record]
    named = [(record["system"], record["seed"], record["sentences"]) for record in failed]
    assert named == [("expert", 0, TINY.train), ("expert", 1, TINY.train)]


# --- provenance ---


def test_the_provenance_is_the_same_each_time_and_changes_with_the_experts_and_with_the_world(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, other = made_by(), load_world().sample(200, torch.Generator().manual_seed(1))
    torch.rand(3)
    assert made_by() == before
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "load_story_lm", lambda name: replace(load_story_lm(name), fingerprint="other"))
        assert made_by() != before
    monkeypatch.setattr(type(load_world()), "sample", lambda *_: other)
    assert made_by() != before
