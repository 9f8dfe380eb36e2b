"""Does the report say what the trials said? Figures by hand, and every failure where it can be seen."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from auxlib.data.assets import data_dir
from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError, ResultsMismatch
from auxlib.worlds.story_lm import SHIPPED_LM_600K
from experiments.claim import report
from experiments.claim.experiment import EXPERIMENT
from experiments.claim.plan import SYSTEMS
from experiments.claim.report import assemble, curves, differences
from experiments.claim.rule import FACTORS
from experiments.claim.setup import TrialSize
from experiments.claim.trial import run_trial
from experiments.flops import ComputeLedger
from experiments.metrics import min_kl_for_success, wilson
from experiments.records import CLAIM_CURVES
from experiments.runner import Record, SystemTrial, load_record, provenance

CLAIM = EXPERIMENT.record
SENTENCES, N, SEEDS = 5000, 400, (0, 1, 2, 3, 4)
FRONTIER = torch.tensor([0.02, 0.05, 0.20], dtype=torch.float64), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MADE = {
    "made_by": provenance(1, texts="0123abcd"),
    "rehearsal": [6.5, 2.5],
    "settings": {"scratch": {"rate": 0.003, "batch": 64}},
}
SPEED = {"scratch": 0.2, "auxiliary": 1.0}  # how fast accuracy rises with the steps
LEDGERS = {
    "scratch": ComputeLedger(step_flops=8000, read_flops=0.0, batch=128, parameters=900, learning=900, kept_bytes=100),
    "auxiliary": ComputeLedger(step_flops=1000, read_flops=60.0, batch=64, parameters=1200, learning=300, kept_bytes=9),
}


def measured(accuracy: float, draw: random.Random) -> dict[str, float]:
    return {
        "accuracy": accuracy, "grammatical": 0.98, "success": 0.98 * accuracy, "slor": round(draw.gauss(2, 0.01), 5),
        "slor_se": 0.04, "drift": 2.5, "drift_se": 0.1, "distinct_2": 0.4, "n": N, "nll": 10.0,
    }  # fmt: skip


def record(system: str, seed: int, sentences: int = SENTENCES) -> Record:
    """What a trial may give back: accuracy rises to about 0.9, ours in fewer and cheaper steps."""
    learns, draw = SYSTEMS[system].learns, random.Random(f"{system} {seed}")
    ledger, speed = LEDGERS.get(system, LEDGERS["scratch"]), SPEED.get(system, 0.5)
    points = []
    for step in (20, 40, 80, 160, 320) if learns else (0,):
        reached = 0.9 * (1 - math.exp(-speed * step / 20)) if learns else 0.5
        dev, test = (measured(round(reached + draw.uniform(0, 0.02), 5), draw) for _ in range(2))
        brief = {name: value for name, value in dev.items() if name not in ("drift", "drift_se", "nll")}
        parts = {"dev": brief, "test": test}
        costs = {"flops": ledger.flops(step, sentences), "train_seconds": step / 10} if learns else {"flops": 0.0}
        points.append({"step": step, "epoch": step / 40, "train_seconds": 0.0} | costs | parts)
    memory = {"memory_bytes": ledger.memory_bytes, "task_bytes": ledger.task_bytes}
    training = {
        "early_losses": [4.0, 3.5],
        "ledger": vars(ledger) | memory | {"step_flops_counted": ledger.step_flops},
    }
    return {
        "system": system, "seed": seed, "sentences": sentences, "curve": points, **(training if learns else {}),
        "setting": {"rate": 0.006, "batch": 64} if learns else {},
        "dial": [{"weight": 2.0} | measured(0.95, draw)] if SYSTEMS[system].weights else [],
        "flops_per_written_token": 300_000, "ms_per_written_token": 0.02, "seconds": 60.0, "made_by": "us",
    }  # fmt: skip


def campaign(seeds: Iterable[int] = SEEDS) -> list[Record]:
    """All trials of a campaign in which nothing went wrong and the claim holds."""
    return [record(name, seed) for name, spec in SYSTEMS.items() for seed in seeds if seed < spec.seeds]


def failing(records: list[Record], system: str, *seeds: int, error: str = "RuntimeError: barn on fire") -> list[Record]:
    """The same campaign, but these trials have failed."""
    named = ("system", "seed", "sentences", "setting")
    return [
        {key: r[key] for key in named} | {"error": error, "seconds": 1.0, "made_by": "us"}
        if r["system"] == system and r["seed"] in seeds
        else r
        for r in records
    ]


def results(records: list[Record]) -> dict[str, Any]:
    """Assembled without asking the expert for 20,000 sentences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "control_frontier", lambda: FRONTIER)
        return assemble(records, SENTENCES)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return results(campaign())


def judged(records: list[Record], system: str) -> list[dict[str, float]]:
    """Test figures where development success was highest, seed by seed."""
    return [max(r["curve"], key=lambda here: here["dev"]["success"])["test"] for r in records if r["system"] == system]


# --- the records of these tests ---


def shape(value: Any) -> Any:
    """Names and kinds, without the figures."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items() if key != "setting"}
    if isinstance(value, list):
        return shape(value[0]) if value else []
    return float if isinstance(value, int | float) else type(value)


@pytest.mark.parametrize(("system", "setting"), [("auxiliary", {"rate": 0.006, "batch": 64}), ("forced", {})])
def test_the_records_of_these_tests_have_the_shape_of_real_ones(system: str, setting: dict[str, float]) -> None:
    real = run_trial(SystemTrial(system, 0, TrialSize(train=64, epochs=1, dev=8, test=8), setting))
    assert shape(real | {"seconds": 1.0, "made_by": ""}) == shape(record(system, 0))
    json.dumps(real, allow_nan=False)


# --- figures ---


@pytest.mark.parametrize("system", ["auxiliary", "scratch", "expert", "width_16"])
def test_figures_are_pooled_over_the_seeds_at_the_checkpoints_that_development_chose(
    system: str, found: dict[str, Any]
) -> None:
    tests, said = judged(campaign(), system), found["systems"][system]
    accuracy, n = sum(test["accuracy"] for test in tests) / len(tests), N * len(tests)
    assert said["n"] == n == N * SYSTEMS[system].seeds
    assert said["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    slor = sum(test["slor"] for test in tests) / len(tests)
    assert said["accuracy_interval"][0] == pytest.approx(accuracy, abs=1e-4)
    assert said["slor_interval"][0] == pytest.approx(slor, abs=1e-4)
    assert said["by_seed"] == {
        str(seed): [round(test["accuracy"], 3), round(test["slor"], 3)] for seed, test in enumerate(tests)
    }


@pytest.mark.parametrize(("spread", "over_seeds"), [(0.0, False), (0.08, True)])
def test_an_interval_holds_the_spread_of_seeds_and_that_of_sentences(spread: float, over_seeds: bool) -> None:
    records, shifts = [record("scratch", seed) for seed in SEEDS], (-1.0, -0.5, 0.0, 0.5, 1.0)
    for one, shift in zip(records, shifts, strict=True):
        for here in one["curve"]:
            here["test"] |= {"accuracy": 0.7 + spread * shift, "slor": 2.0 + spread * shift}
    said = results(records)["systems"]["scratch"]
    accuracy, slor = (max(0.7 - said["accuracy_interval"][1], 0.0), said["slor_interval"][2] - 2.0)
    among = 2.776 * spread * math.sqrt(0.5 + 2) / 2 / math.sqrt(5)  # Student's t with four degrees of freedom
    assert said["seeds"] == 5
    if over_seeds:
        assert (accuracy, slor) == pytest.approx((among, among), rel=0.01)
    else:
        low, _ = wilson(round(0.7 * 5 * N), 5 * N)
        assert (accuracy, slor) == pytest.approx((0.7 - low, 1.96 * 0.04 / math.sqrt(5)), abs=2e-4)


def test_the_order_of_the_trials_does_not_matter(found: dict[str, Any]) -> None:
    again = results(campaign()[::-1])
    assert again["verdicts"] == found["verdicts"]
    assert again["systems"] == found["systems"]


def test_trials_on_other_amounts_of_sentences_are_for_the_curves_alone(found: dict[str, Any]) -> None:
    other = [record("auxiliary", 0, 1250), record("scratch", 1, 20_000)]
    for one in other:
        one["curve"][-1]["dev"]["success"] = one["curve"][-1]["test"]["accuracy"] = 1.0
    again = results([*campaign(), *other])
    assert again["systems"] == found["systems"]
    assert again["verdicts"] == found["verdicts"]
    drawn = curves([*campaign(), *other])
    assert {(one["system"], one["sentences"]) for one in drawn} >= {("auxiliary", 1250), ("scratch", 20_000)}


def test_curves_are_the_test_figures_of_every_trial_that_was_done() -> None:
    records = failing(campaign((0,)), "lora_4", 0)
    drawn = {one["system"]: one for one in curves(records)}
    assert drawn.keys() == SYSTEMS.keys() - {"lora_4"}
    for r in records:
        if "error" not in r:
            curve = drawn[r["system"]]["curve"]
            assert curve["accuracy"] == [round(here["test"]["accuracy"], 4) for here in r["curve"]]
            assert curve["flops"] == [here["flops"] for here in r["curve"]]
    assert drawn["auxiliary"]["dial"][0].items() >= {"weight": 2.0, "accuracy": 0.95, "drift": 2.5}.items()


# --- the verdict and its factors ---


def test_the_claim_holds_in_these_records_and_the_factors_multiply(found: dict[str, Any]) -> None:
    assert found["supported"] is True
    assert found["seeds_passing"] == 5
    assert list(found["verdicts"]) == [str(seed) for seed in SEEDS]
    for verdict in found["verdicts"].values():
        assert math.prod(verdict["factors"].values()) == pytest.approx(verdict["flops_ratio"])
        assert list(verdict["factors"]) == list(FACTORS)
    ratios = sorted(verdict["flops_ratio"] for verdict in found["verdicts"].values())
    assert found["flops_ratio"] == pytest.approx(ratios[2], abs=1e-4)
    assert math.prod(found["factors"].values()) == pytest.approx(ratios[2])


def test_the_factors_by_hand(found: dict[str, Any]) -> None:
    for verdict in found["verdicts"].values():
        theirs, mine = 128 * verdict["scratch_step"], 64 * verdict["auxiliary_step"]
        assert verdict["sentences_read"] == [theirs, mine]
        beside = 1000 / 64 + 60  # one sentence, if the expert read it every time
        assert verdict["factors"] == pytest.approx({
            "fewer_sentences": theirs / mine,
            "cheaper_sentences": (8000 / 128) / beside,
            "cached_states": beside * mine / (1000 * verdict["auxiliary_step"] + 60 * min(mine, SENTENCES)),
        })  # fmt: skip


def test_pretraining_has_paid_when_both_cost_the_same(found: dict[str, Any]) -> None:
    receipt = json.loads((data_dir() / "checkpoints" / SHIPPED_LM_600K / "receipt.json").read_text(encoding="utf-8"))
    scratch, ours = (found["systems"][name]["flops_to_bar"] for name in ("scratch", "auxiliary"))
    K = found["break_even"]
    assert K * (scratch - ours) == pytest.approx(receipt["training_flops"], rel=1e-4)


def test_nobody_who_never_passed_the_bar_has_a_cost_to_it() -> None:
    records = campaign()
    for one in records:
        if one["system"] == "auxiliary":
            for here in one["curve"]:
                here["dev"]["slor"] = 0.0
    found = results(records)
    assert found["systems"]["auxiliary"]["flops_to_bar"] is None
    assert found["break_even"] is found["flops_ratio"] is None
    assert found["supported"] is False
    assert all("never passed" in verdict["why"] for verdict in found["verdicts"].values())


# --- the frontier ---


@pytest.mark.parametrize(("times", "efficiency"), [(1.0, 1.0), (2.0, 0.5)])
def test_who_drifts_no_further_than_control_needs_has_efficiency_one(times: float, efficiency: float) -> None:
    records = [one for one in campaign() if one["system"] == "auxiliary"]
    pooled = sum(test["accuracy"] for test in judged(records, "auxiliary")) / len(records)
    for one in records:
        for here in one["curve"]:
            here["test"]["drift"] = times * min_kl_for_success(pooled, *FRONTIER)
    assert results(records)["systems"]["auxiliary"]["efficiency"] == pytest.approx(efficiency, abs=1e-4)


def test_who_does_not_drift_has_no_efficiency() -> None:
    records = [record("expert", 0)]
    records[0]["curve"][0]["test"]["drift"] = 0.01
    assert results(records)["systems"]["expert"]["efficiency"] is None


def test_the_frontier_rises_and_is_the_least_drift(found: dict[str, Any]) -> None:
    wanted, drift = zip(*found["frontier"], strict=True)
    assert drift == pytest.approx([min_kl_for_success(success, *FRONTIER) for success in wanted], abs=1e-4)
    assert list(wanted) == sorted(wanted)
    past_chance = [paid for success, paid in found["frontier"] if success > float(FRONTIER[0] @ FRONTIER[1])]
    assert past_chance == sorted(past_chance)


# --- failures ---


def test_nothing_failed_in_these_records(found: dict[str, Any]) -> None:
    assert found["failed"] == {}
    assert all(system["failed_seeds"] == [] and "error" not in system for system in found["systems"].values())


def test_a_failed_seed_is_said_twice_and_the_others_still_count() -> None:
    found = results(failing(campaign(), "fine_tuned", 1, 3))
    assert found["failed"] == dict.fromkeys(("fine_tuned, seed 1", "fine_tuned, seed 3"), "RuntimeError: barn on fire")
    system = found["systems"]["fine_tuned"]
    assert system["failed_seeds"] == [1, 3]
    assert system["n"] == 3 * N
    assert list(system["by_seed"]) == ["0", "2", "4"]
    assert found["seeds_passing"] == 5


def test_a_system_whose_trials_all_failed_keeps_its_place_with_its_error() -> None:
    found = results(failing(campaign(), "fine_tuned", *SEEDS))
    assert list(found["systems"]) == list(SYSTEMS)
    system = found["systems"]["fine_tuned"]
    assert system["error"] == "RuntimeError: barn on fire"
    assert system["failed_seeds"] == list(SEEDS)
    assert system["label"] == SYSTEMS["fine_tuned"].label
    assert len(found["failed"]) == 5
    assert found["accuracy"]["fine_tuned"] is None


@pytest.mark.parametrize("system", ["scratch", "auxiliary"])
def test_a_seed_in_which_one_of_the_two_failed_does_not_pass(system: str) -> None:
    one = results(failing(campaign(), system, 2))
    assert one["verdicts"]["2"] == {"passes": False, "why": "a system failed"}
    assert (one["seeds_passing"], one["supported"]) == (4, True)
    two = results(failing(campaign(), system, 2, 4))
    assert (two["seeds_passing"], two["supported"]) == (3, False)
    none = results(failing(campaign(), system, *SEEDS))
    assert (none["seeds_passing"], none["supported"], none["flops_ratio"]) == (0, False, None)


def test_a_system_that_was_not_to_be_run_with_a_seed_has_no_row_there() -> None:
    alone = results(campaign((3,)))["systems"]
    assert alone.keys() == {name for name, spec in SYSTEMS.items() if spec.seeds > 3}
    assert all("error" not in system for system in alone.values())


def test_a_system_that_was_not_run_says_so(found: dict[str, Any]) -> None:
    alone = results([one for one in campaign() if one["system"] != "pair"])
    assert alone["systems"]["pair"]["error"] == "was not run"


# --- again ---


def test_one_seed_run_again_is_as_recorded_and_a_changed_digit_is_found(found: dict[str, Any]) -> None:
    for seed in SEEDS:
        assert differences(results(campaign((seed,))), found, seed) == []
    records = campaign((3,))
    best = judged(records, "fine_tuned")[0]
    best["slor"] += 0.002
    (line,) = differences(results(records), found, 3)
    assert line.startswith("fine_tuned: ")
    assert str(round(best["slor"], 3)) in line
    assert str(found["systems"]["fine_tuned"]["by_seed"]["3"]) in line
    best["slor"] -= 0.002 - 1e-7
    assert differences(results(records), found, 3) == []


def test_a_system_that_fails_when_run_again_is_no_agreement(found: dict[str, Any]) -> None:
    (line,) = differences(results(failing(campaign((3,)), "fine_tuned", 3)), found, 3)
    assert line.startswith("fine_tuned: ")
    assert "recorded" in line


def test_figures_that_went_through_a_file_are_the_same(found: dict[str, Any], tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "claim.json", found)
    recorded = json.loads((tmp_path / "claim.json").read_text(encoding="utf-8"))
    assert recorded == found
    assert differences(results(campaign((1,))), recorded, 1) == []
    write_json_atomic(tmp_path / "curves.json", curves(campaign()))


@pytest.fixture
def root(tmp_path: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with recorded results of this code and data."""
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(1, texts="0123abcd"))
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [6.5001, 2.4999])
    write_json_atomic(tmp_path / CLAIM.path, copy.deepcopy(found) | MADE)
    return tmp_path


def test_recorded_results_are_loaded_and_before_there_are_any_there_is_none(
    root: Path, found: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert load_record(EXPERIMENT, root) == CLAIM.read(root) == found | MADE
    assert load_record(EXPERIMENT, tmp_path_factory.mktemp("fresh")) is None
    assert CLAIM.read(tmp_path_factory.mktemp("fresh")) is None
    assert CLAIM.path.parent == CLAIM_CURVES.parent


def test_results_of_another_version_or_behaviour_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EXPERIMENT, "behaviour_probe", lambda: [6.5, 2.6])
        with pytest.raises(ResultsMismatch, match=rf"claim.json.*\[6.5, 2.5\].*\[6.5, 2.6\].*{CLAIM.command}"):
            load_record(EXPERIMENT, root)
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(2, texts="0123abcd"))
    with pytest.raises(ResultsMismatch, match=f"claim.json was made by version 1.*version 2.*{CLAIM.command}"):
        load_record(EXPERIMENT, root)


@pytest.mark.parametrize("part", sorted(CLAIM.needed))
def test_results_that_lack_something_are_refused_by_name(root: Path, part: str) -> None:
    recorded = json.loads((root / CLAIM.path).read_text(encoding="utf-8"))
    del recorded[part]
    write_json_atomic(root / CLAIM.path, recorded)
    for read in (CLAIM.read, partial(load_record, EXPERIMENT)):
        with pytest.raises(CourseError, match=f"lacks {part}; make it again: {CLAIM.command}"):
            read(root)


@pytest.mark.parametrize("keep", [0, 1, 1000])
def test_a_truncated_file_is_an_error_of_ours_that_names_file_and_command(root: Path, keep: int) -> None:
    path = root / CLAIM.path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CourseError, match=f"claim.json.*{CLAIM.command}"):
        load_record(EXPERIMENT, root)
