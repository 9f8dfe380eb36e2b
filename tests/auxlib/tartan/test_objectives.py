"""Objectives of a shared body: only selected tokens are masked and scored, and padding has no effect."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import mean_state
from auxlib.collator import IGNORE_INDEX
from auxlib.errors import TrainingError
from auxlib.tartan.objectives import (
    BagOfWordsMLM,
    Classification,
    CollapseObjective,
    MaskedLM,
    Objective,
    mask_tokens,
    texts_batch,
)
from auxlib.tartan.trainer import MultiTaskModel
from tests.auxlib.tartan.conftest import MASK, ROWS, TEXTS, WIDTH, WORDS, make_body

CONTENT = torch.arange(WORDS + 1) >= 4
CONTENT[MASK] = False

ROUNDING = 1e-5


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every_kind(body: nn.Module) -> list[Objective]:
    return [
        Classification("labels", ROWS, WIDTH, 2),
        CollapseObjective("alike", TEXTS),
        MaskedLM("hidden", TEXTS, body.get_input_embeddings(), MASK, CONTENT, 0.5),
        BagOfWordsMLM("missing", TEXTS, WIDTH, MASK, CONTENT),
    ]


def test_only_maskable_tokens_are_masked_and_targets_hold_them() -> None:
    plain = texts_batch(TEXTS)
    batch = mask_tokens(TEXTS, MASK, CONTENT, 0.5, draw())
    hidden = batch["targets"] != IGNORE_INDEX
    assert hidden.any()
    assert not hidden[~CONTENT[plain["input_ids"]]].any()
    assert not hidden[~plain["mask"]].any()
    assert torch.equal(batch["targets"][hidden], plain["input_ids"][hidden])
    assert (batch["input_ids"][hidden] == MASK).all()
    assert torch.equal(batch["input_ids"][~hidden], plain["input_ids"][~hidden])


def test_the_mask_rate_is_kept_and_no_batch_is_without_targets() -> None:
    many = TEXTS * 200
    can = (CONTENT[texts_batch(many)["input_ids"]] & texts_batch(many)["mask"]).sum()
    hidden = (mask_tokens(many, MASK, CONTENT, 0.3, draw())["targets"] != IGNORE_INDEX).sum()
    assert abs(hidden / can - 0.3) < 0.03
    assert (mask_tokens(TEXTS[:1], MASK, CONTENT, 0.0, draw())["targets"] != IGNORE_INDEX).any()


def test_of_ten_hidden_words_eight_are_masked_one_is_another_and_one_stays() -> None:
    objective = MaskedLM("hidden", TEXTS, nn.Embedding(WORDS + 1, WIDTH), MASK, CONTENT, 1.0)
    batch = objective.batch(TEXTS * 500, draw())
    hidden = batch["targets"] != IGNORE_INDEX
    shown, true = batch["input_ids"][hidden], batch["targets"][hidden]
    assert (shown == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    chance = 0.1 / CONTENT.sum().item()  # that the random word is the right one
    assert (shown == true).float().mean().item() == pytest.approx(0.1 + chance, abs=0.02)
    assert CONTENT[shown[shown != MASK]].all()


@pytest.mark.parametrize("kind", range(4))
def test_a_loss_depends_on_the_batch_and_not_on_its_padding(body: nn.Module, kind: int) -> None:
    objective = every_kind(body.eval())[kind]
    shared, batch = MultiTaskModel(body, [objective]), objective.draw(6, draw())
    loss = objective.loss(shared.states(batch), batch)
    fill = {"targets": IGNORE_INDEX, "input_ids": 7, "mask": False}
    wider = {name: F.pad(value, (0, 3), value=fill[name]) if name in fill else value for name, value in batch.items()}
    assert torch.allclose(objective.loss(shared.states(wider), wider), loss, atol=ROUNDING)
    assert torch.equal(objective.draw(6, draw())["input_ids"], batch["input_ids"]), "the same draw, the same batch"
    assert not torch.equal(objective.draw(6, draw(1))["input_ids"], batch["input_ids"])


def test_masked_lm_by_hand(body: nn.Module) -> None:
    objective = every_kind(body.eval())[2]
    batch = objective.draw(5, draw())
    states = MultiTaskModel(body, [objective]).states(batch)
    scores = objective.transform(states) @ body.get_input_embeddings().weight.T + objective.bias
    by_hand = F.cross_entropy(scores.transpose(1, 2), batch["targets"], ignore_index=IGNORE_INDEX)
    assert torch.allclose(objective.loss(states, batch), by_hand, atol=ROUNDING)


def test_bag_of_words_by_hand_and_regardless_of_positions(body: nn.Module) -> None:
    objective = every_kind(body.eval())[3]
    batch = objective.draw(5, draw())
    states = torch.randn(*batch["input_ids"].shape, WIDTH)
    total, count = 0.0, 0
    for row, mask, targets in zip(states, batch["mask"], batch["targets"], strict=True):
        log_probs = objective.head(row[mask].mean(0)).log_softmax(-1)
        for word in targets[targets != IGNORE_INDEX].tolist():
            total, count = total - log_probs[word].item(), count + 1
    assert objective.loss(states, batch).item() == pytest.approx(total / count, rel=1e-5)
    turned = batch | {"targets": batch["targets"].flip(1)}
    assert torch.allclose(objective.loss(states, turned), objective.loss(states, batch))


def test_before_anything_is_learned_every_word_is_as_likely(body: nn.Module) -> None:
    objective = every_kind(body)[3]
    nn.init.zeros_(objective.head.weight), nn.init.zeros_(objective.head.bias)
    batch = objective.draw(5, draw())
    loss = objective.loss(torch.randn(*batch["input_ids"].shape, WIDTH), batch)
    assert loss.item() == pytest.approx(math.log(WORDS + 1), rel=1e-5)


def test_tied_embeddings_are_parameters_of_the_body_only(body: nn.Module) -> None:
    objective = every_kind(body)[2]
    names = [name for name, _ in MultiTaskModel(body, [objective]).named_parameters(remove_duplicate=False)]
    assert sum("word_embeddings" in name for name in names) == 1
    assert not any(weight is body.get_input_embeddings().weight for weight in objective.parameters())


def test_the_collapse_objective_pulls_mean_states_together() -> None:
    """Zero if they are equal; a gradient step brings them closer."""
    batch, objective = texts_batch(TEXTS), CollapseObjective("alike", TEXTS, 0.5)
    same = torch.ones(*batch["input_ids"].shape, WIDTH)
    assert objective.loss(same, batch) == pytest.approx(0, abs=1e-9)
    states = torch.randn(same.shape, generator=draw(3), requires_grad=True)
    loss = objective.loss(states, batch)
    assert loss.item() == pytest.approx(
        0.5 * mean_state(states, batch["mask"]).var(0, correction=0).sum().item(), rel=1e-5
    )
    (gradient,) = torch.autograd.grad(loss, states)
    assert objective.loss(states - gradient, batch) < loss
    assert list(objective.parameters()) == []


def test_no_text_is_refused() -> None:
    with pytest.raises(TrainingError, match="objective 'reviews' has no text to learn from"):
        BagOfWordsMLM("reviews", [], WIDTH, MASK, CONTENT)


def test_the_body_is_the_one_of_the_tests() -> None:
    batch: dict[str, Tensor] = texts_batch(TEXTS)
    assert MultiTaskModel(make_body(), every_kind(make_body())).states(batch).shape == (
        *batch["input_ids"].shape,
        WIDTH,
    )
