"""The experiment: a search that sees no test text, a choice by development texts, costs that add up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import DatasetDict

from auxlib.data.tasks import label_names
from experiments import runner
from experiments.runner import TrialRunner
from experiments.ytuning.experiment import chosen, run_experiment, run_trial
from experiments.ytuning.few_shot import UNSEEN, few_per_label, unseen_labels, with_labels
from experiments.ytuning.plan import FEW_SHOT_SYSTEMS, ClassifierTrial
from experiments.ytuning.report import assemble
from experiments.ytuning.setup import BATCH, TrainingSetup
from experiments.ytuning.systems import BY_NAME, SYSTEMS
from experiments.ytuning.table import goal_rows, task_rows, use_rows


def test_the_search_chooses_by_development_texts_and_the_first_of_equals() -> None:
    def tried(system: str, setting: int, dev: float, **more: object) -> dict:
        return {"task": "r8", "system": system, "setting": setting, "dev": dev, **more}

    found = [tried("linear", 0, 0.7), tried("linear", 1, 0.8), tried("linear", 2, 0.8), tried("full", 0, 0.6)]
    found += [{"task": "r8", "system": "full", "setting": 1, "error": "out of memory"}, tried("full", 2, 0.5)]
    assert chosen(found) == {("r8", "linear"): 1, ("r8", "full"): 0}


def test_a_search_looks_at_no_test_text(small: Callable, texts: DatasetDict) -> None:
    del texts["test"]
    found = run_trial(ClassifierTrial("search", "r8", "linear", 100, 0))
    assert {"dev", "best_epoch", "task", "system"} <= set(found)
    assert "accuracy" not in found


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_comparison_says_what_it_found_and_spent(name: str, small: Callable) -> None:
    found = run_trial(ClassifierTrial("all", "r8", name, 0, 0))
    assert 0 <= found["accuracy"] <= 1
    assert set(found["noisy"]) == {"0.0", "1.0", "2.0"}
    assert (found["labels"], found["chance"], found["learned_from"]) == (7, 1 / 7, 42)
    assert (found["read_flops"] > 0) == SYSTEMS[name].cached


def test_whoever_keeps_states_pays_for_reading_once_and_whoever_does_not_in_every_epoch(
    small: Callable, texts: DatasetDict
) -> None:
    costs = {name: TrainingSetup(SYSTEMS[name], SYSTEMS[name].settings[0], texts, 0).cost() for name in SYSTEMS}
    full, linear = costs["full"], costs["linear"]
    # three epochs of forward and backward: nine readings, and some padding in texts as short as these
    assert 7 < full["train_flops"] / linear["read_flops"] < 12
    assert linear["train_flops"] < 0.1 * linear["read_flops"]
    assert full["learning"] > full["encoder"] > 10 * linear["learning"]
    assert full["memory_bytes"] > 3 * linear["memory_bytes"]


def test_few_texts_are_trained_for_more_epochs(
    small: Callable, texts: DatasetDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = TrainingSetup(SYSTEMS["full"], SYSTEMS["full"].settings[0], texts, 0)
    assert desk.epochs == 3
    monkeypatch.setattr("experiments.ytuning.setup.LEAST_STEPS", 30)
    assert desk.epochs == -(-30 * BATCH // 42)


def test_few_means_as_many_of_each_label(texts: DatasetDict, monkeypatch: pytest.MonkeyPatch) -> None:
    found = few_per_label(texts, 2, seed=1)
    assert sorted(found["train"]["label"]) == sorted(2 * list(range(7)))
    assert len(found["dev"]) <= len(found["train"])
    assert sorted(found["test"]["text"]) == sorted(texts["test"]["text"])
    assert set(found["train"]["text"]) <= set(texts["train"]["text"])
    assert (
        few_per_label(texts, 2, seed=1)["train"]["text"]
        == found["train"]["text"]
        != few_per_label(texts, 2, seed=2)["train"]["text"]
    )
    monkeypatch.setattr("experiments.ytuning.few_shot.TESTED", 3)
    assert (
        few_per_label(texts, 2, seed=1)["test"]["text"]
        == few_per_label(texts, 2, seed=2)["test"]["text"]
        == found["test"]["text"][:3]
    )


def test_texts_of_some_labels_keep_their_labels_names(texts: DatasetDict) -> None:
    some = with_labels(texts["test"], ["sci.med", "alt.dog"])
    assert label_names(some) == ["sci.med", "alt.dog"]
    assert {(text.split()[0], label) for text, label in zip(some["text"], some["label"], strict=True)} == {
        ("doctor", 0),
        ("dog", 1),
    }


def test_unseen_labels_are_told_apart_by_decoders_that_read_names(small: Callable, texts: DatasetDict) -> None:
    found = unseen_labels(BY_NAME["named"], BY_NAME["named"].settings[0], texts, 0)
    assert set(found) == {"accuracy", "seen", "cosine"}
    assert all(0 <= value <= 1 for value in found.values())
    assert len(UNSEEN) == 5


@pytest.fixture
def records(small: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict]:
    """The whole experiment on one small task, in this process; one of LoRA's seeds fails."""

    def here(folder: Path, attempts: dict, work: Callable, maker: str, jobs: int) -> dict:
        done = {}
        for name, attempt in attempts.items():
            broken = attempt.system == "lora" and attempt.seed == 1 and attempt.use == "all"
            done[name] = ({"error": "out of memory"} if broken else work(attempt)) | {"seconds": 1.0}
        return done

    monkeypatch.setattr(runner, "run_trials", here)
    trials = TrialRunner(tmp_path, run_trial, {})
    found = run_experiment(trials, ("20ng",), (0, 1))
    assert trials.seconds == len(found) / 2
    return found


def test_the_whole_experiment_and_what_is_said_of_it(records: list[dict]) -> None:
    uses = {use: sum(record["use"] == use for record in records) for use in ("search", "all", "few", "unseen")}
    assert uses == {"search": 3 * 7, "all": 2 * 5, "few": 2 * 2 * 5, "unseen": 2 * 2}
    found = assemble(records)
    (task,) = found["tasks"].values()
    assert list(found["failed"]) == ["20ng, lora, all, seed 1"]
    assert task["systems"]["lora"]["seeds"] == 1
    assert task["ytuning"] == task["systems"]["ytuning"]["accuracy"]
    assert task["flops_ratio_seeds"] >= task["flops_ratio_full"] > 0
    assert set(found["few"]) == {*FEW_SHOT_SYSTEMS, *BY_NAME}
    assert set(found["unseen"]) == set(BY_NAME)
    assert len(task_rows(found)) == 5
    (asked,) = goal_rows(found)
    assert "(asked 96%)" in asked["of full fine-tuning"]
    assert len(use_rows(found)) == 5
    # a system that failed keeps its row
    lost = [record for record in records if record["system"] != "lora" or "error" in record]
    table = task_rows(assemble(lost))
    assert [row["accuracy"] for row in table if row["system"].startswith("LoRA")] == ["FAILED: out of memory"]
