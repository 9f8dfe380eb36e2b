"""Training of classifiers: it learns, keeps the best epoch, and its metrics agree with those by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn

from auxlib.classification.encoders import Encoder, cache_states
from auxlib.classification.trainer import (
    classification_metrics,
    fit,
    labels_of,
    predict_logits,
    states_batch,
    text_batch,
)
from auxlib.classification.ytuning import LOSSES, LabelConfig, LabelDecoder
from auxlib.collator import FeatureRows
from auxlib.errors import TrainingError

ANIMALS, PLACES = ("dog", "dogs", "cats", "postman"), ("street", "harbour", "meeting", "fence")


@pytest.fixture
def texts() -> Dataset:
    """Texts of three words, one of which, at any position, decides between animals and places."""
    rows = []
    for i in range(96):
        word = (ANIMALS, PLACES)[i % 2][(i // 2) % 4]
        rest = ["the", "old"]
        rest.insert(i % 3, word)
        rows.append({"text": " ".join(rest), "label": i % 2})
    return Dataset.from_list(rows)


@pytest.fixture
def rows(encoder: Encoder, texts: Dataset, cache: Path) -> FeatureRows:
    return FeatureRows(cache_states(encoder, texts, progress=False), plain="label")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_decoder_learns_from_states_that_were_kept(encoder: Encoder, rows: FeatureRows, loss: str) -> None:
    torch.manual_seed(0)
    decoder = LabelDecoder(LabelConfig(width=32, heads=4), encoder.width, 2)
    fitted = fit(decoder, rows, rows, states_batch, 20, 16, 1e-2, LOSSES[loss], progress=False)
    metrics = classification_metrics(predict_logits(decoder, rows, states_batch), labels_of(rows))
    assert metrics["accuracy"] > 0.9
    assert metrics["accuracy"] == pytest.approx(max(fitted.dev)), "the weights are those of the best epoch"
    assert len(fitted.dev) == len(fitted.losses) == 20
    assert fitted.losses[-1] < fitted.losses[0]
    assert fitted.dev[fitted.best_epoch - 1] == max(fitted.dev)
    assert fitted.steps == 120


def test_cached_and_uncached_states_give_the_same_logits(encoder: Encoder, texts: Dataset, rows: FeatureRows) -> None:
    decoder = LabelDecoder(LabelConfig(width=16, heads=2), encoder.width, 2).eval()

    class Uncached(nn.Module):
        def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
            return decoder(encoder.read(input_ids, mask), mask)

    cached = predict_logits(decoder, rows, states_batch)
    directly = predict_logits(Uncached(), rows, partial(text_batch, encoder))
    assert torch.allclose(cached, directly, atol=5e-3), "float16 in between"


def test_the_encoder_is_as_it_was_after_training(encoder: Encoder, rows: FeatureRows) -> None:
    from auxlib.frozen import fingerprint

    fit(LabelDecoder(LabelConfig(width=16, heads=2), encoder.width, 2), rows, rows, states_batch, 1, progress=False)
    assert fingerprint(encoder.model) == encoder.fingerprint
    assert all(weight.grad is None for weight in encoder.model.parameters())


def test_two_trainings_with_one_seed_are_one(encoder: Encoder, rows: FeatureRows) -> None:
    logits = []
    for _ in range(2):
        torch.manual_seed(3)
        decoder = LabelDecoder(LabelConfig(width=16, heads=2), encoder.width, 2)
        fit(decoder, rows, rows, states_batch, 2, seed=3, progress=False)
        logits.append(predict_logits(decoder, rows, states_batch))
    assert torch.equal(*logits)


def test_noise_is_on_the_states_and_of_the_seed(encoder: Encoder, rows: FeatureRows) -> None:
    decoder = LabelDecoder(LabelConfig(width=16, heads=2), encoder.width, 2)
    plain, noisy, again, other = (
        predict_logits(decoder, rows, states_batch, noise, seed) for noise, seed in ((0, 0), (1, 0), (1, 0), (1, 1))
    )
    assert torch.equal(noisy, again)
    assert not torch.allclose(noisy, other, atol=1e-3)
    nearly = predict_logits(decoder, rows, states_batch, 1e-4)
    assert (noisy - plain).abs().mean() > 100 * (nearly - plain).abs().mean()


def test_accuracy_and_f1_are_those_by_hand() -> None:
    predicted, labels = [0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 2, 2]
    scores = nn.functional.one_hot(torch.tensor(predicted), 4).float()
    metrics = classification_metrics(scores, labels)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    # no text has label 3: it is not in the average
    assert metrics["macro_f1"] == pytest.approx((2 * 1 / (2 + 1) + 2 * 2 / (3 + 3) + 2 * 1 / (1 + 2)) / 3)


@pytest.mark.parametrize("missing", ["train", "dev"])
def test_nothing_to_learn_from_or_to_choose_by_is_refused(encoder: Encoder, rows: FeatureRows, missing: str) -> None:
    none: list = []
    given = {"train": rows, "dev": rows, missing: none}
    decoder = LabelDecoder(LabelConfig(width=16, heads=2), encoder.width, 2)
    with pytest.raises(TrainingError, match="texts to learn from and"):
        fit(decoder, given["train"], given["dev"], states_batch, progress=False)
