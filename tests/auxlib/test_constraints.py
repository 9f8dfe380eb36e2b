"""The word will be there: whole, in time, at its own place, whoever writes and however."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from auxlib.constraints import KeywordConstraint
from auxlib.errors import KeywordError
from auxlib.keywords import KeywordState, contains_keyword, keyword_batch, keyword_progress
from auxlib.modeling import AuxiliaryTunedLM

MakeTuned = Callable[..., AuxiliaryTunedLM]
LENGTH = 20
# one piece, several pieces, a word within another, unknown letters, two words, no condition
ROWS = ["dog", "lantern", "harbour", "zebra", "été", ("dog", "violin"), ("coat", "zebra", "night"), "old street", None]
DECODING = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 3},
    "several": {"do_sample": True, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "temperature": 1.5},
}


def words_of(row: Any) -> list[str]:
    return [] if row is None else [row] if isinstance(row, str) else list(row)


def write(model: AuxiliaryTunedLM, inputs: dict[str, Tensor], length: int = LENGTH, **options: Any) -> list[list[int]]:
    """New tokens of every text, up to its end."""
    torch.manual_seed(0)
    guarantee = KeywordConstraint.beside(model, inputs, length)
    ids = model.generate(**inputs, max_new_tokens=length, logits_processor=[guarantee], **options)
    texts = ids[:, inputs["input_ids"].shape[1] :].tolist()
    ends = {model.template.end_id, model.config.pad_token_id}
    return [text[: next((i for i, token in enumerate(text) if token in ends), len(text))] for text in texts]


@pytest.mark.parametrize("options", DECODING.values(), ids=DECODING)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_every_text_holds_all_of_its_words(tuned: AuxiliaryTunedLM, options: dict[str, Any], weight: float) -> None:
    inputs = tuned.inputs_for(ROWS)
    copies = options.get("num_return_sequences", 1)
    texts = write(tuned, inputs, weight=weight, **options)
    assert len(texts) == copies * len(ROWS)
    for i, text in enumerate(texts):
        said = tuned.expert_info.tokenizer.decode(text)
        for word in words_of(ROWS[i // copies]):
            assert contains_keyword(said, word), (word, said)


def test_a_text_that_was_begun_may_hold_the_word_already(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["dog", "dog"], ["The dog barked", "The"])
    guarantee = KeywordConstraint.beside(tuned, inputs, LENGTH)
    scores = torch.randn(2, tuned.config.vocab_size)
    changed = guarantee(inputs["input_ids"], scores)
    assert torch.equal(changed[0], scores[0]), "what is there needs no help"
    assert torch.isneginf(changed[1, tuned.template.end_id])


def test_nothing_is_changed_in_place_nor_for_rows_that_ask_for_nothing(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for([None, "dog"], ["The", "The"])
    scores = torch.randn(2, tuned.config.vocab_size)
    kept = scores.clone()
    changed = KeywordConstraint.beside(tuned, inputs, LENGTH)(inputs["input_ids"], scores)
    assert torch.equal(scores, kept)
    assert torch.equal(changed[0], kept[0])


def test_a_word_that_is_complete_cannot_grow(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["dog"], ["The dog"])
    changed = KeywordConstraint.beside(tuned, inputs, LENGTH)(
        inputs["input_ids"], torch.zeros(1, tuned.config.vocab_size)
    )
    ends = torch.tensor([tuned.template.end_id, tuned.expert_info.end_of_text_id])
    assert torch.equal(torch.isneginf(changed[0]), tuned.boundary_unsafe_mask.index_fill(0, ends, False))
    assert not bool(tuned.continuation_mask[tuned.template.end_id]), "and its text may end"


def test_at_the_last_moment_the_next_piece_is_all_that_can_be_said(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for(["harbour"], ["The"])
    ids = inputs["input_ids"]
    pieces = keyword_batch(tuned.expert_info.tokenizer, ["harbour"])[0, 0]
    pieces = pieces[pieces >= 0]
    guarantee = KeywordConstraint.beside(tuned, inputs, len(pieces) + 3, spare=3)
    for piece in pieces:
        changed = guarantee(ids, torch.randn(1, tuned.config.vocab_size))
        assert torch.isfinite(changed).nonzero()[:, 1].tolist() == [int(piece)]
        ids = torch.cat([ids, piece.view(1, 1)], 1)


def test_the_best_place_after_a_look_around_is_taken(tuned: AuxiliaryTunedLM) -> None:
    """Fits of 3, 5, 4 are looked at; of 2, 6, 9 the second is the first that is better than all before."""
    inputs = tuned.inputs_for(["street"], ["The"])
    (piece,) = (int(p) for p in inputs["keyword_ids"][0, 0] if p >= 0)
    guarantee = KeywordConstraint.beside(tuned, inputs, length=1 + 9, spare=0)
    ids, filler = inputs["input_ids"], tuned.expert_info.tokenizer(" the")["input_ids"][0]
    taken = []
    for fit in (3.0, 5.0, 4.0, 2.0, 6.0):
        scores = torch.zeros(1, tuned.config.vocab_size)
        scores[0, piece] = fit
        taken.append(bool(torch.isfinite(guarantee(ids, scores)).sum() == 1))
        ids = torch.cat([ids, torch.tensor([[filler]])], 1)
    assert taken == [False, False, False, False, True]


def test_words_that_cannot_fit_are_refused(tuned: AuxiliaryTunedLM) -> None:
    inputs = tuned.inputs_for([("harbour", "zebra")])
    with pytest.raises(KeywordError, match="may be written"):
        KeywordConstraint.beside(tuned, inputs, 3)


def test_the_tightest_room_is_enough(tuned: AuxiliaryTunedLM) -> None:
    for row in ROWS[:-1]:
        inputs = tuned.inputs_for([row])
        ids = inputs["keyword_ids"].reshape(-1, *inputs["keyword_ids"].shape[-2:])
        room = int((ids >= 0).sum(-1).amax(-1).sum())
        (text,) = write(tuned, inputs, room + 1, weight=0.0, do_sample=True)
        for word in words_of(row):
            assert contains_keyword(tuned.expert_info.tokenizer.decode(text), word), (row, text)


def test_it_stands_beside_any_model(tuned: AuxiliaryTunedLM) -> None:
    """The frozen model of `transformers` alone, with a prompt of its own."""
    expert = tuned.expert_info
    prompt = expert.tokenizer("She wore", return_tensors="pt")["input_ids"]
    keyword_ids = keyword_batch(expert.tokenizer, ["coat"])
    closing = torch.tensor([expert.end_of_text_id])
    start = torch.tensor([prompt.shape[1]])
    guarantee = KeywordConstraint(keyword_ids, tuned.continuation_mask, closing, start, prompt.shape[1], 12)
    torch.manual_seed(0)
    ids = expert.model.generate(prompt, max_new_tokens=12, do_sample=True, logits_processor=[guarantee])
    position = torch.arange(ids.shape[1])[None] - prompt.shape[1] + 1
    state = keyword_progress(ids, position, keyword_ids, tuned.continuation_mask).state[0, -1]
    assert int(state) in (KeywordState.COMPLETE, KeywordState.DONE)
