"""The auxiliary starts as nothing at all, learns from its outputs inwards, and looks only where it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auxlib.auxiliary import AuxiliaryConfig, text_mask
from auxlib.frozen import Expert, fingerprint
from auxlib.keywords import pad_keywords
from auxlib.modeling import AuxiliaryTunedLM

SMALL = {"width": 16, "heads": 2}
CONFIGS = {
    "default": AuxiliaryConfig(**SMALL),
    "as in the paper": AuxiliaryConfig.paper(**SMALL),
    "no progress": AuxiliaryConfig(**SMALL, progress=False),
    "no copy head": AuxiliaryConfig(**SMALL, copy_head=False),
    "no group head": AuxiliaryConfig(**SMALL, group_head=False),
    "reads tokens": AuxiliaryConfig(**SMALL, input_mode="tokens"),
    "writes logits": AuxiliaryConfig(**SMALL, output_mode="logits"),
    "one layer": AuxiliaryConfig(**SMALL, layers=1, max_position=3),
}
MakeTuned = Callable[..., AuxiliaryTunedLM]
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.fixture
def inputs(tuned: AuxiliaryTunedLM) -> dict[str, Tensor]:
    words, starts = ["lantern", "dog", None], ["The lantern lit the narrow", "She", "A grey coat"]
    return tuned.inputs_for(words, starts)


def lm_logits(expert: Expert, inputs: dict[str, Tensor]) -> Tensor:
    """The frozen model's own forward pass."""
    mask = inputs["attention_mask"]
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    return expert.model(input_ids=inputs["input_ids"], attention_mask=mask, position_ids=position_ids).logits


def loss_of(model: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> Tensor:
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    return model(**inputs, labels=labels).loss


@every_config
@pytest.mark.parametrize("whole", [False, True], ids=["support", "whole vocabulary"])
def test_at_the_start_the_product_is_the_frozen_model_bit_for_bit(
    make_tuned: MakeTuned, expert: Expert, inputs: dict[str, Tensor], config: AuxiliaryConfig, whole: bool
) -> None:
    model = make_tuned(config, whole=whole)
    with torch.no_grad():
        for weight in (1.0, 3.0, -2.0):
            assert torch.equal(model(**inputs, weight=weight).logits, lm_logits(expert, inputs))


@every_config
def test_at_the_start_only_the_outputs_learn_and_one_step_later_the_trunk_does(
    make_tuned: MakeTuned, inputs: dict[str, Tensor], config: AuxiliaryConfig
) -> None:
    model = make_tuned(config)
    loss_of(model, inputs).backward()
    parameters = dict(model.auxiliary.named_parameters())
    learn = {name for name, weight in parameters.items() if weight.grad is not None and weight.grad.any()}
    silent = {name for name, weight in parameters.items() if not weight.any()}
    assert learn <= silent, "only what is still zero may learn: it lies last"
    assert any(parameters[name].ndim == 2 for name in learn)
    trunk = {name for name in parameters if name.startswith("blocks.") and name not in silent}
    assert trunk
    assert not trunk & learn
    with torch.no_grad():
        for weight in parameters.values():
            weight -= 0.1 * (0 if weight.grad is None else weight.grad)
            weight.grad = None
    loss_of(model, inputs).backward()
    assert all(parameters[name].grad.any() for name in trunk if ".self_attention.query" not in name)


@every_config
def test_a_random_start_is_a_random_product_and_costs(
    make_tuned: MakeTuned, expert: Expert, inputs: dict[str, Tensor], config: AuxiliaryConfig
) -> None:
    noisy = make_tuned(replace(config, zero_init=False))
    with torch.no_grad():
        base = lm_logits(expert, inputs).log_softmax(-1)[inputs["attention_mask"] == 1]
        joint = noisy(**inputs).logits.log_softmax(-1)[inputs["attention_mask"] == 1]
    entropy, cross = -(base.exp() * base).sum(-1).mean(), -(base.exp() * joint).sum(-1).mean()
    assert cross > entropy + 1e-3


@every_config
def test_the_expert_gets_no_gradient_and_does_not_change(
    make_tuned: MakeTuned, expert: Expert, inputs: dict[str, Tensor], config: AuxiliaryConfig
) -> None:
    model = make_tuned(replace(config, zero_init=False))
    loss_of(model, inputs).backward()
    assert all(weight.grad is None and not weight.requires_grad for weight in model.expert.parameters())
    assert fingerprint(expert.model) == expert.fingerprint
    trained = {id(weight) for weight in model.parameters() if weight.requires_grad}
    assert trained == {id(weight) for weight in model.auxiliary.parameters()}


@every_config
def test_no_keyword_and_a_dropped_keyword_are_the_same_to_it(
    make_tuned: MakeTuned, inputs: dict[str, Tensor], config: AuxiliaryConfig
) -> None:
    model = make_tuned(replace(config, zero_init=False))
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    dropped = pad_keywords([((), ())] * 3)
    wide = torch.nn.functional.pad(dropped, (0, 4), value=-1)
    with torch.no_grad():
        missing = model(**ids).logits
        assert torch.equal(missing, model(**ids, keyword_ids=dropped).logits)
        torch.testing.assert_close(missing, model(**ids, keyword_ids=wide).logits, atol=1e-5, rtol=1e-5)
        mixed = model(**inputs).logits
        torch.testing.assert_close(mixed[2], missing[2], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(mixed[0], missing[0], atol=1e-3), "a keyword must make a difference"


def test_a_keyword_moves_its_own_row_and_no_other(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    other = {**inputs, "keyword_ids": inputs["keyword_ids"].flip(0)}
    with torch.no_grad():
        same = (tuned(**inputs).logits - tuned(**other).logits).abs().amax((1, 2))
    assert (same > 1e-3).tolist() == [True, False, True]


@every_config
def test_the_future_is_not_read(make_tuned: MakeTuned, inputs: dict[str, Tensor], config: AuxiliaryConfig) -> None:
    model = make_tuned(replace(config, zero_init=False))
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, -2:] = 7
    with torch.no_grad():
        before, after = model(**inputs).logits, model(**changed).logits
    torch.testing.assert_close(before[:, :-2], after[:, :-2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[:, -2:], after[:, -2:], atol=1e-3)


def test_the_paper_form_takes_no_hints_and_options_override_it() -> None:
    plain = AuxiliaryConfig.paper()
    assert (plain.input_mode, plain.output_mode) == ("tokens", "logits")
    assert {plain.progress, plain.copy_head, plain.group_head} == {False}
    assert AuxiliaryConfig.paper(copy_head=True, layers=7) == replace(plain, copy_head=True, layers=7)


def test_its_state_holds_nothing_of_the_expert(tuned: AuxiliaryTunedLM, expert: Expert) -> None:
    for name, value in tuned.auxiliary.state_dict().items():
        assert value.shape != expert.unembedding.shape, name
        assert value.data_ptr() != expert.unembedding.data_ptr(), name


def rows_of(*lengths: tuple[int, int, int]) -> Tensor:
    """Positions for rows of (padding, preamble, text) tokens."""
    return torch.tensor([[-1] * pad + list(range(1 - before, text + 1)) for pad, before, text in lengths])


def slow_mask(position: list[int]) -> list[list[bool]]:
    return [
        [then == now or (then <= now and position[then] >= 0) for then in range(len(position))]
        for now in range(len(position))
    ]


def test_text_mask_lets_each_see_itself_and_the_text_before_it() -> None:
    position: Any = rows_of((0, 4, 3), (2, 4, 1), (3, 1, 3), (0, 7, 0))
    mask = text_mask(position, 7)
    assert mask.shape == (4, 1, 7, 7)
    assert mask[:, 0].tolist() == [slow_mask(row) for row in position.tolist()]
    assert mask.any(-1).all(), "a softmax over nothing is NaN"


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_text_mask_of_the_latest_positions_is_the_end_of_the_whole(queries: int) -> None:
    position = rows_of((0, 4, 3), (2, 4, 1))
    assert torch.equal(text_mask(position, queries), text_mask(position, 7)[:, :, -queries:])


def test_a_config_comes_back_from_json_under_the_names_that_checkpoints_have() -> None:
    config = AuxiliaryConfig.paper(joint_keywords=True)
    stored = config.as_dict()
    assert {"reads", "writes", "together"} <= set(stored)
    assert AuxiliaryConfig.from_dict(stored) == config
