"""Is the comparison fair, is nothing lost, and is the table what was measured?"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError, ResultsMismatch
from experiments import runner
from experiments.metrics import wilson
from experiments.runner import Record, SystemTrial, TrialRunner, load_record, provenance
from experiments.smollm import systems
from experiments.smollm.experiment import EXPERIMENT, SEEDS, WHOLE, assemble, chosen, run_experiment
from experiments.smollm.fine_tuning import PromptedSystem
from experiments.smollm.prompt import PromptedModel
from experiments.smollm.setup import WritingSetup
from experiments.smollm.systems import SYSTEMS, measure_writer, run_trial
from experiments.smollm.table import system_rows

SMOLLM = EXPERIMENT.record
LEARNERS = {name for name, spec in SYSTEMS.items() if spec.settings}


def record(system: str, seed: int) -> Record:
    """What a trial may give back."""
    spent = {"flops": 4e13, "learning": 5_000_000, "task_bytes": 2e7, "memory_bytes": 1e9, "train_seconds": 100}
    rule = {"flops_by_rule": 4.04e13} if system in ("tuned", "lora") else {}
    return {
        "system": system,
        "seed": seed,
        "sentences": 2000,
        "setting": {"rate": 1e-3} if system in LEARNERS else {},
        **(spent if system in {*LEARNERS, "shipped"} else {}),
        **rule,
        "hits": 200 + 10 * seed,
        "n": 300,
        "slor": 1.5 + seed,
        "slor_human": 1.8,
        "nll": None if system == "instructed" else 3.0,
        "recited": 1,
        "forgotten": 0.5 * (system == "tuned"),
        "distinct_2": 0.9,
        "tokens": 9.5,
        "empty": 2,
        "dev_nll": 3.1,
        "flops_per_written_token": 3e8,
        "written": [["dog", "A dog."]] * 9,
        "seconds": 60.0,
        "made_by": "us",
    }


RECORDS = [record(name, seed) for name in SYSTEMS for seed in SEEDS]


def test_whoever_learns_is_searched_with_three_settings() -> None:
    assert sorted(LEARNERS) == ["auxiliary", "lora", "tuned"]
    assert all(len({tuple(s.items()) for s in SYSTEMS[name].settings}) == 3 for name in LEARNERS)


def test_the_fewest_nats_on_development_sentences_choose() -> None:
    tried = [{"system": "a", "setting": {"rate": rate}, "dev_nll": nll} for rate, nll in ((1, 3.0), (2, 2.5), (3, 2.7))]
    assert chosen(tried) == {"a": {"rate": 2}}
    broken = {"system": "a", "error": "ValueError: no"}
    assert chosen([broken, *tried[:1]]) == {"a": {"rate": 1}}
    assert chosen([broken]) == {}


def test_search_and_comparison_are_run_as_planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, SystemTrial]] = []

    def run(folder: Path, trials: dict[str, SystemTrial], work: Any, maker: str, jobs: int) -> dict[str, Record]:
        asked.append(trials)
        return {name: record(t.system, t.seed) | {"setting": t.setting} for name, t in trials.items()}

    monkeypatch.setattr(runner, "run_trials", run)
    trials = TrialRunner(tmp_path, run_trial, {})
    records = run_experiment(trials)
    search, compared = asked
    assert len(search) == 3 * len(LEARNERS)
    assert all(trial.size.questions == 0 for trial in search.values()), "a search asks no test word"
    assert len(compared) == len(records) == len(SYSTEMS) * len(SEEDS)
    assert {trial.size for trial in compared.values()} == {WHOLE}
    assert all(bool(trial.setting) == (trial.system in LEARNERS) for trial in compared.values())
    assert trials.seconds == 60.0 * (len(search) + len(compared)) / 2


def test_who_found_no_setting_failed_and_is_not_shown_untrained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = {"error": "RuntimeError: out of memory", "seconds": 1.0}

    def run(folder: Path, trials: dict[str, SystemTrial], *_: Any) -> dict[str, Record]:
        return {name: error if t.system == "lora" else record(t.system, t.seed) for name, t in trials.items()}

    monkeypatch.setattr(runner, "run_trials", run)
    records = run_experiment(TrialRunner(tmp_path, run_trial, {}))
    assert {r["error"] for r in records if r["system"] == "lora"} == {"RuntimeError: out of memory"}
    assert assemble(records)["systems"]["lora"]["error"] == "RuntimeError: out of memory"


def test_a_trial_measures_all_that_the_report_wants(bench: WritingSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "WritingSetup", lambda size, seed: bench)
    found = run_trial(SystemTrial("asked", 0, bench.size))
    json.dumps(found, allow_nan=False)
    missing = record("asked", 0).keys() - found.keys()
    assert missing == {"seconds", "made_by"}
    again = measure_writer(PromptedSystem(bench, PromptedModel(bench.expert)), bench)
    assert {name: found[name] for name in again} == again


# --- the report ---


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return assemble(RECORDS)


def test_figures_are_pooled_over_seeds(found: dict[str, Any]) -> None:
    system = found["systems"]["lora"]
    assert system["accuracy_interval"] == pytest.approx([410 / 600, *wilson(410, 600)], abs=1e-4)
    assert system["slor"] == pytest.approx(2.0)
    assert system["rule_by_counter"] == pytest.approx(1.01)
    assert system["by_seed"]["1"] == [0.7, 2.5]
    assert (system["empty"], len(system["examples"])) == (4, 8)
    assert list(found["systems"]) == list(SYSTEMS)


def test_the_table_says_what_was_forgotten_and_what_it_cost(found: dict[str, Any]) -> None:
    table = {row["system"]: row for row in system_rows(found)}
    assert table["full fine-tuning"]["other text"] == "+0.50"
    assert table["auxiliary (ours)"]["other text"] == "+0.00"
    assert table["prompt: an instruction"]["nats a token"] == table["prompt: an instruction"]["other text"] == "–"
    assert table["auxiliary, of all sentences"]["SLOR"] == "–", "the judge has read what it was trained on"
    assert table["LoRA, rank 16"]["training"] == "40 TFLOP"
    assert table["prompt: the bare request"]["training"] == "–"


def test_who_failed_keeps_a_row_with_the_error() -> None:
    error = {"error": "RuntimeError: out of memory", "seconds": 1.0}
    broken = [r if r["system"] != "tuned" else {"system": "tuned", "seed": r["seed"]} | error for r in RECORDS]
    found = assemble(broken)
    assert found["failed"] == {f"tuned, seed {seed}": "RuntimeError: out of memory" for seed in SEEDS}
    row = next(row for row in system_rows(found) if row["system"] == SYSTEMS["tuned"].label)
    assert row["keyword"] == "FAILED: RuntimeError: out of memory"
    one = assemble(
        [r if r["seed"] or r["system"] != "lora" else {"system": "lora", "seed": 0} | error for r in RECORDS]
    )
    assert any("(seed 0 FAILED)" in row["system"] for row in system_rows(one))


def test_results_of_other_code_are_refused_and_damaged_ones_named(
    tmp_path: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(1, texts="0123abcd"))
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [3.1, 3.3])
    assert load_record(EXPERIMENT, tmp_path) is SMOLLM.read(tmp_path) is None
    made = {"made_by": provenance(1, texts="0123abcd"), "rehearsal": [3.1001, 3.2996]}
    whole = copy.deepcopy(found) | made | {"seconds": 60}
    write_json_atomic(tmp_path / SMOLLM.path, whole)
    assert load_record(EXPERIMENT, tmp_path) == whole
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [3.1, 3.33])
    with pytest.raises(ResultsMismatch, match=r"reached \[3.1001, 3.2996\].*reaches \[3.1, 3.33\]"):
        load_record(EXPERIMENT, tmp_path)
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(2, texts="0123abcd"))
    with pytest.raises(ResultsMismatch, match=r"smollm.json was made by version 1"):
        load_record(EXPERIMENT, tmp_path)
    (tmp_path / SMOLLM.path).write_text('{"systems": {')
    with pytest.raises(CourseError, match=f"damaged or truncated.*{SMOLLM.command}"):
        SMOLLM.read(tmp_path)
