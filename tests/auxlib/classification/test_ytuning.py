"""Labels that look at a text: an order of labels that means nothing, padding that is not seen, scores that are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.classification.encoders import Encoder
from auxlib.classification.ytuning import (
    LabelConfig,
    LabelDecoder,
    LabelTuned,
    label_text,
    margin_loss,
    name_states,
    train_labels,
)
from auxlib.errors import CheckpointError, ExpertMismatch, TaskError
from tests.conftest import SENTENCES

ROUNDING = 1e-5
CONFIG = LabelConfig(width=16, layers=2, heads=2)
NAMES = ("animals", "music", "streets", "clothes")
Make = Callable[..., LabelDecoder]


@pytest.fixture
def make(encoder: Encoder) -> Make:
    """A decoder whose labels have a bias, as a trained one has."""

    def decoder(named: bool = False, seed: int = 0) -> LabelDecoder:
        torch.manual_seed(seed)
        labels = name_states(encoder, SENTENCES[:4]) if named else len(NAMES)
        made = LabelDecoder(replace(CONFIG, named=named), encoder.width, labels)
        torch.nn.init.normal_(made.bias)
        return made.eval()

    return decoder


@pytest.fixture
def states(encoder: Encoder) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    mask = torch.arange(7) < torch.tensor([7, 3, 1, 5]).unsqueeze(1)
    return torch.randn(4, 7, encoder.width), mask


@pytest.mark.parametrize("named", [False, True])
def test_labels_in_another_order_have_the_same_scores_in_that_order(make: Make, states: tuple, named: bool) -> None:
    decoder, order = make(named), torch.tensor([2, 0, 3, 1])
    expected = decoder(*states)[:, order]
    with torch.no_grad():
        for table in (decoder.own, decoder.bias, *([decoder.names] if named else [])):
            table.copy_(table[order])
    assert torch.allclose(decoder(*states), expected, atol=ROUNDING)
    assert (expected - expected[:, order]).abs().max() > 0.1, "the labels differ, so an order could have mattered"


def test_padding_is_not_seen(make: Make, states: tuple) -> None:
    decoder, (hidden, mask) = make(), states
    together = decoder(hidden, mask)
    assert torch.allclose(decoder(hidden.masked_fill(~mask.unsqueeze(-1), 1e4), mask), together, atol=ROUNDING)
    for row, length in enumerate(mask.sum(1)):
        assert torch.allclose(decoder(hidden[[row], :length], mask[[row], :length])[0], together[row], atol=ROUNDING)


def test_the_text_is_seen(make: Make, states: tuple) -> None:
    hidden, mask = states
    changed = hidden.clone()
    changed[0, 6] += 3
    moved = (make()(changed, mask) - make()(hidden, mask)).abs().amax(1)
    assert moved[0] > 1e-3
    assert moved[1:].max() < ROUNDING


def test_every_weight_learns(make: Make, states: tuple) -> None:
    for named in (False, True):
        decoder = make(named).train()
        decoder(*states)[:, 1].sum().backward()
        assert [
            name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()
        ] == []


def test_a_text_of_one_token_survives_dropout(make: Make, states: tuple) -> None:
    decoder = make().train()
    decoder.config = replace(decoder.config, dropout=0.999)
    assert decoder(*states).isfinite().all()


def test_the_margin_loss_is_the_sum_that_it_says() -> None:
    scores, labels = torch.tensor([[2.0, 1.5, -4.0], [0.0, 3.0, 0.5]]), torch.tensor([0, 2])
    by_hand = [1 - 2 + 1.5, (1 - 0.5 + 0.0) + (1 - 0.5 + 3.0)]
    assert math.isclose(margin_loss(scores, labels).item(), sum(by_hand) / 2, rel_tol=1e-6)
    assert margin_loss(torch.tensor([[5.0, 4.0, -9.0]]), torch.tensor([0])).item() == 0, "a margin away costs nothing"
    assert torch.isclose(margin_loss(scores + 7, labels), margin_loss(scores, labels)), "only differences count"


def test_its_slope_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    scores, labels = torch.randn(5, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda s: margin_loss(s, labels), scores)


def test_a_label_name_becomes_words() -> None:
    assert label_text("rec.sport.baseball") == "rec sport baseball"
    assert label_text("money-fx") == "money fx"
    assert label_text("not_ironic") == "not ironic"


def test_what_is_known_of_a_name_is_the_mean_of_its_states(encoder: Encoder) -> None:
    (state,) = name_states(encoder, ["the.dog"])
    ids = torch.tensor([encoder.tokenizer("the dog")["input_ids"]])
    assert torch.allclose(state, encoder.model(ids).last_hidden_state.mean(1)[0], atol=ROUNDING)


def test_a_named_decoder_can_be_asked_about_other_names(make: Make, encoder: Encoder, states: tuple) -> None:
    decoder = make(named=True)
    with torch.no_grad():
        decoder.bias.zero_()
    same = decoder.with_labels(name_states(encoder, SENTENCES[:4]))
    assert torch.allclose(same(*states), decoder(*states), atol=ROUNDING), "nothing was learned beside the names"
    others = decoder.with_labels(name_states(encoder, SENTENCES[2:8]))
    assert others(*states).shape == (4, 6)


def test_a_decoder_without_names_cannot(make: Make, encoder: Encoder) -> None:
    with pytest.raises(TaskError, match="knows its labels by number only"):
        make().with_labels(name_states(encoder, SENTENCES[:2]))


@pytest.mark.parametrize(("named", "labels"), [(True, 4), (False, torch.zeros(4, 32))])
def test_names_and_their_absence_must_be_meant(named: bool, labels: int | Tensor) -> None:
    with pytest.raises(TaskError, match="a named decoder needs the states of its labels' names"):
        LabelDecoder(replace(CONFIG, named=named), 32, labels)


@pytest.fixture
def pair(encoder: Encoder, make: Make) -> LabelTuned:
    return LabelTuned(encoder, make(), NAMES, receipt={"task": "by hand"})


def test_texts_in_labels_out_whoever_shares_the_batch(pair: LabelTuned) -> None:
    together = pair.scores(SENTENCES)
    assert together.shape == (len(SENTENCES), len(NAMES))
    for text, scores in zip(SENTENCES, together, strict=True):
        assert torch.allclose(pair.scores([text])[0], scores, atol=ROUNDING)
    assert pair.predict(SENTENCES) == [NAMES[best] for best in together.argmax(-1)]
    assert not torch.allclose(pair.scores(SENTENCES, SENTENCES[::-1]), together, atol=0.01), "the second text counts"


@pytest.mark.parametrize("texts", [[], ["A dog.", " "]])
def test_a_text_without_a_word_is_refused(pair: LabelTuned, texts: list[str]) -> None:
    with pytest.raises(TaskError, match="a text without a word"):
        pair.predict(texts)


@pytest.mark.parametrize("named", [False, True])
def test_what_is_saved_says_the_same_when_it_is_loaded(
    encoder: Encoder, make: Make, tmp_path: Path, named: bool
) -> None:
    decoder = make(named).to(torch.bfloat16).float()  # what a file can keep
    pair = LabelTuned(encoder, decoder, NAMES, 48, {"task": "by hand"})
    pair.save(tmp_path)
    loaded = LabelTuned.load(tmp_path, encoder)
    assert torch.equal(loaded.scores(SENTENCES), pair.scores(SENTENCES))
    assert (loaded.names, loaded.length, loaded.receipt) == (NAMES, 48, {"task": "by hand"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.json", "labels.safetensors"]


def test_another_encoder_is_refused(pair: LabelTuned, tmp_path: Path) -> None:
    pair.save(tmp_path)
    with pytest.raises(ExpertMismatch, match=r"the label decoder in .* 'tiny-bert' has 0123"):
        LabelTuned.load(tmp_path, replace(pair.encoder, fingerprint="0123"))


@pytest.mark.parametrize("spoil", ["cut", "gone", "fields", "names"])
def test_a_damaged_checkpoint_is_one_clear_error(pair: LabelTuned, tmp_path: Path, spoil: str) -> None:
    pair.save(tmp_path)
    weights, settings = tmp_path / "labels.safetensors", tmp_path / "labels.json"
    said = json.loads(settings.read_text())
    if spoil == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif spoil == "gone":
        weights.unlink()
    elif spoil == "fields":
        settings.write_text(json.dumps(said | {"decoder": {"depth": 3}}))
    else:
        settings.write_text(json.dumps(said | {"names": ["one", "two"]}))
    with pytest.raises(CheckpointError, match=r"labels|decoder"):
        LabelTuned.load(tmp_path, pair.encoder)


def test_the_score_of_a_label_is_how_far_it_moved_its_own_way(make: Make, states: tuple) -> None:
    """The formula of the docstring, once more and by hand: a label that did not move has its bias as score."""
    decoder = make()
    with torch.no_grad():
        for block in decoder.blocks:
            for last in (block.self_attention.out, block.cross_attention.out, block.feed[-1]):
                torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(block.feed[-1].bias)
    assert torch.allclose(decoder(*states), decoder.bias.expand(4, -1), atol=ROUNDING)
    assert torch.allclose(F.normalize(decoder.own, dim=-1).norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("named", [False, True])
def test_a_file_of_texts_becomes_a_pair_that_is_kept(
    encoder: Encoder, tmp_path: Path, cache: Path, named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"animals": ["dog", "cats"], "places": ["street", "harbour"]}
    rows = [
        {"text": f"the {word} {'old ' * (i % 3)}{i}", "label": label}
        for i in range(40)
        for label, pair in words.items()
        for word in pair
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = LabelConfig(width=16, heads=2, named=named)
    pair = train_labels(
        tmp_path / "own.jsonl", encoder, config, "margin", epochs=12, learning_rate=1e-2, progress=False
    )
    assert pair.receipt["test"]["accuracy"] > 0.9
    texts = ["the dog old 3", "the street 6", "the harbour old 4", "the cats 9"]
    assert pair.predict(texts) == ["animals", "places", "places", "animals"]
    pair.save(tmp_path / "kept")
    assert LabelTuned.load(tmp_path / "kept", encoder).predict(texts) == pair.predict(texts)
    assert pair.receipt["task"].endswith("own.jsonl")
    assert capsys.readouterr().out == "", "no text was cut, and no bar was texts for"
