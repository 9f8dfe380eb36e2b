"""Storyland's small language model: an ordinary one, and close to the truth."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from auxlib.collator import IGNORE_INDEX
from auxlib.data.assets import data_dir
from auxlib.errors import AssetError
from auxlib.frozen import Expert, fingerprint
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.story_lm import (
    SHIPPED_LM,
    SHIPPED_LM_600K,
    lm_inputs,
    lm_nll,
    load_story_lm,
    new_story_lm,
    word_tokenizer,
)
from auxlib.worlds.storyland import Storyland


@pytest.fixture(scope="module")
def expert() -> Expert:
    return load_story_lm()


@pytest.fixture(scope="module")
def texts(world: Storyland) -> Tensor:
    return world.sample(2_000, torch.Generator().manual_seed(11))


def unpadded(token_ids: Tensor) -> list[list[int]]:
    return [[token for token in row if token != BLANK] for row in token_ids.tolist()]


def test_both_tokenizers_agree_with_the_world(world: Storyland, expert: Expert, texts: Tensor) -> None:
    readable, ids = world.decode(texts[:200]), unpadded(texts[:200])
    for tokenizer in (expert.tokenizer, word_tokenizer(world)):
        assert tokenizer.get_vocab() == world.ids
        assert tokenizer(readable)["input_ids"] == ids == unpadded(world.encode(readable))
        assert torch.equal(tokenizer(readable, padding=True, return_tensors="pt").input_ids, world.encode(readable))
        back = tokenizer.batch_decode(ids, skip_special_tokens=False)
        assert [text[:1].upper() + text[1:] for text in back] == readable
        marks = tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id
        assert marks == (BLANK, BLANK, world.ids["."])


def test_inputs_open_with_a_blank_hide_the_others_and_are_not_shifted(world: Storyland) -> None:
    token_ids = world.encode(["The king who", "Near the barn the queen"])
    inputs = lm_inputs(token_ids)
    assert inputs["input_ids"].tolist() == [[BLANK, *row] for row in token_ids.tolist()]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    first, second = inputs["labels"].tolist()
    assert first == [BLANK, *token_ids[0, :3].tolist(), IGNORE_INDEX, IGNORE_INDEX]
    assert second == [BLANK, *token_ids[1].tolist()]


def test_the_loss_is_the_mean_over_words_and_blanks_change_nothing(expert: Expert, texts: Tensor) -> None:
    rows = texts[:20]
    log_probs = expert.model(input_ids=torch.nn.functional.pad(rows, (1, 0))).logits.log_softmax(-1)
    by_hand = [
        -float(log_probs[b, t, token])
        for b, row in enumerate(rows.tolist())
        for t, token in enumerate(row)
        if token != BLANK
    ]
    assert lm_nll(expert.model, rows) == pytest.approx(math.fsum(by_hand) / len(by_hand), abs=1e-5)
    wider = torch.nn.functional.pad(rows, (0, 4))
    assert lm_nll(expert.model, wider) == pytest.approx(lm_nll(expert.model, rows), abs=1e-5)


def test_the_shipped_model_is_frozen_and_the_same_each_time(expert: Expert, texts: Tensor) -> None:
    assert fingerprint(expert.model) == expert.fingerprint == load_story_lm().fingerprint
    assert not any(weight.requires_grad for weight in expert.model.parameters())
    assert expert.model.dtype == torch.float32
    assert expert.unembedding.data_ptr() == expert.model.get_input_embeddings().weight.data_ptr()
    lm_nll(expert.model, texts[:10])
    assert fingerprint(expert.model) == expert.fingerprint


def test_the_shipped_model_is_close_to_the_truth(world: Storyland, expert: Expert, texts: Tensor) -> None:
    nll, floor = lm_nll(expert.model, texts), -float(world.log_prob(texts).sum() / (texts != BLANK).sum())
    assert 0 < nll - floor < 0.05
    assert abs(nll - world.entropy_rate) < 0.05


@pytest.mark.parametrize("name", [SHIPPED_LM, SHIPPED_LM_600K])
def test_the_receipt_is_of_this_grammar(world: Storyland, expert: Expert, name: str) -> None:
    receipt = json.loads((data_dir() / "checkpoints" / name / "receipt.json").read_text())
    command = f"python -m auxlib train {name} --profile full --seed 0"
    assert receipt["command"] == command
    assert receipt["entropy_rate"] == pytest.approx(world.entropy_rate, abs=1e-4), f"the grammar has changed: {command}"
    assert 0 < receipt["nll"] - receipt["entropy_rate"] < 0.05
    assert expert.model.config.vocab_size == len(world.vocabulary)


def test_the_well_read_model_is_of_the_same_shape_and_nearer_to_the_truth(
    world: Storyland, expert: Expert, texts: Tensor
) -> None:
    well_read = load_story_lm(SHIPPED_LM_600K)
    shapes = [{name: tuple(w.shape) for name, w in lm.model.state_dict().items()} for lm in (expert, well_read)]
    assert shapes[0] == shapes[1]
    gaps = [lm_nll(lm.model, texts) - world.entropy_rate for lm in (expert, well_read)]
    assert gaps[1] < gaps[0] / 2


def test_the_shipped_model_writes_sentences_of_the_language(world: Storyland, expert: Expert) -> None:
    torch.manual_seed(0)
    start = torch.full((50, 1), BLANK)
    written = expert.model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, max_new_tokens=20)
    assert float(world.is_grammatical(written[:, 1:]).double().mean()) > 0.8


def test_an_untrained_model_knows_nothing_yet_and_is_the_same_for_a_seed(world: Storyland, texts: Tensor) -> None:
    before = torch.get_rng_state()
    models = [new_story_lm(world, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (fingerprint(model) for model in models)
    assert first == same != other
    assert sum(weight.numel() for weight in models[0].parameters()) < 250_000
    assert lm_nll(models[0], texts[:200]) == pytest.approx(math.log(len(world.vocabulary)), abs=0.3)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="nowhere"):
        load_story_lm(tmp_path / "nowhere")
