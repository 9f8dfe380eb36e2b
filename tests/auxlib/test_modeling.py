"""The pair is an ordinary model: it generates, batches, caches, trains, saves and loads like one."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from auxlib.auxiliary import AuxiliaryConfig
from auxlib.checkpoint import SETTINGS, WEIGHTS
from auxlib.errors import CheckpointError, ExpertMismatch, KeywordError, WeightError
from auxlib.frozen import Expert, fingerprint
from auxlib.keywords import contains_keyword, encode_keyword
from auxlib.modeling import AuxiliaryTunedLM
from tests.conftest import PREAMBLE, SENTENCES

WORDS = ["lantern", "dog", None]
STARTS = ["The narrow", "", "She plays the violin"]
MakeTuned = Callable[..., AuxiliaryTunedLM]
DECODING = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "top_p": 0.9, "temperature": 0.8},
}


@pytest.fixture
def inputs(tuned: AuxiliaryTunedLM) -> dict[str, Tensor]:
    return tuned.inputs_for(WORDS, STARTS)


def row(inputs: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """One row without its padding."""
    kept = inputs["attention_mask"][i] == 1
    return {
        "input_ids": inputs["input_ids"][i : i + 1, kept],
        "attention_mask": inputs["attention_mask"][i : i + 1, kept],
        "keyword_ids": inputs["keyword_ids"][i : i + 1],
    }


def write(model: AuxiliaryTunedLM, inputs: dict[str, Tensor], seed: int = 0, **options: Any) -> Tensor:
    """New tokens only, padded to ten."""
    torch.manual_seed(seed)
    ids = model.generate(**inputs, **{"max_new_tokens": 10, "do_sample": False, **options})
    ids = ids[:, inputs["input_ids"].shape[1] :]
    return torch.nn.functional.pad(ids, (0, 10 - ids.shape[1]), value=model.config.pad_token_id)


@torch.no_grad()
def logits(model: AuxiliaryTunedLM, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    return model(**inputs, **options).logits


def frozen_logits(model: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> Tensor:
    mask = inputs["attention_mask"]
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        return model.expert(input_ids=inputs["input_ids"], attention_mask=mask, position_ids=position_ids).logits


# --- the weight λ ---


def test_weight_zero_is_exactly_the_frozen_model(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    assert torch.equal(logits(tuned, inputs, weight=0.0), frozen_logits(tuned, inputs))
    assert not torch.allclose(logits(tuned, inputs), frozen_logits(tuned, inputs), atol=1e-2)


def test_one_weight_a_row_is_row_by_row(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    weights = torch.tensor([0.0, 1.5, -1.0])
    together = logits(tuned, inputs, weight=weights)
    for i, weight in enumerate(weights.tolist()):
        torch.testing.assert_close(together[i], logits(tuned, inputs, weight=weight)[i], atol=1e-5, rtol=1e-5)


def test_the_weight_scales_the_auxiliarys_logits(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    lm_logits = frozen_logits(tuned, inputs)
    once = logits(tuned, inputs) - lm_logits
    for weight in (-1.0, 0.5, 3.0):
        torch.testing.assert_close(
            logits(tuned, inputs, weight=weight), lm_logits + weight * once, atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("weight", [math.nan, math.inf, torch.tensor([1.0, math.nan, 1.0]), torch.ones(2)])
def test_a_weight_that_is_no_number_or_does_not_fit_is_refused(
    tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor], weight: Any
) -> None:
    with pytest.raises(WeightError):
        tuned(**inputs, weight=weight)
    with pytest.raises(WeightError):
        tuned.generate(**inputs, weight=weight, max_new_tokens=2)


@pytest.mark.parametrize("weight", [2.0, torch.tensor(2.0), torch.tensor([2.0]), torch.tensor([2.0, 2.0, 2.0])])
@pytest.mark.parametrize("decoding", DECODING)
def test_one_weight_can_be_given_in_any_form(
    tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor], weight: Any, decoding: str
) -> None:
    written = write(tuned, inputs, weight=weight, **DECODING[decoding])
    assert torch.equal(written, write(tuned, inputs, weight=2, **DECODING[decoding]))


# --- generating ---


@pytest.mark.parametrize("options", DECODING.values(), ids=DECODING)
@pytest.mark.parametrize("form", ["default", "paper"])
def test_with_and_without_cache_the_same_is_written(make_tuned: MakeTuned, form: str, options: dict[str, Any]) -> None:
    config = AuxiliaryConfig.paper(width=16, heads=2, zero_init=False) if form == "paper" else None
    model = make_tuned(config)
    inputs = model.inputs_for(WORDS, STARTS)
    weights = torch.tensor([1.0, 2.0, 0.5])
    cached = write(model, inputs, weight=weights, use_cache=True, **options)
    assert torch.equal(cached, write(model, inputs, weight=weights, use_cache=False, **options))


def test_what_is_asked_for_changes_what_is_written(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    plain = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    asked, unasked = write(tuned, inputs, weight=2.0), write(tuned, plain, weight=2.0)
    assert not torch.equal(asked[:2], unasked[:2])
    assert torch.equal(asked[2], unasked[2])


def test_batched_and_padded_rows_are_the_rows_alone(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    together, written = logits(tuned, inputs), write(tuned, inputs)
    for i in range(len(WORDS)):
        alone = row(inputs, i)
        length = alone["input_ids"].shape[1]
        torch.testing.assert_close(together[i, -length:], logits(tuned, alone)[0], atol=1e-5, rtol=1e-5)
        assert torch.equal(written[i], write(tuned, alone)[0])


def test_more_padding_changes_nothing(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    padded = {
        "input_ids": torch.nn.functional.pad(inputs["input_ids"], (6, 0), value=17),
        "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (6, 0)),
        "keyword_ids": inputs["keyword_ids"],
    }
    real = inputs["attention_mask"] == 1
    torch.testing.assert_close(logits(tuned, padded)[:, 6:][real], logits(tuned, inputs)[real], atol=1e-5, rtol=1e-5)
    assert torch.equal(write(tuned, padded), write(tuned, inputs))


def test_greedy_generation_is_ones_own_argmax_loop(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["lantern"], ["The"])
    ids = inputs["input_ids"]
    for _ in range(10):
        following = logits(tuned, {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)})[:, -1]
        ids = torch.cat([ids, following.argmax(-1, keepdim=True)], 1)
        if ids[0, -1] == tuned.config.eos_token_id:
            break
    written = tuned.generate(**inputs, max_new_tokens=10, do_sample=False)
    assert torch.equal(written, ids)


def test_logits_from_the_cache_are_those_of_the_whole_text(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    ids, mask, first = inputs["input_ids"], inputs["attention_mask"], inputs["input_ids"].shape[1] - 4
    whole = logits(tuned, inputs)
    with torch.no_grad():
        begun = {**inputs, "input_ids": ids[:, :first], "attention_mask": mask[:, :first]}
        out = tuned(**begun, use_cache=True)
        pieces = [out.logits]
        for t in range(first, ids.shape[1]):
            out = tuned(
                input_ids=ids[:, t : t + 1],
                attention_mask=mask[:, : t + 1],
                keyword_ids=inputs["keyword_ids"],
                context_ids=ids[:, : t + 1],
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            pieces.append(out.logits)
    real = mask == 1
    torch.testing.assert_close(torch.cat(pieces, 1)[real], whole[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("decoding", ["greedy", "sampling"])
@pytest.mark.parametrize("bare", [False, True], ids=["framed", "bare"])
def test_a_preamble_that_was_read_before_changes_nothing(make_tuned: MakeTuned, decoding: str, bare: bool) -> None:
    model = make_tuned()
    if bare:
        model = AuxiliaryTunedLM(model.expert_info, model.auxiliary, replace(model.template, preamble_ids=(0,)))
    inputs = model.inputs_for(WORDS, ["The dog"] * len(WORDS))
    fresh = write(model, inputs, **DECODING[decoding])
    for _ in range(2):
        read = model.read_preamble(len(WORDS))
        assert torch.equal(fresh, write(model, inputs, past_key_values=read, **DECODING[decoding]))


def test_only_the_last_logits_can_be_kept(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    torch.testing.assert_close(logits(tuned, inputs, logits_to_keep=2), logits(tuned, inputs)[:, -2:])


def test_a_streamer_hands_out_what_is_written(tuned: AuxiliaryTunedLM) -> None:
    from transformers import TextIteratorStreamer

    tokenizer = tuned.expert_info.tokenizer
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    inputs = tuned.inputs_for(["dog"], ["The"])
    ids = tuned.generate(**inputs, max_new_tokens=8, do_sample=False, streamer=streamer)
    assert "".join(streamer) == tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])


def test_a_strong_push_on_the_next_piece_writes_the_keyword(make_tuned: MakeTuned) -> None:
    model = make_tuned(zero_init=True)
    with torch.no_grad():
        model.auxiliary.copy.bias[0] = 3.0  # every needed piece, always
    inputs = model.inputs_for(["lantern", "harbour", "zebra"])
    ids = write(model, inputs, weight=3.0)
    for word, text in zip(["lantern", "harbour", "zebra"], ids, strict=True):
        pieces = encode_keyword(model.expert_info.tokenizer, word)[1]
        assert text[: len(pieces)].tolist() == pieces
        written = model.expert_info.tokenizer.decode(text[: len(pieces)])
        assert contains_keyword(written, word)


def test_the_pipeline_takes_a_keyword(tuned: AuxiliaryTunedLM) -> None:
    from transformers import pipeline

    tokenizer = tuned.expert_info.tokenizer
    inputs = tuned.inputs_for(["lantern"], ["The dog"])
    prompt = tokenizer.decode(tuned.template.preamble_ids) + "The dog"
    pipe = pipeline("text-generation", model=tuned, tokenizer=tokenizer)
    options = {"max_new_tokens": 8, "do_sample": False}
    found = pipe(prompt, keyword_ids=inputs["keyword_ids"], weight=2.0, return_full_text=False, **options)
    ids = tuned.generate(**inputs, weight=2.0, **options)
    expected = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert found[0]["generated_text"].strip() == expected.strip()


# --- what goes in ---


def test_inputs_are_the_preamble_and_the_start_padded_on_the_left(tuned: AuxiliaryTunedLM, frame: Any) -> None:
    inputs = tuned.inputs_for(["dog", "dog"], ["", "The lantern"])
    text = tuned.expert_info.tokenizer.decode(row(inputs, 1)["input_ids"][0], skip_special_tokens=True)
    assert text == f"{PREAMBLE}The lantern"
    assert row(inputs, 0)["input_ids"][0].tolist() == list(frame.preamble_ids)
    assert inputs["attention_mask"][0, 0] == 0


def test_no_rows_and_bad_keywords_are_refused(tuned: AuxiliaryTunedLM) -> None:
    with pytest.raises(KeywordError, match="no keyword was given"):
        tuned.inputs_for([])
    with pytest.raises(KeywordError, match="empty"):
        tuned.inputs_for(["dog", " "])


# --- training ---


def test_loss_with_labels_is_the_token_nll_by_hand(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    with torch.no_grad():
        out = tuned(**inputs, labels=labels, weight=torch.tensor([1.0, 0.0, 2.0]))
    log_probs = out.logits.double().log_softmax(-1)
    scored = [
        -log_probs[i, t, labels[i, t + 1]]
        for i in range(len(labels))
        for t in range(labels.shape[1] - 1)
        if labels[i, t + 1] != -100
    ]
    assert float(out.loss) == pytest.approx(float(torch.stack(scored).mean()), abs=1e-5)


def rows_to_train(model: AuxiliaryTunedLM) -> list[dict[str, Tensor]]:
    rows = []
    for text, word in zip(SENTENCES, ["dog", "violin", "street", "coat"] * 2, strict=True):
        inputs = model.inputs_for([word], [text])
        ids = inputs["input_ids"][0, -24:]  # one length, so that the default collator can stack them
        keyword_ids = torch.full((2, 16), -1)
        keyword_ids[:, : inputs["keyword_ids"].shape[-1]] = inputs["keyword_ids"][0]
        rows.append({"input_ids": ids, "labels": ids.clone(), "keyword_ids": keyword_ids})
    return rows


def train(model: AuxiliaryTunedLM, folder: Path, **options: Any) -> float:
    from transformers import Trainer, TrainingArguments

    settings = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        **options,
    }
    arguments = TrainingArguments(str(folder), report_to="none", disable_tqdm=True, use_cpu=True, **settings)
    return Trainer(model=model, args=arguments, train_dataset=rows_to_train(model)).train().training_loss


def test_transformers_trainer_trains_the_auxiliary_and_only_it(make_tuned: MakeTuned, tmp_path: Path) -> None:
    model = make_tuned(zero_init=True)
    before = {name: weight.clone() for name, weight in model.auxiliary.named_parameters()}
    assert math.isfinite(train(model, tmp_path))
    assert any(not torch.equal(weight, before[name]) for name, weight in model.auxiliary.named_parameters())
    assert fingerprint(model.expert) == model.expert_info.fingerprint


def test_accumulated_steps_are_the_step_of_the_whole_batch(make_tuned: MakeTuned, tmp_path: Path) -> None:
    plain = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0}
    whole, halves = make_tuned(), make_tuned()
    one = train(whole, tmp_path / "whole", per_device_train_batch_size=8, **plain)
    two = train(halves, tmp_path / "halves", per_device_train_batch_size=4, gradient_accumulation_steps=2, **plain)
    assert one == pytest.approx(two, rel=1e-4)
    for left, right in zip(whole.auxiliary.parameters(), halves.auxiliary.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_in_training_mode_the_expert_stays_without_dropout(
    make_expert: Callable[..., Expert], make_tuned: MakeTuned
) -> None:
    model = make_tuned(beside=make_expert(attention_dropout=0.5))
    inputs = model.inputs_for(["dog"], ["The lantern lit"])
    calm = logits(model, inputs)
    model.train()
    assert model.auxiliary.training
    assert torch.equal(logits(model, inputs, weight=0.0), logits(model, inputs, weight=0.0))
    torch.testing.assert_close(logits(model, inputs), calm)
    assert not model.eval().auxiliary.training


# --- saving and loading ---


@pytest.fixture
def saved(tuned: AuxiliaryTunedLM, tmp_path: Path) -> Path:
    tuned.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("form", ["default", "paper", "whole"])
def test_a_loaded_pair_is_the_saved_one_rounded_to_half_precision(
    make_tuned: MakeTuned, expert: Expert, tmp_path: Path, form: str
) -> None:
    config = AuxiliaryConfig.paper(width=16, heads=2, zero_init=False) if form == "paper" else None
    model = make_tuned(config, whole=form == "whole", seed=3)
    model.receipt.update(seed=3, note="λ")
    model.save_pretrained(tmp_path)
    loaded = AuxiliaryTunedLM.from_pretrained(tmp_path, expert)
    inputs = model.inputs_for(WORDS, STARTS)
    with torch.no_grad():
        for weight in model.auxiliary.parameters():
            weight.copy_(weight.to(torch.bfloat16))
    assert torch.equal(logits(loaded, inputs), logits(model, inputs))
    assert loaded.receipt == model.receipt
    assert loaded.template == model.template
    assert not loaded.auxiliary.training


def test_saving_again_writes_the_same_bytes(saved: Path, expert: Expert, tmp_path: Path) -> None:
    AuxiliaryTunedLM.from_pretrained(saved, expert).save_pretrained(tmp_path / "again")
    assert {path.name for path in saved.iterdir()} == {SETTINGS, WEIGHTS}
    for name in (SETTINGS, WEIGHTS):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_what_is_saved_is_small_and_holds_nothing_of_the_expert(saved: Path, tuned: AuxiliaryTunedLM) -> None:
    from safetensors.torch import load_file

    stored = load_file(saved / WEIGHTS)
    assert set(stored) == set(tuned.auxiliary.state_dict())
    parameters = sum(weight.numel() for weight in tuned.auxiliary.parameters())
    assert sum(path.stat().st_size for path in saved.iterdir()) < 2 * parameters + 20_000
    theirs = {tuple(weight.shape) for weight in tuned.expert.state_dict().values()}
    own = {tuple(weight.shape) for weight in tuned.auxiliary.parameters()}
    assert not {tuple(value.shape) for value in stored.values()} & (theirs - own)


def test_a_pair_loads_its_expert_by_name(make_tuned: MakeTuned, expert: Expert, tmp_path: Path) -> None:
    expert.model.save_pretrained(tmp_path / "expert")
    expert.tokenizer.save_pretrained(tmp_path / "expert")
    model = make_tuned(beside=replace(expert, reference=str(tmp_path / "expert")))
    model.save_pretrained(tmp_path / "pair")
    loaded = AuxiliaryTunedLM.from_pretrained(tmp_path / "pair")
    assert loaded.expert_info.fingerprint == expert.fingerprint
    assert loaded.inputs_for(["dog"])["input_ids"].tolist() == model.inputs_for(["dog"])["input_ids"].tolist()


def test_the_auxiliary_of_another_expert_is_refused(saved: Path, make_expert: Callable[..., Expert]) -> None:
    with pytest.raises(ExpertMismatch, match="Load that model, or train"):
        AuxiliaryTunedLM.from_pretrained(saved, make_expert(seed=9))


def test_a_swap_of_experts_is_a_choice_and_is_remembered(
    saved: Path, make_expert: Callable[..., Expert], tuned: AuxiliaryTunedLM, tmp_path: Path
) -> None:
    other = make_expert(seed=9)
    swapped = AuxiliaryTunedLM.from_pretrained(saved, other, swap=True)
    assert swapped.receipt["trained_beside"] == tuned.expert_info.fingerprint
    inputs = swapped.inputs_for(["dog"], ["The"])
    assert torch.equal(swapped(**inputs, weight=0.0).logits, other.model(inputs["input_ids"]).logits.float())
    swapped.save_pretrained(tmp_path)
    assert AuxiliaryTunedLM.from_pretrained(tmp_path, other).receipt == swapped.receipt
    assert "trained_beside" not in AuxiliaryTunedLM.from_pretrained(saved, tuned.expert_info, swap=True).receipt


def test_a_half_precision_copy_of_the_expert_is_the_same_expert(
    saved: Path, make_expert: Callable[..., Expert], tuned: AuxiliaryTunedLM
) -> None:
    half = AuxiliaryTunedLM.from_pretrained(saved, make_expert(dtype="bfloat16"))
    inputs = tuned.inputs_for(WORDS, STARTS)
    joint_logits = logits(half, inputs)
    assert joint_logits.dtype == torch.float32
    torch.testing.assert_close(joint_logits.softmax(-1), logits(tuned, inputs).softmax(-1), atol=0.05, rtol=0)
    assert write(half, inputs, max_new_tokens=3).shape == (3, 10)


@pytest.mark.parametrize("name", [SETTINGS, WEIGHTS])
def test_a_missing_file_is_named(saved: Path, expert: Expert, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        AuxiliaryTunedLM.from_pretrained(saved, expert)


def test_a_missing_folder_is_named(tmp_path: Path, expert: Expert) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        AuxiliaryTunedLM.from_pretrained(tmp_path / "nowhere", expert)


@pytest.mark.parametrize("name", [SETTINGS, WEIGHTS])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_called_damaged(saved: Path, expert: Expert, name: str, share: float) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        AuxiliaryTunedLM.from_pretrained(saved, expert)


TAMPERED = {
    "a list": lambda settings: [settings],
    "null": lambda settings: None,
    "no expert": lambda settings: without(settings, "expert"),
    "no reference": lambda settings: {**settings, "expert": without(settings["expert"], "reference")},
    "no frame": lambda settings: without(settings, "frame"),
    "no end": lambda settings: {**settings, "frame": without(settings["frame"], "end_id")},
    "empty preamble": lambda settings: {**settings, "frame": {**settings["frame"], "preamble_ids": []}},
    "unknown option": lambda settings: {**settings, "auxiliary": {**settings["auxiliary"], "cleverness": 3}},
    "other width": lambda settings: {**settings, "auxiliary": {**settings["auxiliary"], "width": 32}},
    "more layers": lambda settings: {**settings, "auxiliary": {**settings["auxiliary"], "layers": 3}},
    "width as a word": lambda settings: {**settings, "auxiliary": {**settings["auxiliary"], "width": "wide"}},
}


def without(table: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_tampered_settings_are_refused(saved: Path, expert: Expert, tamper: Callable[[Any], Any]) -> None:
    settings = json.loads((saved / SETTINGS).read_text())
    (saved / SETTINGS).write_text(json.dumps(tamper(settings)))
    with pytest.raises(CheckpointError):
        AuxiliaryTunedLM.from_pretrained(saved, expert)


def test_a_pickle_in_place_of_the_weights_is_never_opened(saved: Path, expert: Expert) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (saved / "sprung",)

    (saved / WEIGHTS).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        AuxiliaryTunedLM.from_pretrained(saved, expert)
    assert not (saved / "sprung").exists()


def test_a_save_that_fails_leaves_the_older_one_whole(
    saved: Path, make_tuned: MakeTuned, expert: Expert, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("auxlib.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_tuned(width=32).save_pretrained(saved)
    assert {name: (saved / name).read_bytes() for name in before} == before


# --- with the real expert ---


@pytest.fixture(scope="module")
def shipped(real_expert: Expert) -> AuxiliaryTunedLM:
    from auxlib.data.assets import data_dir
    from auxlib.recipes import SHIPPED
    from auxlib.recipes import load_pretrained as load

    if not (data_dir() / "checkpoints" / SHIPPED).is_dir():
        pytest.skip(f"needs data/checkpoints/{SHIPPED}: python -m auxlib train")
    return load(real_expert)


def test_the_shipped_pair_writes_the_keyword_it_is_asked_for(shipped: AuxiliaryTunedLM) -> None:
    from auxlib.generation import write_sentences

    words = ["lantern", "harbour", "violin", "umbrella"]
    texts = write_sentences(shipped, words, weight=1.0, seed=0)
    assert sum(map(contains_keyword, texts, words)) >= 3, texts
    unsteered = write_sentences(shipped, words, weight=0.0, seed=0)
    assert sum(map(contains_keyword, unsteered, words)) <= 1, unsteered


def test_the_shipped_pair_is_the_frozen_model_at_weight_zero(shipped: AuxiliaryTunedLM) -> None:
    inputs = shipped.inputs_for(["lantern"], ["The"])
    assert torch.equal(logits(shipped, inputs, weight=0.0), frozen_logits(shipped, inputs).float())
