"""Several terms beside one expert are the sum of the single ones, however they are read, kept and reordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.errors import CheckpointError, ExpertMismatch, KeywordError, WeightError
from auxlib.features import TextTemplate
from auxlib.frozen import Expert
from auxlib.keywords import INSIDE, NO_TERM
from auxlib.modeling import AuxiliaryTunedLM

MakeTuned = Callable[..., AuxiliaryTunedLM]
WORDS = [("lantern", "dog"), ("violin", "coat"), ("street", None)]
STARTS = ["The narrow", "", "She plays the violin"]
WEIGHTS = torch.tensor([[1.0, 0.5], [2.0, -1.0], [0.0, 1.5]])
DECODING = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "top_p": 0.9, "temperature": 0.8},
}


@torch.no_grad()
def logits(model: AuxiliaryTunedLM, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    return model(**inputs, **options).logits


def write(model: AuxiliaryTunedLM, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    """New tokens only, padded to ten."""
    torch.manual_seed(0)
    ids = model.generate(**inputs, **{"max_new_tokens": 10, "do_sample": False, **options})
    ids = ids[:, inputs["input_ids"].shape[1] :]
    return torch.nn.functional.pad(ids, (0, 10 - ids.shape[1]), value=model.config.pad_token_id)


def single(inputs: dict[str, Tensor], term: int) -> dict[str, Tensor]:
    return {**inputs, "keyword_ids": inputs["keyword_ids"][:, term]}


def near(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


@pytest.fixture
def inputs(tuned: AuxiliaryTunedLM) -> dict[str, Tensor]:
    return tuned.inputs_for(WORDS, STARTS)


@pytest.fixture
def two(make_tuned: MakeTuned) -> AuxiliaryTunedLM:
    """A pair, and beside it a second auxiliary of another shape."""
    model = make_tuned()
    model.add("style", make_tuned(seed=2, width=32, heads=4, layers=1, copy_head=False).auxiliary)
    return model


@pytest.fixture
def together(make_tuned: MakeTuned) -> AuxiliaryTunedLM:
    return make_tuned(joint_keywords=True)


# --- one auxiliary, several keywords ---


def test_several_keywords_are_the_sum_of_the_single_ones(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    lm_logits = logits(tuned, inputs, weight=0.0)
    said = [logits(tuned, single(inputs, n)) - lm_logits for n in (0, 1)]
    near(logits(tuned, inputs), lm_logits + said[0] + said[1])
    weighted = sum(WEIGHTS[:, n, None, None] * said[n] for n in (0, 1))
    near(logits(tuned, inputs, weight=WEIGHTS), lm_logits + weighted)


def test_the_order_of_keywords_changes_nothing(tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    turned = {**inputs, "keyword_ids": inputs["keyword_ids"].flip(1)}
    near(logits(tuned, turned, weight=WEIGHTS.flip(1)), logits(tuned, inputs, weight=WEIGHTS))


def test_a_keyword_twice_is_the_keyword_at_twice_the_weight(tuned: AuxiliaryTunedLM) -> None:
    twice, once = (tuned.inputs_for(words, ["The"]) for words in ([("dog", "dog")], ["dog"]))
    near(logits(tuned, twice), logits(tuned, once, weight=2.0))


def test_rows_with_fewer_keywords_are_what_they_are_alone(tuned: AuxiliaryTunedLM) -> None:
    ragged = tuned.inputs_for([("lantern", "dog"), "violin", None], ["The dog"] * 3)
    assert (ragged["keyword_ids"][1:, 1] == NO_TERM).all()
    rows = logits(tuned, ragged)
    for i, words in enumerate([("lantern", "dog"), "violin", None]):
        near(rows[i : i + 1], logits(tuned, tuned.inputs_for([words], ["The dog"])))


def test_without_none_what_everybody_says_would_be_counted_twice(tuned: AuxiliaryTunedLM) -> None:
    """The task's own style is in every term; a term for nothing at λ = 1 - N takes the surplus away."""
    inputs = tuned.inputs_for([("lantern", "dog", None)], ["The"])
    lm_logits = logits(tuned, inputs, weight=0.0)
    lantern, dog, style = (logits(tuned, single(inputs, n)) - lm_logits for n in range(3))
    once = lm_logits + style + (lantern - style) + (dog - style)
    near(logits(tuned, inputs, weight=torch.tensor([[1.0, 1.0, -1.0]])), once)


# --- several auxiliaries ---


def test_two_auxiliaries_add_up_and_the_second_leaves_the_first_alone(
    make_tuned: MakeTuned, two: AuxiliaryTunedLM, inputs: dict[str, Tensor]
) -> None:
    alone = make_tuned()
    for name, weight in alone.auxiliary.state_dict().items():
        assert torch.equal(weight, two.auxiliary.state_dict()[name])
    lm_logits, first = logits(two, inputs, weight=0.0), single(inputs, 0)
    assert torch.equal(logits(two, first), logits(alone, first))
    keyword = logits(alone, first) - lm_logits
    style = logits(two, single(inputs, 1), auxiliaries=("style",)) - lm_logits
    near(logits(two, inputs, auxiliaries=("keyword", "style")), lm_logits + keyword + style)
    assert not torch.allclose(style, logits(alone, single(inputs, 1)) - lm_logits, atol=0.1)


def test_what_was_removed_is_silent_and_what_stays_is_as_before(
    make_tuned: MakeTuned, two: AuxiliaryTunedLM, inputs: dict[str, Tensor]
) -> None:
    two.remove("style")
    alone = make_tuned()
    assert torch.equal(write(two, inputs), write(alone, inputs))
    assert two.config.num_hidden_layers == alone.config.num_hidden_layers
    with pytest.raises(KeywordError, match="style"):
        logits(two, inputs, auxiliaries=("keyword", "style"))
    with pytest.raises(CheckpointError, match="has to stay"):
        two.remove("keyword")


def test_a_saved_auxiliary_is_added_from_its_folder(
    make_tuned: MakeTuned, make_expert: Callable[..., Expert], inputs: dict[str, Tensor], tmp_path: Any
) -> None:
    other, model = make_tuned(seed=3), make_tuned()
    other.receipt.update(seed=3)
    other.save_pretrained(tmp_path / "style")
    model.add("style", tmp_path / "style")
    assert model.receipts["style"] == {"seed": 3}
    assert model.receipt == {}, "the first one's is its own"
    loaded = AuxiliaryTunedLM.from_pretrained(tmp_path / "style", model.expert_info)
    here = logits(model, single(inputs, 0), auxiliaries=("style",))
    assert torch.equal(here, logits(loaded, single(inputs, 0)))
    with pytest.raises(ExpertMismatch):
        make_tuned(beside=make_expert(seed=5)).add("style", tmp_path / "style")
    model.save_pretrained(tmp_path / "again", name="style")
    for file in (tmp_path / "style").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(CheckpointError, match="cannot save"):
        model.save_pretrained(tmp_path / "none", name="tone")
    bare = AuxiliaryTunedLM(model.expert_info, model.auxiliary, replace(model.template, preamble_ids=(0,)))
    with pytest.raises(ExpertMismatch, match="preamble"):
        bare.add("style", tmp_path / "style")


@pytest.mark.parametrize("name", ["keyword", "two words", "", "keys"])
def test_a_name_that_cannot_be_one_is_refused(make_tuned: MakeTuned, name: str) -> None:
    model = make_tuned()
    with pytest.raises(CheckpointError, match="no new name"):
        model.add(name, model.auxiliary)


@pytest.mark.parametrize("auxiliaries", [("keyword",), ("keyword", "nobody"), ("keyword",) * 3])
def test_speakers_that_do_not_fit_are_refused(
    tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor], auxiliaries: tuple[str, ...]
) -> None:
    with pytest.raises(KeywordError, match="one each"):
        logits(tuned, inputs, auxiliaries=auxiliaries)


@pytest.mark.parametrize("weight", [torch.ones(3, 3), torch.full((3, 2), torch.nan), torch.ones(2)])
def test_weights_that_do_not_fit_are_refused(
    tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor], weight: Tensor
) -> None:
    with pytest.raises(WeightError):
        logits(tuned, inputs, weight=weight)


# --- an auxiliary that reads all keywords at once ---


def test_of_one_keyword_it_says_what_an_ordinary_one_says(make_tuned: MakeTuned, together: AuxiliaryTunedLM) -> None:
    words = ["lantern", "dog", None]
    inputs = together.inputs_for(words, STARTS)
    assert torch.equal(logits(together, inputs), logits(make_tuned(), inputs))


def test_it_does_not_care_for_the_order_nor_for_empty_places(
    together: AuxiliaryTunedLM, inputs: dict[str, Tensor]
) -> None:
    turned = {**inputs, "keyword_ids": inputs["keyword_ids"].flip(1)}
    near(logits(together, turned), logits(together, inputs))
    ragged = together.inputs_for([("lantern", "dog"), "violin"], ["The dog"] * 2)
    near(logits(together, ragged)[1:], logits(together, together.inputs_for(["violin"], ["The dog"])))


def test_it_is_no_sum(tuned: AuxiliaryTunedLM, together: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    assert not torch.allclose(logits(together, inputs), logits(tuned, inputs), atol=1e-2)


def test_it_has_one_weight_a_row(together: AuxiliaryTunedLM, inputs: dict[str, Tensor]) -> None:
    rows = torch.tensor([1.0, 0.5, 2.0])
    near(logits(together, inputs, weight=rows), logits(together, inputs, weight=rows[:, None].expand(-1, 2)))
    with pytest.raises(WeightError, match="together"):
        logits(together, inputs, weight=WEIGHTS)


def test_two_keywords_with_the_same_next_piece_boost_it_once(together: AuxiliaryTunedLM) -> None:
    inputs = together.inputs_for([("dog", "dogs")], ["The"])
    with torch.no_grad():
        together.auxiliary.copy.weight.zero_()
        together.auxiliary.copy_by_state.weight.zero_()
        together.auxiliary.copy.bias.copy_(torch.tensor([1.0, 0.0]))
    pieces = inputs["keyword_ids"][0, :, INSIDE, 0]
    assert pieces[0] == pieces[1]
    boosted = logits(together, inputs)[0, -1]
    together.auxiliary.copy.bias.data.zero_()
    gained = boosted - logits(together, inputs)[0, -1]
    assert float(gained[pieces[0]]) == pytest.approx(10.0, abs=1e-4)
    assert float(gained.sum()) == pytest.approx(10.0, abs=1e-2)


# --- decoding ---


@pytest.mark.parametrize("options", DECODING.values(), ids=DECODING)
@pytest.mark.parametrize("kind", ["tuned", "two", "together"])
def test_with_and_without_cache_the_same_is_written(
    request: pytest.FixtureRequest, kind: str, inputs: dict[str, Tensor], options: dict[str, Any]
) -> None:
    model = request.getfixturevalue(kind)
    said = {"auxiliaries": ("keyword", "style")} if kind == "two" else {}
    weight = WEIGHTS[:, 0] if kind == "together" else WEIGHTS
    options = {**options, **said, "weight": weight}
    assert torch.equal(write(model, inputs, **options), write(model, inputs, use_cache=False, **options))


@pytest.mark.parametrize("kind", ["tuned", "two", "together"])
def test_rows_in_a_padded_batch_are_the_rows_alone(
    request: pytest.FixtureRequest, kind: str, inputs: dict[str, Tensor]
) -> None:
    model = request.getfixturevalue(kind)
    said = {"auxiliaries": ("style", "keyword")} if kind == "two" else {}
    written = write(model, inputs, **said)
    for i, (words, start) in enumerate(zip(WORDS, STARTS, strict=True)):
        assert torch.equal(written[i : i + 1], write(model, model.inputs_for([words], [start]), **said))


@pytest.mark.parametrize("kind", ["tuned", "two", "together"])
def test_a_preamble_read_before_for_all_terms_changes_nothing(request: pytest.FixtureRequest, kind: str) -> None:
    model = request.getfixturevalue(kind)
    inputs = model.inputs_for(WORDS, ["The dog"] * 3)
    said = {"auxiliaries": ("keyword", "style")} if kind == "two" else {}
    read = model.read_preamble(3, 2, said.get("auxiliaries"))
    assert torch.equal(write(model, inputs, **said), write(model, inputs, past_key_values=read, **said))


# --- dials over time, and the frozen model's veto ---


@pytest.mark.parametrize("read_for", [1, 3])
def test_a_preamble_read_for_another_number_of_terms_is_refused(
    tuned: AuxiliaryTunedLM, inputs: dict[str, Tensor], read_for: int
) -> None:
    cache = tuned.read_preamble(len(inputs["input_ids"]), read_for)
    with pytest.raises(KeywordError, match=f"begun for {read_for} keywords a row, now there are 2"):
        tuned.generate(**inputs, past_key_values=cache, max_new_tokens=2)


def test_a_schedule_multiplies_the_weight_along_the_text(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["lantern"], ["The narrow street led"])
    plain, lm_logits = logits(tuned, inputs), logits(tuned, inputs, weight=0.0)
    opening = len(tuned.template.preamble_ids) - 1  # where the text's first token is said
    found = logits(tuned, inputs, schedule=[0.0, 1.0, 2.0])
    assert torch.equal(found[:, opening], lm_logits[:, opening])
    near(found[:, opening + 1], plain[:, opening + 1])
    near(found[:, opening + 2 :], 2 * plain[:, opening + 2 :] - lm_logits[:, opening + 2 :])
    assert torch.equal(logits(tuned, inputs, schedule=[1.0]), plain)


def test_outside_the_frozen_models_nucleus_only_a_needed_piece_can_be_said(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["lantern"], ["The"])
    probs = logits(tuned, inputs, weight=0.0)[0, -1].softmax(-1)
    found, plain = (logits(tuned, inputs, expert_top_p=p)[0, -1] for p in (0.5, None))
    order = probs.argsort(descending=True)
    inside = order[: int((probs[order].cumsum(0) < 0.5).sum()) + 1]
    piece = inputs["keyword_ids"][0, INSIDE, 0]
    said = torch.isfinite(found).nonzero()[:, 0]
    assert set(said.tolist()) == {*inside.tolist(), int(piece)}
    assert torch.equal(found[said], plain[said])
    assert torch.equal(logits(tuned, inputs, expert_top_p=1.0)[0, -1], plain)
    with pytest.raises(WeightError, match="nucleus"):
        logits(tuned, inputs, expert_top_p=0.0)


def test_an_auxiliary_of_its_own_kind_is_kept_with_its_flag(together: AuxiliaryTunedLM, tmp_path: Any) -> None:
    together.save_pretrained(tmp_path / "kept")
    loaded = AuxiliaryTunedLM.from_pretrained(tmp_path / "kept", together.expert_info)
    assert isinstance(loaded.auxiliary, AuxiliaryModel)
    assert (
        loaded.auxiliary.config
        == together.auxiliary.config
        == AuxiliaryConfig(width=16, heads=2, joint_keywords=True, zero_init=False)
    )
    assert isinstance(loaded.template, TextTemplate)
