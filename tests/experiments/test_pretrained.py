"""Training of what ships with the course: what it costs, what it learns, and where its result goes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from auxlib.__main__ import main
from auxlib.frozen import fingerprint
from auxlib.worlds.story_lm import lm_nll, load_story_lm, new_story_lm, word_tokenizer
from auxlib.worlds.storyland import Storyland
from experiments.pretrained import train_story_lm, training_flops


@pytest.fixture(scope="module")
def texts(world: Storyland) -> Tensor:
    return world.sample(2_000, torch.Generator().manual_seed(11))


def test_the_receipts_price_of_training_is_six_operations_a_weight_and_token(world: Storyland, texts: Tensor) -> None:
    model = new_story_lm(world)
    weights = sum(weight.numel() for weight in model.parameters())
    read = texts[:8].shape[1] + 1
    assert training_flops(model, texts[:8], 1000) == pytest.approx(6 * weights * read * 1000, rel=0.05)


def test_a_few_steps_of_training_help_and_what_is_saved_loads(
    world: Storyland, texts: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the trainer's folder is relative
    model = train_story_lm(world, sentences=800, batch=32, width=16)
    assert lm_nll(model, texts[:200]) < lm_nll(new_story_lm(world, width=16), texts[:200]) - 0.1
    model.save_pretrained(tmp_path / "lm")
    word_tokenizer(world).save_pretrained(tmp_path / "lm")
    loaded = load_story_lm(tmp_path / "lm")
    assert loaded.fingerprint == fingerprint(model)
    assert loaded.tokenizer.get_vocab() == world.ids


def test_a_quick_training_leaves_what_the_course_ships_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.pretrained.data_dir", lambda: tmp_path / "data")
    assert main(["train", "storyland-lm"]) == 0
    assert str(tmp_path / "build" / "checkpoints" / "storyland-lm") in capsys.readouterr().out
    assert not (tmp_path / "data" / "checkpoints").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_one_saves(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[Path] = []
    stuff = SimpleNamespace(train=[], support=[], expert=SimpleNamespace(fingerprint="f"))
    model = SimpleNamespace(receipt={}, save_pretrained=saved.append)
    run = SimpleNamespace(steps=[1], losses=[2.0], dev_loss=3.0, minutes=4.0)
    monkeypatch.setattr("experiments.pretrained.data_dir", lambda: tmp_path / "data")
    monkeypatch.setattr("auxlib.recipes.prepare_data", lambda recipe: stuff)
    monkeypatch.setattr("auxlib.recipes.train", lambda data, output_dir: (model, run))
    monkeypatch.setenv("RANK", str(rank))
    assert main(["train"]) == 0
    written = [path.name for path in tmp_path.rglob("*.json")]
    assert (len(saved), written) == ((0, []) if rank else (1, ["real_training.json"]))
