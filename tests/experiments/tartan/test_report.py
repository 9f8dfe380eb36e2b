"""What is said of the experiment: means that are means, an order that is counted, and results of this code alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from auxlib.__main__ import main
from auxlib.errors import ResultsMismatch
from experiments import commands
from experiments.runner import Record, TrialRunner, load_record, provenance
from experiments.tartan.arms import ALL, ARMS, CROWD
from experiments.tartan.experiment import EXPERIMENT, behaviour_probe
from experiments.tartan.plan import MAIN_EACH, MAIN_PASSES, REAL, TASKS
from experiments.tartan.report import assemble
from experiments.tartan.table import goal_rows, real_rows, story_rows, weight_rows

COUNT = {"tune": 1, "before": 1, "meta-two": 3, "meta-both": 3, "mt-both": 3}


def record(task: str, arm: str, seed: int, **more: object) -> dict:
    others = 4 if task == "crowd" and arm != "meta-two" else COUNT.get(arm, 2)
    ended = [0.4, 0.3, 0.2, 0.1][:others]
    return {
        "use": "test",
        "task": task,
        "arm": arm,
        "seed": seed,
        "passes": MAIN_PASSES,
        "each": MAIN_EACH,
        "rate": 0.004,
        "macro_f1": 0.5 + 0.1 * seed,
        "accuracy": 0.6,
        "dev": 0.5,
        "step_seconds": 0.2 if "meta" in arm else 0.1,
        "weights": [ended, ended],
        "ended": ended,
        "seconds": 1.0,
        **more,
    }


@pytest.fixture
def records() -> list[dict]:
    story = [record("storyland", arm, seed) for arm in ARMS for seed in (0, 1)]
    story += [record("storyland", arm, 0, passes=400, macro_f1=0.3) for arm in ("tune", "mt")]
    crowd = [record("crowd", arm, seed) for arm in CROWD for seed in (0, 1)]
    crowd[-1]["ended"] = [0.4, 0.2, 0.3, 0.1]
    real = [record(task, arm, 0) for arm in REAL for task in TASKS]
    tried = [record("crowd", "mt", 0, use="search", rate=rate, dev=10 * rate) for rate in (0.01, 0.02)]
    return [*story, *crowd, *real, *tried]


def test_means_and_standard_errors_over_the_seeds(records: list[dict]) -> None:
    found = assemble(records)
    assert found["storyland"]["main"]["mt"]["macro_f1"] == [0.55, 0.05]
    assert found["storyland"]["passes"]["mt"] == {"400": [0.3, 0.0], str(MAIN_PASSES): [0.55, 0.05]}
    assert "meta" not in found["storyland"]["passes"], "one point is no curve"
    assert found["storyland"]["rates"] == {"mt": {"0.01": [0.1, 0.0], "0.02": [0.2, 0.0]}}
    assert found["meta_step_ratio"] == 2.0
    assert found["storyland"]["objectives"][1:] == list(ALL)
    assert found["storyland"]["weights"]["meta"][0] == [[0.4, 0.3, 0.2, 0.1]] * 3


def test_only_seeds_in_the_whole_order_count(records: list[dict]) -> None:
    assert assemble(records)["ranking_seeds_correct"] == {"meta": 2, "exact": 1}


def test_what_failed_is_listed_and_missing(records: list[dict]) -> None:
    gone = next(record for record in records if record["task"] in TASKS)
    broken = [record if record is not gone else {**gone, "error": "out of memory"} for record in records]
    found = assemble(broken)
    assert list(found["failed"].values()) == ["out of memory"]
    assert gone["arm"] not in found["real"][gone["task"]]
    assert any("–" in row.values() for row in real_rows(found))


def test_a_row_for_each_arm(records: list[dict]) -> None:
    found = assemble(records)
    assert [row[""] for row in story_rows(found)] == [arm.label for arm in (ARMS | CROWD).values()]
    assert len(real_rows(found)) == len(REAL)
    assert weight_rows(found)[0] == {
        "": "META-TARTAN",
        "end task": "0.400",
        ALL[0]: "0.300",
        ALL[1]: "0.200",
        ALL[2]: "0.100",
    }


def test_what_was_asked_is_judged_by_figures(records: list[dict]) -> None:
    found = assemble(records)
    assert [row[""] for row in goal_rows(found)] == ["**no**", "yes", "yes", "yes"], "equal means are not apart"
    found["storyland"]["main"] |= {arm: {"macro_f1": [at, 0.04]} for arm, at in [("before", 0.4), ("tune", 0.3)]}
    assert goal_rows(found)[0] == {
        "asked": "together above first above alone, standard errors apart",
        "found": "0.550 ± 0.050 > 0.400 ± 0.040 > 0.300 ± 0.040",
        "": "yes",
    }
    found["ranking_seeds_correct"]["meta"], found["meta_step_ratio"] = 1, 2.6
    found["storyland"]["crowd"]["mt"]["macro_f1"] = [0.6, 0.0]
    assert [row[""] for row in goal_rows(found)[1:]] == ["**no**"] * 3


def test_a_run_is_recorded_shown_and_loaded_and_results_of_other_code_are_refused(
    records: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(1, texts="0123abcd"))
    monkeypatch.setattr(commands, "data_dir", lambda: tmp_path / "data")

    def run(trials: TrialRunner) -> list[Record]:
        trials.seconds = 61.4
        return records

    monkeypatch.setattr(EXPERIMENT, "run", run)
    assert load_record(EXPERIMENT, tmp_path) is None
    assert main(["run", "--experiment", "endtask"]) == 0
    found = load_record(EXPERIMENT, tmp_path)
    assert set(found) >= EXPERIMENT.record.needed
    assert found["seconds"] == 61
    assert "| MT-TARTAN " in capsys.readouterr().out
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(2, texts="0123abcd"))
    with pytest.raises(ResultsMismatch, match=f"{EXPERIMENT.record.path.name} was made by version 1"):
        load_record(EXPERIMENT, tmp_path)


def test_the_rehearsal_is_the_same_again() -> None:
    assert behaviour_probe() == behaviour_probe()
    assert len(behaviour_probe()) == 4
