"""The compact loss against the same opinion spelled out over the whole vocabulary."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auxlib.keywords import NO_PIECE
from auxlib.product import combine
from auxlib.sparse_logits import SparseLogits

N, V, D, G, BOOSTS = 12, 23, 6, 2, 3
SUPPORT = torch.tensor([0, 1, 4, 5, 9, 13, 17, 22])
SHIFTS = ("none", "hidden", "hidden and groups", "logits")
VARIANTS = [
    pytest.param(shift, subset, boosts, id=f"{shift}-{'subset' if subset else 'all'}-{'boosts' if boosts else 'plain'}")
    for shift, subset, boosts in itertools.product(SHIFTS, (False, True), (False, True))
    if shift != "none" or boosts
]
TYPES = [pytest.param(torch.float32, 1e-5, id="float32"), pytest.param(torch.float64, 1e-10, id="float64")]


def random(draw: torch.Generator, *shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)


def make(shift: str, subset: bool, boosts: bool, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor | SparseLogits]:
    """Everything ``token_nll`` takes, at random; trainable tensors require gradients."""
    draw = torch.Generator().manual_seed(seed)
    hidden, unembedding = random(draw, N, D, dtype=dtype), random(draw, V, D, dtype=dtype)
    support = SUPPORT if subset else None
    rows = unembedding if support is None else unembedding[support]
    parts = SparseLogits(support=support, in_unembedding=shift.startswith("hidden"))
    if shift != "none":
        columns = random(draw, len(rows), G, dtype=dtype).gt(0).to(dtype)
        parts.matrix = {"hidden": rows, "hidden and groups": torch.cat([rows, columns], 1)}.get(
            shift, random(draw, len(rows), 5, dtype=dtype)
        )
        parts.shift = random(draw, N, parts.matrix.shape[1], dtype=dtype).requires_grad_()
        parts.matrix = parts.matrix.clone().requires_grad_(shift == "logits")
    if boosts:  # inside and outside the support, some not given
        parts.boost_ids = torch.stack([torch.randperm(V, generator=draw)[:BOOSTS] for _ in range(N)])
        parts.boost_ids[::3, 0], parts.boost_ids[5] = NO_PIECE, NO_PIECE
        parts.boosts = (2 * random(draw, N, BOOSTS, dtype=dtype)).requires_grad_()
    targets = torch.randint(V, (N,), generator=draw)
    if boosts:
        targets[:4] = parts.boost_ids[:4, 1]  # a target that is boosted
    outside = hidden @ unembedding.T
    rest = torch.full((N,), -torch.inf, dtype=dtype)
    if subset:
        rest = outside.index_fill(-1, support, -torch.inf).logsumexp(-1)
    return {
        "hidden": hidden,
        "log_mass_outside_support": rest,
        "parts": parts,
        "unembedding": unembedding,
        "targets": targets,
    }


def token_nll(parts: SparseLogits, **inputs: Tensor) -> Tensor:
    return parts.nll(**inputs)


def slow_nll(
    hidden: Tensor, log_mass_outside_support: Tensor, parts: SparseLogits, unembedding: Tensor, targets: Tensor
) -> Tensor:
    """Term by term over the whole vocabulary; ``log_mass_outside_support`` is ignored."""
    logits = hidden @ unembedding.T
    if parts.shift is not None:
        support = torch.arange(V) if parts.support is None else parts.support
        logits = logits.index_add(-1, support, parts.shift @ parts.matrix.T)
    if parts.boosts is not None:
        for n, j in itertools.product(range(N), range(BOOSTS)):
            if parts.boost_ids[n, j] != NO_PIECE:
                one = torch.nn.functional.one_hot(parts.boost_ids[n, j], V) * parts.boosts[n, j]
                logits = logits + one * (torch.arange(N) == n).unsqueeze(1)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def gradients(loss: Tensor, parts: SparseLogits) -> list[Tensor]:
    trainable = [x for x in (parts.shift, parts.matrix, parts.boosts) if x is not None and x.requires_grad]
    return list(torch.autograd.grad(loss.sum(), trainable))


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize(("shift", "subset", "boosts"), VARIANTS)
def test_loss_and_gradients_are_those_of_the_full_softmax(
    shift: str, subset: bool, boosts: bool, dtype: torch.dtype, tolerance: float
) -> None:
    for seed in range(3):
        inputs = make(shift, subset, boosts, dtype, seed)
        fast, slow = token_nll(**inputs), slow_nll(**inputs)
        torch.testing.assert_close(fast, slow, atol=tolerance, rtol=tolerance)
        for one, other in zip(gradients(fast, inputs["parts"]), gradients(slow, inputs["parts"]), strict=True):
            torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("shift", "subset", "boosts"), VARIANTS)
def test_dense_logits_say_the_same_as_the_loss(shift: str, subset: bool, boosts: bool) -> None:
    inputs = make(shift, subset, boosts, torch.float32)
    parts = inputs["parts"]
    one_row = {name: getattr(parts, name) for name in ("shift", "boost_ids", "boosts")}
    batched = replace(parts, **{name: None if x is None else x.unsqueeze(0) for name, x in one_row.items()})
    aux_logits = batched.dense(V)
    assert aux_logits.shape == (1, N, V)
    assert aux_logits.dtype == torch.float32
    lm_logits = inputs["hidden"] @ inputs["unembedding"].T
    joint = combine(lm_logits, [(1.0, aux_logits[0])]).log_softmax(-1)
    in_place = lm_logits.detach().clone().unsqueeze(0)
    with torch.no_grad():
        batched.add_to(in_place)
    torch.testing.assert_close(in_place[0].log_softmax(-1), joint.detach(), atol=1e-5, rtol=1e-5)
    expected = -joint.gather(-1, inputs["targets"].unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(token_nll(**inputs), expected, atol=1e-5, rtol=1e-5)


def test_adding_logits_is_concatenating_hidden_states() -> None:
    draw = torch.Generator().manual_seed(0)
    h_b, h_a = random(draw, 4, 6, dtype=torch.float64), random(draw, 4, 3, dtype=torch.float64)
    w_b, w_a = random(draw, 9, 6, dtype=torch.float64), random(draw, 9, 3, dtype=torch.float64)
    together = torch.cat([h_b, h_a], -1) @ torch.cat([w_b, w_a], -1).T
    torch.testing.assert_close(together, h_b @ w_b.T + h_a @ w_a.T, atol=1e-12, rtol=0)


def test_writing_in_the_experts_output_space_is_adding_its_logits() -> None:
    inputs = make("hidden", False, False, torch.float64)
    as_logits = replace(inputs["parts"], in_unembedding=False)
    torch.testing.assert_close(token_nll(**inputs), token_nll(**{**inputs, "parts": as_logits}), atol=1e-12, rtol=0)


def test_the_mass_outside_the_support_matters() -> None:
    inputs = make("hidden", True, False, torch.float64)
    wrong = token_nll(**{**inputs, "log_mass_outside_support": torch.full((N,), -torch.inf, dtype=torch.float64)})
    assert (wrong < token_nll(**inputs) - 1e-3).all()


def test_outside_the_support_the_frozen_models_proportions_are_kept() -> None:
    inputs = make("hidden and groups", True, False, torch.float64)
    outside = torch.tensor([v for v in range(V) if v not in SUPPORT.tolist()])
    lm_logits = inputs["hidden"] @ inputs["unembedding"].T
    nll = torch.stack([token_nll(**{**inputs, "targets": torch.full((N,), int(v))}) for v in outside], -1)
    torch.testing.assert_close((-nll).log_softmax(-1), lm_logits[:, outside].log_softmax(-1), atol=1e-10, rtol=0)


def test_probabilities_of_all_tokens_sum_to_one() -> None:
    inputs = make("logits", True, True, torch.float64)
    nll = torch.stack([token_nll(**{**inputs, "targets": torch.full((N,), v)}) for v in range(V)], -1)
    torch.testing.assert_close(nll.neg().exp().sum(-1), torch.ones(N, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("shift", "subset", "boosts"), VARIANTS)
def test_none_of_some_tokens_has_the_probability_that_they_leave(shift: str, subset: bool, boosts: bool) -> None:
    inputs = make(shift, subset, boosts, torch.float64)
    excluded = torch.tensor([0, 2, 9, 20])
    each = [slow_nll(**{**inputs, "targets": torch.full((N,), int(v))}) for v in excluded]
    expected = -torch.log1p(-torch.stack(each, -1).neg().exp().sum(-1))
    given = {name: value for name, value in inputs.items() if name not in ("targets", "parts")}
    torch.testing.assert_close(
        inputs["parts"].exclusion_nll(**given, excluded=excluded), expected, atol=1e-9, rtol=1e-9
    )


def test_a_boost_that_is_not_given_is_as_if_it_were_zero_and_gets_no_gradient() -> None:
    inputs = make("hidden", True, True, torch.float64)
    parts = inputs["parts"]
    parts.boost_ids = torch.full_like(parts.boost_ids, NO_PIECE)
    nll = token_nll(**inputs)
    assert not torch.autograd.grad(nll.sum(), parts.boosts)[0].any()
    silent = replace(parts, boosts=None, boost_ids=None)
    torch.testing.assert_close(nll, token_nll(**{**inputs, "parts": silent}), atol=1e-12, rtol=0)


@pytest.mark.parametrize("boost", [-40.0, -8.0, 8.0, 40.0])
def test_a_strong_boost_stays_finite_and_right(boost: float) -> None:
    inputs = make("hidden", True, True, torch.float32)
    with torch.no_grad():
        inputs["parts"].boosts.fill_(boost)
    nll = token_nll(**inputs)
    torch.testing.assert_close(nll, slow_nll(**inputs), atol=1e-3, rtol=1e-4)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(nll, inputs["parts"]))
