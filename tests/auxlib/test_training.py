"""Training lowers the loss, touches the auxiliary alone, can be broken off and repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from auxlib.auxiliary import AuxiliaryModel
from auxlib.collator import FeatureCollator, FeatureRows
from auxlib.frozen import Expert, fingerprint
from auxlib.keywords import continuation_mask
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.training import FeatureLoss, mean_nll, train_auxiliary

MakeTuned = Callable[..., AuxiliaryTunedLM]


@pytest.fixture
def make_loss(make_tuned: MakeTuned, expert: Expert) -> Callable[..., FeatureLoss]:
    continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    return lambda **options: FeatureLoss(make_tuned(zero_init=True, **options).auxiliary, continues)


def weights(loss: FeatureLoss) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loss.named_parameters()}


def train(loss: FeatureLoss, features: Dataset, collator: FeatureCollator, folder: Path, **options: Any) -> Any:
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "progress": False, **options}
    return train_auxiliary(loss, features, collator, output_dir=folder, **settings)


def test_the_loss_falls_and_its_log_is_kept(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    loss = make_loss()
    before = mean_nll(loss, features, make_collator(condition_dropout=0.0))
    run = train(loss, features, make_collator(), tmp_path, epochs=15, dev_features=features)
    assert run.dev_loss < before - 0.5
    assert run.losses[-1] < run.losses[0]
    assert run.steps == sorted(run.steps)
    assert run.steps[-1] == 30
    assert run.minutes > 0


def test_a_keyword_helps_on_the_texts_it_was_learned_from(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    loss = make_loss()
    train(loss, features, make_collator(condition_dropout=0.3), tmp_path, epochs=25)
    asked, unasked = (mean_nll(loss, features, make_collator(condition_dropout=share)) for share in (0.0, 1.0))
    assert asked < unasked - 0.02


def test_only_the_auxiliary_changes(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, expert: Expert, tmp_path: Path
) -> None:
    loss = make_loss()
    before, buffers = weights(loss), {name: value.clone() for name, value in loss.named_buffers()}
    train(loss, features, make_collator(), tmp_path, epochs=2)
    assert all(name.startswith("auxiliary.") for name in before)
    assert any(not torch.equal(value, before[name]) for name, value in weights(loss).items())
    assert all(torch.equal(value, buffers[name]) for name, value in loss.named_buffers())
    assert fingerprint(expert.model) == expert.fingerprint
    assert all(weight.grad is None for weight in expert.model.parameters())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    def run(name: str, seed: int) -> dict[str, Tensor]:
        loss = make_loss()
        train(loss, features, make_collator(seed=seed), tmp_path / name, seed=seed)
        return weights(loss)

    first, again, other = run("a", 0), run("b", 0), run("c", 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_broken_run_goes_on_where_it_stopped_and_ends_where_it_would_have(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    class Power(FeatureCollator):
        """Goes out in the third epoch."""

        batches = 0

        def __call__(self, rows: Any) -> dict[str, Tensor]:
            Power.batches += 1
            if Power.batches > 5:
                raise KeyboardInterrupt
            return super().__call__(rows)

    whole, broken = make_loss(), make_loss()
    train(whole, features, make_collator(condition_dropout=1.0), tmp_path / "whole", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train(broken, features, make_collator(Power, condition_dropout=1.0), tmp_path / "broken", epochs=4)
    fresh = make_loss(seed=5)
    run = train(fresh, features, make_collator(condition_dropout=1.0), tmp_path / "broken", epochs=4, resume=True)
    assert run.steps[-1] == 8
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(fresh)[name], value, atol=1e-6, rtol=1e-5)


def test_to_resume_without_a_checkpoint_is_to_begin(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    assert train(make_loss(), features, make_collator(), tmp_path / "none", epochs=1, resume=True).steps[-1] == 2


def test_every_token_counts_once_in_the_mean(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset
) -> None:
    loss, collator = make_loss(), make_collator(condition_dropout=1.0)
    rows = list(features.with_format("numpy"))
    with torch.no_grad():
        alone = [loss(**collator([row]))["nll"][0] for row in rows]
    expected = float(torch.cat(alone).mean())
    for size in (1, 3, 64):
        assert mean_nll(loss, features, collator, batch_size=size) == pytest.approx(expected, abs=1e-5)


def test_padding_and_neighbours_do_not_change_a_rows_loss(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset
) -> None:
    loss, rows = make_loss(), list(features.with_format("numpy"))
    loss.auxiliary.requires_grad_(False)
    for weight in loss.parameters():
        weight += 0.05
    together = loss(**make_collator(condition_dropout=1.0)(rows))["nll"]
    for row, nll in zip(rows, together, strict=True):
        alone = loss(**make_collator(condition_dropout=1.0)([row]))["nll"][0]
        torch.testing.assert_close(nll[: len(alone)], alone, atol=1e-4, rtol=1e-4)
        assert not nll[len(alone) :].any()


@pytest.mark.parametrize("output_mode", ["hidden", "logits"])
@pytest.mark.parametrize("whole", [False, True])
def test_an_expert_in_half_precision_gives_the_loss_of_its_exact_copy(
    make_tuned: MakeTuned, expert: Expert, make_collator: Any, features: Dataset, output_mode: str, whole: bool
) -> None:
    """A CPU or GPU with units for bfloat16 gets its expert in it; what is learned beside stays in full precision."""
    continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    full = make_tuned(output_mode=output_mode, whole=whole).auxiliary  # the tiny expert's weights are exact in bfloat16
    assert torch.equal(expert.unembedding.bfloat16().float(), expert.unembedding)
    half = AuxiliaryModel(full.config, expert.unembedding.bfloat16(), full.groups, full.support)
    half.load_state_dict(full.state_dict())
    losses, gradients = [], []
    for auxiliary in (full, half):
        loss = FeatureLoss(auxiliary, continues)
        value = loss(**make_collator(condition_dropout=0.0, negative_rate=0.3)(list(FeatureRows(features))))["loss"]
        value.backward()
        losses.append(value.item())
        gradients.append(torch.cat([weight.grad.flatten() for weight in loss.parameters() if weight.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert torch.allclose(*gradients, atol=1e-5)
