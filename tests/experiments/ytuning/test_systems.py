"""Everybody who takes part: scores for all labels, the same search, and only the weights that it says it tunes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from datasets import DatasetDict

from auxlib.classification.encoders import Encoder, mean_state
from auxlib.classification.trainer import predict_logits, states_batch, text_batch
from auxlib.classification.ytuning import LOSSES
from experiments.ytuning import systems
from experiments.ytuning.setup import TrainingSetup
from experiments.ytuning.systems import BY_NAME, SYSTEMS, LinearProbe

ALL = SYSTEMS | BY_NAME
ROUNDING = 1e-4


@pytest.mark.parametrize("name", ALL)
def test_everybody_has_three_settings(name: str) -> None:
    settings = ALL[name].settings
    assert len(settings) == len({str(sorted(setting.items())) for setting in settings}) == 3
    for setting in settings:
        assert set(setting) <= {"rate", "layer", "loss"}
        assert setting.get("loss", "softmax") in LOSSES
        assert ("layer" in setting) == ALL[name].cached


@pytest.mark.parametrize("name", ALL)
def test_a_score_for_each_label_whoever_shares_the_batch(
    name: str, small: Callable, texts: DatasetDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "best_dtype", lambda device: torch.float32)
    desk = TrainingSetup(ALL[name], ALL[name].settings[0], texts, 0)
    rows = desk.rows("test")
    together = predict_logits(desk.module, rows, desk.collate)
    assert together.shape == (28, 7)
    for i in (0, 9, 27):
        batch = desk.collate([rows[i]])
        batch.pop("labels")
        assert torch.allclose(desk.module(**batch)[0].detach(), together[i], atol=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tuned_encoder_is_judged_in_the_precision_that_it_was_trained_in(
    dtype: torch.dtype, small: Callable, texts: DatasetDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "best_dtype", lambda device: dtype)
    desk, seen = TrainingSetup(SYSTEMS["full"], SYSTEMS["full"].settings[0], texts, 0), set()
    inner = next(module for module in desk.module.model.modules() if isinstance(module, torch.nn.Linear))
    inner.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    desk.evaluate()
    assert seen == {dtype}


@pytest.mark.parametrize(
    ("name", "learns"),
    [
        ("linear", {"head"}),
        ("attention", {"query", "head"}),
        ("full", {"model", "head"}),
        ("lora", {"lora", "head"}),
        ("ytuning", {"text", "blocks", "out", "own", "bias"}),
    ],
)
def test_only_these_learn(name: str, learns: set[str], small: Callable, texts: DatasetDict) -> None:
    module = TrainingSetup(SYSTEMS[name], SYSTEMS[name].settings[0], texts, 0).module
    names = [weight for weight, value in module.named_parameters() if value.requires_grad]
    kinds = {"lora" if ".lora_" in weight else weight.split(".")[0] for weight in names}
    assert kinds == learns


def test_noise_reaches_whoever_reads_the_texts_itself(small: Callable, texts: DatasetDict) -> None:
    for name in ("full", "ytuning"):
        desk = TrainingSetup(SYSTEMS[name], SYSTEMS[name].settings[0], texts, 0)
        rows = desk.rows("test")
        plain, nearly, noisy = (predict_logits(desk.module, rows, desk.collate, noise) for noise in (0, 1e-6, 2.0))
        assert torch.allclose(plain, nearly, atol=1e-3), name
        assert not torch.allclose(plain, noisy, atol=0.01), name


def test_labels_that_begin_at_wrong_names_begin_at_all_names(small: Callable, texts: DatasetDict) -> None:
    right, wrong = (TrainingSetup(BY_NAME[name], BY_NAME[name].settings[0], texts, 0).module for name in BY_NAME)
    assert torch.equal(wrong.names, right.names.roll(-1, 0))


def test_a_linear_probe_is_a_line_on_the_mean(encoder: Encoder) -> None:
    torch.manual_seed(0)
    hidden, mask = torch.randn(2, 5, 32), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    probe = LinearProbe(32, 3)
    assert torch.allclose(mean_state(hidden, mask)[1], hidden[1, :2].mean(0), atol=1e-6)
    assert torch.allclose(probe(hidden, mask)[0], probe.head(hidden[0].mean(0)), atol=1e-6)


def test_the_two_collators_agree_about_what_is_padding(encoder: Encoder, small: Callable, texts: DatasetDict) -> None:
    cached, direct = (TrainingSetup(SYSTEMS[name], SYSTEMS[name].settings[0], texts, 0) for name in ("linear", "full"))
    kept = {tuple(row["token_ids"]): row["label"] for row in map(cached.rows("dev").__getitem__, range(14))}
    read = {tuple(row["token_ids"]): row["label"] for row in map(direct.rows("dev").__getitem__, range(14))}
    assert kept == read
    assert cached.rows("dev").lengths == direct.rows("dev").lengths
    rows = [direct.rows("dev")[i] for i in range(3)]
    batch = partial(text_batch, encoder)(rows)
    states = [{**row, "hidden": torch.zeros(len(row["token_ids"]), 32).half().flatten().numpy()} for row in rows]
    assert torch.equal(batch["mask"], states_batch(states)["mask"])
