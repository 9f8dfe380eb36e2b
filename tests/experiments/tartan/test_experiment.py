"""The experiment: rates that are chosen before, budgets that are equal, and a table of what came out."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from datasets import DatasetDict

from auxlib.classification.encoders import Encoder
from auxlib.tartan.trainer import TrainingConfig
from experiments.tartan import plan, real, story
from experiments.tartan.arms import ARMS, CROWD
from experiments.tartan.experiment import run_trial
from experiments.tartan.plan import REAL, ArmTrial, chosen, comparisons, searches
from experiments.tartan.setup import END, Arm, take_per_class, train_arm
from tests.experiments.ytuning.conftest import rows as texts_of


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "UNLABELLED", 200)
    monkeypatch.setattr(story, "TEST", 60)


def test_the_search_chooses_by_development_rows_and_the_lower_of_equals() -> None:
    seen = {0.1: (0.5, 0.6), 0.2: (0.6, 0.8), 0.4: (0.7, 0.7), 0.8: (0.9, None)}
    tried = [{"task": "crowd", "arm": "mt", "rate": rate, "dev": dev} for rate, devs in seen.items() for dev in devs]
    failed = [{key: value for key, value in one.items() if value is not None} for one in tried]
    other = {"task": "storyland", "arm": "mt", "rate": 0.1, "dev": 0.1}
    assert chosen([*failed[::-1], other]) == {("crowd", "mt"): 0.2, ("storyland", "mt"): 0.1}


def test_a_search_says_nothing_of_test_rows() -> None:
    found = run_trial(ArmTrial("search", "storyland", "mt", 100, 20, 2, 1e-3))
    assert "dev" in found
    assert "macro_f1" not in found


def test_all_arms_are_compared_at_one_budget() -> None:
    rates = {(task, arm): 1e-3 for task, arms in plan.SEARCHED.items() for arm in arms}
    asked = list(comparisons(rates))
    assert len({attempt.name for attempt in asked}) == len(asked), "nothing is done twice"
    for task, arms in (("storyland", ARMS), ("crowd", CROWD), ("20ng", REAL), ("vader-amazon", REAL)):
        budgets: dict[str, set[tuple]] = {}
        for attempt in asked:
            if attempt.task == task:
                budgets.setdefault(attempt.arm, set()).add((attempt.task, attempt.seed, attempt.passes, attempt.each))
        assert set(budgets) == set(arms)
        whole = max(budgets.values(), key=len)
        assert all(budget <= whole for budget in budgets.values())
    assert {attempt.seed for attempt in asked} == {*plan.SEEDS, *plan.REAL_SEEDS}
    assert not {attempt.seed for attempt in asked} & {attempt.seed for attempt in searches()}


@pytest.mark.parametrize("arm", [*ARMS.values(), *CROWD.values()], ids=lambda arm: arm.label)
def test_an_arm_is_as_it_says(arm: Arm) -> None:
    shared, taught = train_arm(story.story_setup(0, 2), arm, TrainingConfig(60, 8, 1e-3, eval_steps=10))
    others = 0 if arm.first else len(arm.objectives)
    assert [one.name for one in shared.objectives] == [END, *arm.objectives[:others]]
    assert len(taught.losses) == TrainingConfig(30 if arm.first else 60).steps(1 + others, arm.rule is not None)
    assert bool(taught.cosines.abs().sum()) == (arm.rule is not None)


def test_a_comparison_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_trial(ArmTrial("test", "crowd", "meta", 0, 60, 2, 1e-3))
    assert 0 <= found["macro_f1"] <= found["accuracy"] + 0.2
    assert len(found["ended"]) == len(found["weights"][0]) == len(found["cosines"]) == 4
    assert found["step_seconds"] > 0


def test_some_of_each_label_and_all_others() -> None:
    rows = [{"label": label, "number": i} for i, label in enumerate([0, 0, 1, 0, 1, 1])]
    some, rest = take_per_class(rows, 2)
    assert [row["number"] for row in some] == [0, 1, 2, 4]
    assert [row["number"] for row in rest] == [3, 5]


def test_texts_of_the_world_outside(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.add_special_tokens({"mask_token": "[UNK]"})
    texts = DatasetDict({"train": texts_of(6), "dev": texts_of(2, 100), "test": texts_of(4, 200)})
    fresh = lambda *_, **__: replace(encoder, model=copy.deepcopy(encoder.model), tokenizer=tokenizer)  # noqa: E731
    monkeypatch.setattr(real, "load_encoder", fresh)
    monkeypatch.setattr(real, "load_task", lambda *_: texts)
    monkeypatch.setattr(real, "EACH", 3)
    found = run_trial(ArmTrial("test", "20ng", "mt-both", 0, 30, 0, 1e-3))
    assert found["macro_f1"] >= 0
    task = real.real_setup("20ng", 0)
    assert len(task.labelled) == 3 * task.count
    assert len(task.dev) == len(texts["dev"])
