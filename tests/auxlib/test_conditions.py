"""One formula and one encoding: the model's dense path is `combine`, and a condition is checked and tokenised once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict

from auxlib import composition, keywords, modeling
from auxlib.composition import ConditionTerms
from auxlib.errors import KeywordError, WeightError
from auxlib.features import TextTemplate
from auxlib.frozen import Expert
from auxlib.generation import write_sentences
from auxlib.keywords import Keyword, check_keyword
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import Recipe, prepare_data
from tests.conftest import KEYWORDS, SENTENCES

CPU = torch.device("cpu")


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Counter[str]:
    """Count the calls of a module's function; each still does what it did."""
    calls, function = Counter[str](), getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, call)
    return calls


# --- one formula ---


@pytest.mark.parametrize("options", [{}, {"output_mode": "logits"}, {"copy_head": False}, {"joint_keywords": True}])
@pytest.mark.parametrize("top_p", [None, 0.5])
def test_with_a_gradient_the_sum_is_combine_and_without_one_the_same_in_place(
    make_tuned: Callable[..., AuxiliaryTunedLM],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    top_p: float | None,
) -> None:
    model = make_tuned(**options)
    inputs = model.inputs_for(["lantern", None], ["The old", "We heard a"])
    with torch.no_grad():
        in_place = model(**inputs, weight=1.5, expert_top_p=top_p).logits
    calls = counted(monkeypatch, modeling, "combine")
    out_of_place = model(**inputs, weight=1.5, expert_top_p=top_p).logits
    assert calls["combine"] == 1
    assert out_of_place.requires_grad
    assert torch.equal(torch.isneginf(in_place), torch.isneginf(out_of_place))
    torch.testing.assert_close(in_place, out_of_place.detach(), atol=1e-5, rtol=1e-5)


# --- conditions, encoded once ---


def test_a_keyword_is_tokenised_once_and_a_weight_shaped_once_for_a_whole_text(
    tuned: AuxiliaryTunedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, weights = counted(monkeypatch, keywords, "encode_keyword"), counted(monkeypatch, composition, "as_weight")
    write_sentences(tuned, ["dog", "coat", "lantern"], weight=2.0, max_new_tokens=6, batch_size=2)
    assert words["encode_keyword"] == 3
    preambles = 2  # each batch reads it without a condition
    assert weights["as_weight"] == 1 + preambles


def test_a_checked_keyword_is_not_checked_again() -> None:
    word = check_keyword("  street   lamp ")
    assert (word, type(word)) == ("street lamp", Keyword)
    assert check_keyword(word) is word


def test_encoded_conditions_give_the_logits_of_the_tensors(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["dog", ("coat", "lantern")], ["The", "A"])
    terms = tuned.encode_conditions(["dog", ("coat", "lantern")], weight=torch.tensor([1.0, 2.0]))
    without = {name: value for name, value in inputs.items() if name != "keyword_ids"}
    with torch.no_grad():
        expected = tuned(**inputs, weight=torch.tensor([1.0, 2.0])).logits
        assert torch.equal(tuned(**without, terms=terms).logits, expected)
        twice = {name: value.repeat_interleave(2, 0) for name, value in without.items()}
        both = tuned(**twice, terms=terms).logits
    torch.testing.assert_close(both[::2], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[1::2], expected, atol=1e-5, rtol=1e-5)


def test_rows_are_selected_with_their_weights_and_without_needless_padding(tuned: AuxiliaryTunedLM) -> None:
    terms = tuned.encode_conditions(["dog", "a very long phrase", "coat"], weight=torch.tensor([1.0, 2.0, 3.0]))
    some = terms.select([0, 2])
    assert some.weight.tolist() == [[1.0], [3.0]]
    assert some.keyword_ids.shape[-1] < terms.keyword_ids.shape[-1]
    assert len(some) == 2


def test_conditions_of_other_numbers_of_rows_are_refused(tuned: AuxiliaryTunedLM) -> None:
    terms = tuned.encode_conditions(["dog", "coat"])
    with pytest.raises(KeywordError, match="3 rows of tokens for conditions of 2 rows"):
        terms.expand_to(3)
    with pytest.raises(KeywordError, match="no keyword was given"):
        tuned.encode_conditions([])
    with pytest.raises(WeightError, match="got 3 weights for a batch of 2 rows"):
        tuned.encode_conditions(["dog", "coat"], torch.ones(3))
    with pytest.raises(KeywordError, match=r"auxiliaries \['style'\] for 1 keywords"):
        ConditionTerms.of(None, 1.0, ["style"], ["keyword"], 2, CPU)


# --- a training sentence, tokenised once ---


def test_a_sentence_is_tokenised_once_on_its_way_to_the_cache(
    expert: Expert, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": text, "keywords": words} for text, words in zip(SENTENCES, KEYWORDS, strict=True)]
    corpus = DatasetDict(train=Dataset.from_list(rows[:6]), dev=Dataset.from_list(rows[6:]))
    calls = counted(monkeypatch, TextTemplate, "encode")
    data = prepare_data(Recipe(support_at_least=1), expert, progress=False, corpus=corpus)
    assert calls["encode"] == len(rows)
    expected = sorted(data.template.encode(expert, text) for text in corpus["train"]["text"])
    assert sorted(data.train["token_ids"]) == expected
