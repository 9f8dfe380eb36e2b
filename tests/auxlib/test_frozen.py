"""The expert is read and never written, and its fingerprint proves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from auxlib.errors import AssetError, AuxlibError, ExpertMismatch, SettingError
from auxlib.frozen import Expert, best_device, best_dtype, fingerprint, freeze, load_expert, require_same_expert


def test_the_fingerprint_is_that_of_the_exact_copy_and_of_nothing_else(make_expert: Callable[..., Expert]) -> None:
    whole, half, other = make_expert(), make_expert(dtype="bfloat16"), make_expert(seed=1)
    assert whole.fingerprint == half.fingerprint == fingerprint(whole.model)
    assert len(whole.fingerprint) == 16
    assert other.fingerprint != whole.fingerprint


def test_the_smallest_change_of_one_weight_changes_the_fingerprint(make_expert: Callable[..., Expert]) -> None:
    model = make_expert().model
    before = fingerprint(model)
    weight = model.model.layers[1].mlp.up_proj.weight.data
    kept = weight[0, 0].item()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert fingerprint(model) != before
    weight[0, 0] = kept
    assert fingerprint(model) == before


def test_the_same_numbers_in_another_place_or_shape_are_another_model() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.arange(6.0, 12.0).reshape(2, 3)
    models = [{"a": a, "b": b}, {"a": b, "b": a}, {"a": a, "c": b}, {"a": a.reshape(3, 2), "b": b}]
    as_modules = [torch.nn.ParameterDict(model) for model in models]
    assert len(set(map(fingerprint, as_modules))) == len(models)


def test_a_frozen_model_has_no_gradients_and_no_dropout() -> None:
    model = freeze(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)).train())
    x = torch.ones(4, 3)
    assert torch.equal(model(x), model(x))
    assert not model(x).requires_grad


def test_lm_logits_are_hidden_states_times_the_unembedding(expert: Expert) -> None:
    ids = torch.tensor([[0, 5, 9, 30]])
    hidden = expert.model.base_model(ids).last_hidden_state
    torch.testing.assert_close(expert.model(ids).logits, hidden @ expert.unembedding.T, atol=1e-5, rtol=1e-5)
    assert expert.end_of_text_id == 0


def test_the_vocabulary_is_listed_once_and_not_for_every_text(
    make_expert: Callable[..., Expert], monkeypatch: pytest.MonkeyPatch
) -> None:
    expert, asked = make_expert(seed=3), []
    listed = type(expert.tokenizer).get_vocab
    monkeypatch.setattr(type(expert.tokenizer), "get_vocab", lambda self: asked.append(1) or listed(self))
    assert [expert.end_of_text_id for _ in range(3)] == [0, 0, 0]
    assert len(asked) == 1


def test_a_folder_gives_the_same_expert_frozen(expert: Expert, tmp_path: Path) -> None:
    expert.model.save_pretrained(tmp_path)
    expert.tokenizer.save_pretrained(tmp_path)
    loaded = load_expert(tmp_path, dtype=torch.float32, device="cpu")
    assert loaded.fingerprint == expert.fingerprint
    assert loaded.reference == str(tmp_path)
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert loaded.tokenizer("A dog")["input_ids"] == expert.tokenizer("A dog")["input_ids"]


def test_weights_that_are_a_pickle_are_not_loaded(expert: Expert, tmp_path: Path) -> None:
    expert.model.save_pretrained(tmp_path)
    torch.save(expert.model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(AssetError, match="safetensors"):
        load_expert(tmp_path)


@pytest.mark.parametrize("reference", ["no-such/expert", "/no/such/folder", "/no/such/model.gguf"])
def test_an_expert_that_is_nowhere_is_named(reference: str) -> None:
    with pytest.raises(AssetError, match=f"could not load the expert '{reference}'") as caught:
        load_expert(reference)
    assert "\n" not in str(caught.value)


def test_another_experts_fingerprint_is_refused_by_name(expert: Expert) -> None:
    require_same_expert(expert, expert.fingerprint, "this")
    with pytest.raises(ExpertMismatch, match=r"the cache was made for .* 0123456789abcdef, but 'tiny-0'"):
        require_same_expert(expert, "0123456789abcdef", "the cache")


@pytest.fixture(autouse=True)
def _unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUXLIB_DTYPE", raising=False)


def test_the_machine_decides_type_and_device() -> None:
    assert best_dtype("cuda") == torch.bfloat16
    assert best_dtype("cpu") in (torch.bfloat16, torch.float32)
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_environment_forces_the_type(expert: Expert, tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setenv("AUXLIB_DTYPE", name)
    assert best_dtype("cpu") == best_dtype("cuda") == getattr(torch, name)
    expert.model.save_pretrained(tmp_path)
    expert.tokenizer.save_pretrained(tmp_path)
    assert load_expert(tmp_path, device="cpu").model.dtype == getattr(torch, name)
    assert load_expert(tmp_path, dtype=torch.float16, device="cpu").model.dtype == torch.float16, "an argument wins"


def test_an_empty_variable_forces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = best_dtype("cpu")
    monkeypatch.setenv("AUXLIB_DTYPE", "")
    assert best_dtype("cpu") == machine


@pytest.mark.parametrize("name", ["float16", "fp32", "Float32"])
def test_another_type_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("AUXLIB_DTYPE", name)
    with pytest.raises(SettingError, match=f"AUXLIB_DTYPE is '{name}'; set it to float32 or bfloat16, or unset it"):
        best_dtype("cpu")
    assert issubclass(SettingError, AuxlibError)


def test_the_real_expert_is_a_language_model(real_expert: Expert) -> None:
    ids = real_expert.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        following = real_expert.model(ids).logits[0, -1].argmax()
    assert real_expert.tokenizer.decode(following) == " Paris"
    assert real_expert.unembedding.shape == (49152, 576)
