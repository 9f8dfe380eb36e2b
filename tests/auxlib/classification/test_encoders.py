"""The encoder's states are those of the model itself, regardless of the rest of the batch, and are computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from auxlib.classification.encoders import Encoder, as_batch, cache_states, load_encoder
from auxlib.collator import FeatureRows
from auxlib.errors import AssetError, TaskError
from tests.conftest import SENTENCES

ROUNDING = 1e-5
HALF = 2e-3  # of states of about one, kept in float16


@pytest.fixture
def rows() -> Dataset:
    return Dataset.from_list([{"text": text, "label": i % 3} for i, text in enumerate(SENTENCES)])


@pytest.fixture
def kept(encoder: Encoder, rows: Dataset, cache: Path) -> Dataset:
    return cache_states(encoder, rows, batch_tokens=30, progress=False)


def alone(encoder: Encoder, text: str) -> torch.Tensor:
    return encoder.model(torch.tensor([encoder.tokenizer(text)["input_ids"]])).last_hidden_state[0]


def test_what_is_kept_is_what_the_model_says_of_each_text_alone(encoder: Encoder, rows: Dataset, kept: Dataset) -> None:
    by_ids = {tuple(encoder.tokenizer(text)["input_ids"]): text for text in SENTENCES}
    assert len(kept) == len(rows)
    for row in kept:
        text = by_ids[tuple(row["token_ids"])]
        states = torch.tensor(np.array(row["hidden"], dtype=np.float32)).view(len(row["token_ids"]), -1)
        assert torch.allclose(states, alone(encoder, text), atol=HALF)
        assert row["label"] == SENTENCES.index(text) % 3


def test_padding_changes_no_state(encoder: Encoder) -> None:
    encoded = encoder.encode({"text": list(SENTENCES)})
    ids, mask = as_batch(encoder, encoded)
    assert mask.sum(1).tolist() == list(map(len, encoded))
    together = encoder.read(ids, mask)
    for text, states, tokens in zip(SENTENCES, together, encoded, strict=True):
        assert torch.allclose(states[: len(tokens)], alone(encoder, text), atol=ROUNDING)


def test_a_second_call_reads_nothing(
    encoder: Encoder, rows: Dataset, kept: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "read", lambda *_: pytest.fail("read again"))
    assert cache_states(encoder, rows, progress=False)[:] == kept[:]


def test_other_labels_and_other_texts_are_other_states(
    encoder: Encoder, rows: Dataset, kept: Dataset, cache: Path
) -> None:
    relabelled = rows.map(lambda row: {"label": 2 - row["label"]})
    assert sorted(cache_states(encoder, relabelled, progress=False)["label"]) != sorted(kept["label"])
    cache_states(encoder, rows.select(range(3)), progress=False)
    assert len([path for path in (cache / "states").iterdir() if path.is_dir()]) == 3


def test_long_texts_are_cut_and_counted_once(
    encoder: Encoder, rows: Dataset, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        kept = cache_states(encoder, rows, length=8, progress=False)
    assert max(map(len, kept["token_ids"])) == 8
    assert capsys.readouterr().out.count("of 8 texts have 8 tokens or more; what follows is not read.") == 1


def test_a_pair_is_read_as_one_text(encoder: Encoder) -> None:
    (pair,) = encoder.encode({"text": ["the dog"], "second": ["a coat"]})
    assert encoder.tokenizer.convert_ids_to_tokens(pair) == ["[CLS]", "the", "dog", "[SEP]", "a", "coat", "[SEP]"]


def test_a_length_that_nobody_could_read_is_refused(encoder: Encoder) -> None:
    longest = encoder.model.config.max_position_embeddings
    assert len(encoder.encode({"text": ["a " * 999]}, longest)[0]) == longest
    for length in (2, longest + 1):
        with pytest.raises(TaskError, match=f"length is {length}; .* reads from 3 to {longest} tokens"):
            encoder.encode({"text": list(SENTENCES)}, length)


def test_no_gradient_enters_the_encoder(encoder: Encoder) -> None:
    assert not any(weight.requires_grad for weight in encoder.model.parameters())
    assert not encoder.read(*as_batch(encoder, encoder.encode({"text": list(SENTENCES)}))).requires_grad


def test_no_text_is_refused(encoder: Encoder, rows: Dataset, cache: Path) -> None:
    with pytest.raises(TaskError, match="there is no text to read"):
        cache_states(encoder, rows.select([]), progress=False)


def test_rows_come_with_their_label_and_mapped_states(kept: Dataset) -> None:
    rows = FeatureRows(kept, plain="label")
    assert rows.lengths == sorted(rows.lengths)
    assert set(rows[0]) == {"token_ids", "hidden", "label"}
    assert isinstance(rows[0]["label"], int)
    assert not rows[0]["hidden"].flags.owndata


@pytest.fixture
def folder(encoder: Encoder, tmp_path: Path) -> Path:
    encoder.model.save_pretrained(tmp_path / "bert")
    encoder.tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_an_encoder_is_read_up_to_a_layer(encoder: Encoder, folder: Path) -> None:
    ids, mask = as_batch(encoder, encoder.encode({"text": list(SENTENCES)}))
    layers = encoder.model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for layer in (1, 2, 3):
        cut = load_encoder(folder, layer, torch.float32, "cpu")
        assert cut.layers == layer
        assert torch.allclose(cut.read(ids, mask)[mask], layers[layer][mask], atol=ROUNDING)
    assert cut.fingerprint == encoder.fingerprint
    assert load_encoder(folder, 2, torch.float32, "cpu").fingerprint != encoder.fingerprint


@pytest.mark.parametrize("layers", [0, 4])
def test_layers_that_are_not_there_are_refused(folder: Path, layers: int) -> None:
    with pytest.raises(TaskError, match=f"has 3 layers; it cannot be read up to layer {layers}"):
        load_encoder(folder, layers)


def test_an_encoder_that_is_nowhere_is_named() -> None:
    with pytest.raises(AssetError, match=r"could not load the encoder '/no/such/folder'.* Give 'minilm'"):
        load_encoder("/no/such/folder")
