"""The library's auxiliary of Storyland is the one that notebook 05 builds, and each of its choices can be undone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auxlib.frozen import Expert
from auxlib.worlds.story_lm import load_story_lm
from experiments.baselines.decoding import DecodingContext
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.baselines.story_auxiliary import StoryAuxiliary, StoryAuxiliaryConfig
from experiments.claim.setup import load_world

SOURCE = Path(__file__).parents[3] / "notebooks" / "src" / "05_the_keyword_auxiliary.py"
BUILT = {"already_seen", "Gate", "boost_keyword", "KeywordAuxiliary"}


@pytest.fixture(scope="module")
def notebook() -> dict:
    """What the notebook defines on its way to the auxiliary."""
    cells = ast.parse(SOURCE.read_text(encoding="utf-8")).body
    built = [cell for cell in cells if getattr(cell, "name", None) in BUILT]
    found = {"torch": torch, "nn": nn, "F": F}
    exec(compile(ast.Module(built, []), SOURCE.name, "exec"), found)
    assert set(found) >= BUILT
    return found


@pytest.fixture(scope="module")
def expert() -> Expert:
    return load_story_lm()


@pytest.fixture(scope="module")
def sentences() -> tuple[Tensor, Tensor]:
    """Token ids and keywords: own, of a neighbour, and 0, for nothing."""
    draw = torch.Generator().manual_seed(0)
    token_ids = load_world().sample(30, draw)
    keyword_ids = load_world().draw_keywords(token_ids, draw)
    keyword_ids[::5], keyword_ids[1::5] = 0, keyword_ids[1::5].roll(1)
    return token_ids, keyword_ids


@pytest.fixture(scope="module")
def known(expert: Expert, sentences: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The expert's states, the keywords, and whether they were read: what an auxiliary is given."""
    reading = DecodingContext.before(*sentences)
    return FrozenExpertSystem(expert).states(reading), reading.keyword_ids, reading.seen


def made(expert: Expert, by: float = 0.1, seed: int = 0, **config: object) -> StoryAuxiliary:
    """An auxiliary whose every weight has moved."""
    torch.manual_seed(seed)
    auxiliary = StoryAuxiliary(expert.unembedding, StoryAuxiliaryConfig(**{"width": 24, **config}))
    with torch.no_grad():
        for weight in auxiliary.parameters():
            if weight.requires_grad:
                weight += by * torch.randn(weight.shape)
    return auxiliary.requires_grad_(False)


def otherwise(auxiliary: StoryAuxiliary, expert: Expert, **config: object) -> StoryAuxiliary:
    """The same weights with another choice."""
    other = StoryAuxiliary(expert.unembedding, StoryAuxiliaryConfig(**{**vars(auxiliary.config), **config}))
    other.load_state_dict(auxiliary.state_dict(), strict=False)
    return other.requires_grad_(False)


def apart(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


# ---------------------------------------------------------------- notebook 05


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_it_is_the_auxiliary_of_notebook_05(
    notebook: dict, expert: Expert, sentences: tuple, known: tuple, weight: float
) -> None:
    W, hidden = expert.unembedding.detach(), known[0]
    mine, theirs = made(expert, width=256, mix=True), notebook["KeywordAuxiliary"](W)
    theirs.load_state_dict({name: w for name, w in mine.state_dict().items() if not name.startswith("unembed")})
    with torch.no_grad():
        seen = notebook["already_seen"](*sentences)
        joint_logits = hidden @ W.T + weight * theirs(hidden, sentences[1], seen)
    assert apart(mine(*known, weight), joint_logits) < 1e-4
    assert (apart(joint_logits, hidden @ W.T) > 0.1) == (weight > 0)


def test_newborn_it_has_the_weights_of_the_notebooks_own(notebook: dict, expert: Expert) -> None:
    W = expert.unembedding.detach()
    theirs = notebook["KeywordAuxiliary"](W)
    mine = StoryAuxiliary(W, StoryAuxiliaryConfig(width=256, mix=True))
    shapes = {name: w.shape for name, w in mine.state_dict().items() if not name.startswith("unembed")}
    assert {name: w.shape for name, w in theirs.state_dict().items()} == shapes
    for auxiliary in (mine, theirs):
        assert torch.equal(auxiliary.gate.keyword.weight, W)
        assert not any(bool(w.any()) for w in (*auxiliary.step.parameters(), *auxiliary.boost.parameters()))


# ---------------------------------------------------------------- what it is asked


def test_keyword_0_asks_for_nothing_and_no_word_is_boosted(expert: Expert, known: tuple) -> None:
    auxiliary, (hidden, keyword_ids, seen) = made(expert), known
    without, asked = otherwise(auxiliary, expert, boost=False), keyword_ids != 0
    assert torch.equal(auxiliary(*known)[~asked], without(*known)[~asked])
    assert apart(auxiliary(*known)[asked], without(*known)[asked]) > 0.1
    said = auxiliary(hidden, torch.zeros_like(keyword_ids), torch.ones_like(seen))
    assert torch.equal(said, auxiliary(hidden, torch.zeros_like(keyword_ids), torch.zeros_like(seen)))


def test_the_boost_lifts_the_keyword_alone_while_it_is_missing(expert: Expert, known: tuple) -> None:
    auxiliary, (hidden, keyword_ids, seen) = made(expert), known
    lift = auxiliary(*known) - otherwise(auxiliary, expert, boost=False)(*known)
    boost = auxiliary.boost(auxiliary.gate(hidden, keyword_ids, seen | (keyword_ids == 0)[:, None]))
    by_hand = torch.zeros_like(lift)
    for row, keyword in enumerate(keyword_ids.tolist()):
        for t in range(seen.shape[1]):
            by_hand[row, t, keyword] = boost[row, t, 0] if keyword and not seen[row, t] else 0.0
    assert apart(lift, by_hand) < 1e-4


@pytest.mark.parametrize("output_mode", ["hidden", "logits"])
def test_the_weight_multiplies_all_it_says(expert: Expert, known: tuple, output_mode: str) -> None:
    auxiliary, lm_logits = made(expert, output_mode=output_mode), known[0] @ expert.unembedding.T
    assert apart(auxiliary(*known, 3.0) - lm_logits, 3 * (auxiliary(*known) - lm_logits)) < 1e-3


# ---------------------------------------------------------------- its choices


def test_a10_an_own_output_matrix_that_is_w_times_step_says_the_same(expert: Expert, known: tuple) -> None:
    W, in_space = expert.unembedding.detach(), made(expert)
    in_logits = made(expert, output_mode="logits")
    in_logits.gate, in_logits.boost = in_space.gate, in_space.boost
    in_logits.step.weight.copy_(W @ in_space.step.weight)
    in_logits.step.bias.copy_(W @ in_space.step.bias)
    for weight in (1.0, 2.0):
        assert apart(in_logits(*known, weight), in_space(*known, weight)) < 1e-4


def test_without_the_flag_only_the_boost_knows_what_was_said(expert: Expert, known: tuple) -> None:
    hidden, keyword_ids, seen = known
    for flag in (True, False):
        auxiliary = made(expert, flag=flag, boost=False)
        assert torch.equal(auxiliary(*known), auxiliary(hidden, keyword_ids, ~seen)) != flag
    boosted = made(expert, flag=False)
    assert not torch.equal(boosted(*known), boosted(hidden, keyword_ids, ~seen))


def test_a_second_layer_of_zeros_is_no_second_layer(expert: Expert, known: tuple) -> None:
    mixed = made(expert, mix=True)
    plain = otherwise(mixed, expert, mix=False)
    assert apart(mixed(*known), plain(*known)) > 1e-2
    for weight in mixed.mix.parameters():
        weight.zero_()
    assert torch.equal(mixed(*known), plain(*known))


def test_without_the_experts_logits_just_these_are_missing(expert: Expert, known: tuple) -> None:
    whole = made(expert)
    alone = otherwise(whole, expert, adds=False)
    assert apart(whole(*known) - alone(*known), known[0] @ expert.unembedding.T) < 1e-4
    in_logits = made(expert, output_mode="logits")
    alone = otherwise(in_logits, expert, adds=False)
    assert apart(in_logits(*known) - alone(*known), known[0] @ expert.unembedding.T) < 1e-4


@pytest.mark.parametrize(("zero_init", "output_mode"), [(True, "hidden"), (True, "logits"), (False, "hidden")])
def test_i06_it_starts_as_the_expert_or_as_a_random_product(
    expert: Expert, known: tuple, zero_init: bool, output_mode: str
) -> None:
    auxiliary = made(expert, by=0.0, zero_init=zero_init, output_mode=output_mode)
    assert torch.equal(auxiliary(*known), auxiliary.unembed(known[0])) == zero_init


@pytest.mark.parametrize(
    ("width", "mix", "output_mode"), [(8, False, "hidden"), (24, True, "hidden"), (24, True, "logits")]
)
def test_its_size_is_a_sum(expert: Expert, width: int, mix: bool, output_mode: str) -> None:
    auxiliary = StoryAuxiliary(expert.unembedding, StoryAuxiliaryConfig(width=width, mix=mix, output_mode=output_mode))
    V, D = expert.unembedding.shape
    gate, out = V * D + 3 * (D + 1) * width + 2 * width, D if output_mode == "hidden" else V
    by_hand = gate + mix * (width + 1) * width + (width + 1) * out + width + 1
    assert sum(weight.numel() for weight in auxiliary.parameters() if weight.requires_grad) == by_hand


def test_i15_the_experts_matrix_gets_no_gradient(expert: Expert, known: tuple) -> None:
    W = expert.unembedding.detach().clone()
    auxiliary = StoryAuxiliary(expert.unembedding)
    optimizer = torch.optim.SGD(auxiliary.parameters(), lr=1.0)
    for _ in range(2):
        auxiliary(*known).logsumexp(-1).mean().backward()
        optimizer.step()
    assert auxiliary.unembed.weight.grad is None
    assert torch.equal(expert.unembedding, W)
    assert not torch.equal(auxiliary.gate.keyword.weight, W)
