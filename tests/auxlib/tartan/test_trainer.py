"""Multi-task training: the budget, equal weights without META, meta-learned weights, and named failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from auxlib.errors import TrainingError
from auxlib.tartan import trainer
from auxlib.tartan.meta_weights import GradientStats, MetaWeights
from auxlib.tartan.objectives import BagOfWordsMLM, Classification, CollapseObjective, Objective, rows_batch
from auxlib.tartan.trainer import (
    META_PASSES,
    History,
    MultiTaskModel,
    TrainingConfig,
    label_matched_batches,
    train_multitask,
)
from tests.auxlib.tartan.conftest import MASK, ROWS, TEXTS, WIDTH, WORDS, make_body

PLAN = TrainingConfig(passes=60, batch_size=8, learning_rate=3e-3, eval_steps=10)


def shared_by(*kinds: str) -> MultiTaskModel:
    """A fresh body with these objectives."""
    body = make_body()
    torch.manual_seed(1)
    made: dict[str, Callable[[], Objective]] = {
        "end": lambda: Classification("end", ROWS, WIDTH, 2),
        "words": lambda: BagOfWordsMLM("words", TEXTS, WIDTH, MASK, torch.arange(WORDS + 1) >= 4),
        "alike": lambda: CollapseObjective("alike", TEXTS),
    }
    return MultiTaskModel(body, [made[kind]() for kind in kinds])


def learned(*kinds: str, plan: TrainingConfig = PLAN, **more: object) -> tuple[MultiTaskModel, History]:
    shared = shared_by(*kinds)
    return shared, train_multitask(shared, plan, ROWS, progress=False, **more)


@pytest.mark.parametrize(("kinds", "meta", "steps"), [(1, False, 60), (2, False, 30), (2, True, 18), (3, True, 13)])
def test_every_configuration_keeps_the_budget_of_passes(kinds: int, meta: bool, steps: int) -> None:
    assert PLAN.steps(kinds, meta) == steps
    assert steps * (kinds + meta * META_PASSES) <= PLAN.passes
    names = ("end", "words", "alike")[:kinds]
    _, history = learned(*names, meta=MetaWeights(kinds) if meta else None)
    assert history.losses.shape == history.weights.shape == history.cosines.shape == (steps, kinds)
    assert len(history.dev) == -(-steps // PLAN.eval_steps), "every ten steps, and after the last"


def test_it_learns_and_keeps_what_was_best() -> None:
    plan = TrainingConfig(passes=400, batch_size=16, learning_rate=1e-2, eval_steps=20)
    shared, history = learned("end", "words", plan=plan)
    assert history.losses[-10:].mean(0)[0] < history.losses[:10].mean(0)[0] / 2
    assert max(history.dev) > 0.9
    shared.eval()
    predicted = shared(**{k: v for k, v in rows_batch(ROWS).items() if k != "labels"}).argmax(-1)
    assert (predicted == rows_batch(ROWS)["labels"]).float().mean() > 0.9


def test_one_objective_alone_is_fine_tuning_and_the_seed_decides_everything() -> None:
    (one, first), (other, second) = learned("end"), learned("end")
    assert torch.equal(first.losses, second.losses)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(first.weights, torch.ones(60, 1))
    _, third = learned("end", plan=TrainingConfig(60, 8, 3e-3, eval_steps=10, seed=1))
    assert not torch.equal(first.losses, third.losses)


def test_the_heads_see_the_same_batches_whatever_the_weights_do() -> None:
    """The first losses of all objectives are those of the untrained body, with META as without."""
    _, plain = learned("end", "words")
    _, meta = learned("end", "words", meta=MetaWeights(2))
    assert torch.equal(plain.losses[0], meta.losses[0])
    assert torch.equal(plain.weights, torch.full((30, 2), 0.5))
    assert not torch.equal(meta.weights[-1], plain.weights[-1])


def test_the_reference_gradient_is_a_moving_average(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[Tensor]] = []
    steps = iter(range(1, 99))

    def constant_gradient(body: list[Tensor], *_: object) -> list[Tensor]:
        step = next(steps)
        return [torch.full_like(weight, step) for weight in body]

    def record(body: object, objectives: list, weights: Tensor, reference_grad: list[Tensor]) -> GradientStats:
        given.append(reference_grad)
        return GradientStats(torch.ones(2), torch.zeros(2), torch.ones(2), 1.0)

    monkeypatch.setattr(trainer, "development_gradient", constant_gradient)
    monkeypatch.setattr(trainer, "accumulate_weighted_grads", record)
    for ema, expected in ((0.0, [1, 2, 3]), (0.75, [1, 1.25, 1.6875])):
        given.clear()
        steps = iter(range(1, 99))
        train_multitask(shared_by("end", "words"), replace(PLAN, passes=10, ema=ema), ROWS, MetaWeights(2), False)
        assert [step[0].flatten()[0].item() for step in given] == expected


def test_without_development_rows_nothing_is_chosen_and_no_weight_can_learn() -> None:
    shared = shared_by("words")
    history = train_multitask(shared, PLAN, progress=False)
    assert history.dev == []
    for dev in ((), ROWS[:1], [row | {"label": i} for i, row in enumerate(ROWS[:2])]):
        with pytest.raises(TrainingError, match=f"{len(dev)} rows hold none"):
            train_multitask(shared_by("end", "words"), PLAN, dev, MetaWeights(2), progress=False)


def test_both_development_batches_have_the_same_labels() -> None:
    rows = [{"label": label, "row": i} for i, label in enumerate([0, 1, 0, 2, 1, 0, 0, 3])]
    fit, evaluation = label_matched_batches(rows, 9, torch.Generator().manual_seed(0))
    assert [row["label"] for row in fit] == [row["label"] for row in evaluation]
    assert sorted(row["label"] for row in fit) == [0, 0, 1], "a row without a partner is left out"
    assert len({row["row"] for row in (*fit, *evaluation)}) == 6
    assert [len(part) for part in label_matched_batches(rows, 2, torch.Generator().manual_seed(0))] == [2, 2]
    drawn = {label_matched_batches(rows, 2, torch.Generator().manual_seed(seed))[0][0]["row"] for seed in range(20)}
    assert len(drawn) > 2


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_body_computes_as_the_plan_says(bf16: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it learns and when it is judged. Trainer leaves autocast to the model that it wraps, which we go round."""
    monkeypatch.setattr(trainer, "best_dtype", lambda device: torch.bfloat16)
    shared, seen = shared_by("end", "words"), set()
    inner = next(module for module in shared.body.modules() if isinstance(module, nn.Linear))
    inner.register_forward_hook(lambda module, given, made: seen.add((module.training, made.dtype)))
    train_multitask(shared, replace(PLAN, passes=20, bf16=bf16), ROWS, progress=False)
    assert seen == {(True, dtype), (False, dtype)}


def test_as_many_weights_as_objectives() -> None:
    with pytest.raises(TrainingError, match="3 weights for 2 objectives"):
        learned("end", "words", meta=MetaWeights(3))


def test_an_objective_that_breaks_is_named_and_all_is_as_the_step_before_left_it() -> None:
    shared = shared_by("end", "words")
    kept: list[list[Tensor]] = []

    def broken(states: Tensor, batch: object) -> Tensor:
        kept.append([weight.detach().clone() for weight in shared.parameters()])
        return states.sum() * (float("nan") if len(kept) == 5 else 0)

    shared.objectives[1].loss = broken
    with pytest.raises(TrainingError, match="the loss of objective 'words' is nan"):
        train_multitask(shared, PLAN, ROWS, progress=False)
    assert len(kept) == 5
    assert all(torch.equal(a, b) for a, b in zip(shared.parameters(), kept[-1], strict=True))
    assert all(weight.isfinite().all() for weight in shared.parameters())


def test_a_harmful_objective_loses_its_weight() -> None:
    """And only this one: its gradient opposes that of the development loss."""
    plan = TrainingConfig(passes=500, batch_size=16, learning_rate=3e-3, eval_steps=50)
    _, history = learned("end", "words", "alike", plan=plan, meta=MetaWeights(3, rate=0.1))
    end, words, alike = history.weights[-1].tolist()
    assert alike < min(end, words)
    assert history.cosines[:, 2].mean() < 0 < history.cosines[:, 0].mean()


def test_prediction_computes_the_end_task_head_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = shared_by("end", "words")
    monkeypatch.setattr(nn.Linear, "forward", _counted(nn.Linear.forward, seen := []))
    shared(**{k: v for k, v in rows_batch(ROWS).items() if k != "labels"})
    assert id(shared.objectives[0].head) in seen
    assert id(shared.objectives[1].head) not in seen


def _counted(forward: Callable, seen: list[int]) -> Callable:
    def count(self: nn.Module, *given: Tensor) -> Tensor:
        seen.append(id(self))
        return forward(self, *given)

    return count
