"""What notebook 05 builds for words of one piece is what the library does for words of many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auxlib.keywords import KeywordState, keyword_progress, pad_keywords
from auxlib.sparse_logits import NO_PIECE, SparseLogits
from auxlib.worlds.story_lm import lm_inputs, lm_nll, load_story_lm
from auxlib.worlds.storyland import Storyland
from course.exercises.exercise import load_exercise

already_seen, boost_keyword, loss_on_words = (load_exercise(f"5.{n}").reference for n in (1, 2, 3))


@pytest.fixture(scope="module")
def world() -> Storyland:
    return Storyland.load()


@pytest.fixture(scope="module")
def sentences(world: Storyland) -> tuple[Tensor, Tensor]:
    """Token ids and keywords, one in five of them 0, for nothing; some are the word of another sentence."""
    generator = torch.Generator().manual_seed(0)
    token_ids = world.sample(50, generator)
    keyword_ids = world.draw_keywords(token_ids, generator)
    keyword_ids[::5], keyword_ids[1::5] = 0, keyword_ids[1::5].roll(1)
    return token_ids, keyword_ids


def test_seen_is_the_keyword_automaton(world: Storyland, sentences: tuple[Tensor, Tensor]) -> None:
    token_ids, keyword_ids = sentences
    read = lm_inputs(token_ids)["input_ids"][:, :-1]
    pieces = pad_keywords([((k,), (k,)) if k else ((), ()) for k in keyword_ids.tolist()])
    position = torch.arange(read.shape[1]).expand_as(read)
    state = keyword_progress(read, position, pieces, torch.zeros(len(world.vocabulary), dtype=torch.bool)).state
    nothing_missing = (
        (state == KeywordState.COMPLETE) | (state == KeywordState.DONE) | (state == KeywordState.NO_KEYWORD)
    )
    assert torch.equal(already_seen(token_ids, keyword_ids), nothing_missing)


def test_seen_is_where_the_posterior_is_certain(world: Storyland, sentences: tuple[Tensor, Tensor]) -> None:
    token_ids, keyword_ids = (column[sentences[1] != 0] for column in sentences)
    seen, h = already_seen(token_ids, keyword_ids), world.posterior(token_ids, keyword_ids)[:, :-1]
    assert (h[seen] == 1).all()


def test_the_boost_is_a_part(sentences: tuple[Tensor, Tensor]) -> None:
    token_ids, keyword_ids = sentences
    seen = already_seen(token_ids, keyword_ids)
    step, boost, matrix = torch.randn(*seen.shape, 6), torch.randn(seen.shape), torch.randn(364, 6)
    boost_ids = torch.where(seen, NO_PIECE, keyword_ids[:, None])[..., None]
    parts = SparseLogits(shift=step, matrix=matrix, boost_ids=boost_ids, boosts=boost[..., None])
    mine = boost_keyword(step @ matrix.T, boost, keyword_ids, seen)
    assert torch.allclose(mine, parts.dense(364), atol=1e-5)


def test_the_loss_is_that_of_a_language_model(sentences: tuple[Tensor, Tensor]) -> None:
    expert, (token_ids, _) = load_story_lm(), sentences
    inputs = lm_inputs(token_ids)
    with torch.no_grad():
        logits = expert.model(inputs["input_ids"], inputs["attention_mask"]).logits[:, :-1]
    assert float(loss_on_words(logits, token_ids)) == pytest.approx(lm_nll(expert.model, token_ids), abs=1e-5)
