"""One sum of logits, many methods: guidance, pools, contrasted experts, hidden space, and what they cost.

The library's own form of A10 is tested in ``tests/auxlib/test_sparse_logits.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from auxlib.errors import WeightError
from auxlib.product import combine, kl, mixture
from tests.auxlib.identities.by_hand import EXACT, gap, normal, same, tensor

LM, EXPERT, ANTI = (normal(3, 6, seed=seed) for seed in (1, 2, 3))


def normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


# ---------------------------------------------------------------- special cases of one sum


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_i10_dexperts_and_proxy_tuning_are_two_terms(alpha: float) -> None:
    """DExperts (Liu et al. 2021) and proxy tuning (Liu et al. 2024): base · (expert / anti-expert)^α."""
    p, plus, minus = (logits.softmax(-1) for logits in (LM, EXPERT, ANTI))
    by_hand = normalised(p * (plus / minus) ** alpha)
    assert same(combine(LM, [(alpha, EXPERT), (-alpha, ANTI)]).softmax(-1), by_hand)
    assert same(combine(LM, [(alpha, EXPERT - ANTI)]).softmax(-1), by_hand)


def test_i10_a_base_that_is_the_anti_expert_leaves_the_expert_and_equal_experts_leave_the_base() -> None:
    assert same(combine(ANTI, [(1.0, EXPERT), (-1.0, ANTI)]), EXPERT)
    assert gap(combine(ANTI, [(2.0, EXPERT), (-2.0, ANTI)]).softmax(-1), EXPERT.softmax(-1)) > 1e-2
    for alpha in (0.5, 2.0):
        assert same(combine(LM, [(alpha, EXPERT), (-alpha, EXPERT)]), LM)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 7.0])
def test_i10_i08a_classifier_free_guidance_is_the_dial(scale: float) -> None:
    """Ho and Salimans 2022, Sanchez et al. 2023: logits = unconditional + scale · (conditional - unconditional)."""
    p, p_c = LM.softmax(-1), EXPERT.softmax(-1)
    by_hand = normalised(p ** (1 - scale) * p_c**scale)
    assert same(combine(LM, [(scale, EXPERT - LM)]).softmax(-1), by_hand)


def test_i10_a_keyword_shift_is_a_term_that_reads_only_the_keyword() -> None:
    """K2T (Pascual et al. 2021): logits + λ · max(0, cosine of token and keyword), whatever the text so far."""
    embeddings = normal(6, 4, seed=5)
    cosine = torch.cosine_similarity(embeddings, embeddings[2:3], dim=-1).clamp(min=0)
    by_hand = normalised(torch.exp(LM) * torch.exp(5.0 * cosine))
    assert same(combine(LM, [(5.0, cosine.expand(3, -1))]).softmax(-1), by_hand)


def test_i10_a_veto_stays_a_veto_and_never_becomes_nan() -> None:
    never = torch.tensor([False, True, False, False, False, True])
    base, plus = LM.masked_fill(never, -math.inf), EXPERT.masked_fill(never.flip(0), -math.inf)
    joint_logits = combine(base, [(2.0, plus), (-2.0, ANTI)])
    assert not joint_logits.isnan().any()
    assert torch.equal(joint_logits.isneginf(), (never | never.flip(0)).expand(3, -1))
    allowed = ~(never | never.flip(0))
    assert same(joint_logits[:, allowed], (LM + 2 * EXPERT - 2 * ANTI)[:, allowed])
    # the naive difference of two vetoes is NaN, and an anti-expert's veto alone would be an order: both are refused
    minus = ANTI.masked_fill(never, -math.inf)
    assert (base + 2 * (EXPERT.masked_fill(never, -math.inf) - minus)).isnan().any()
    with pytest.raises(WeightError, match="negative weight"):
        combine(base, [(2.0, plus), (-2.0, minus)])


# ---------------------------------------------------------------- the dial and the order of operations


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5])
def test_i08d_the_product_beats_any_other_policy_by_exactly_the_divergence_from_it(weight: float) -> None:
    base, aux_logits = LM[0].log_softmax(-1), EXPERT[0]
    product, log_z = combine(base, [(weight, aux_logits)]).log_softmax(-1), (base + weight * aux_logits).logsumexp(-1)
    for seed in range(20):
        q = (2 * normal(6, seed=100 + seed)).log_softmax(-1)
        value = weight * (q.exp() * aux_logits).sum() - (q.exp() * (q - base)).sum()
        assert same(log_z - value, (q.exp() * (q - product)).sum())


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """The fewest most likely tokens that hold ``top_p`` of the mass, one row by hand."""
    probs, chosen, total = logits.softmax(-1), torch.zeros_like(logits, dtype=torch.bool), 0.0
    for token in probs.argsort(descending=True).tolist():
        if total < top_p:
            chosen[token], total = True, total + float(probs[token])
    return chosen


def test_i09_the_nucleus_of_the_base_is_not_the_nucleus_of_the_product() -> None:
    lm_logits, aux_logits = tensor([0.6, 0.3, 0.1]).log(), tensor([0.0, 0.0, 3.0])
    before = combine(lm_logits, [(1.0, aux_logits)], mask=nucleus(lm_logits, 0.8))
    product = combine(lm_logits, [(1.0, aux_logits)])
    after = product.masked_fill(~nucleus(product, 0.8), -math.inf)
    assert before.isneginf().tolist() == [False, False, True], "a word the base finds unlikely cannot come back"
    assert after.isneginf().tolist() == [False, True, False]
    cooled = combine(lm_logits / 2, [(1.0, aux_logits)])
    assert gap(cooled.softmax(-1), (product / 2).softmax(-1)) > 1e-2
    assert same(combine(lm_logits / 2, [(0.5, aux_logits)]), product / 2)


# ---------------------------------------------------------------- two ways to pool


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_i12_every_other_compromise_costs_exactly_its_divergence_from_the_pool(share: float) -> None:
    p1, p2 = LM[0].log_softmax(-1), EXPERT[0].log_softmax(-1)
    unnormalised = combine(share * p1, [(1 - share, p2)])
    product, average = unnormalised.log_softmax(-1), mixture(torch.stack([p1, p2]).exp(), [share, 1 - share]).log()
    for seed in range(20):
        q = (2 * normal(6, seed=200 + seed)).log_softmax(-1)
        outward = share * (q.exp() * (q - p1)).sum() + (1 - share) * (q.exp() * (q - p2)).sum()
        inward = share * (p1.exp() * (p1 - q)).sum() + (1 - share) * (p2.exp() * (p2 - q)).sum()
        least = share * kl(p1, average) + (1 - share) * kl(p2, average)
        assert same(outward, kl(q, product) - unnormalised.logsumexp(-1))
        assert same(inward, least + kl(average, q))


def test_i12_a_product_vetoes_and_sharpens_and_a_mixture_insists_and_blurs() -> None:
    def entropy(p: Tensor) -> float:
        return -float(torch.special.xlogy(p, p).sum())

    p1, p2 = tensor([0.49, 0.49, 0.02, 0.0]), tensor([0.49, 0.02, 0.47, 0.02])
    product, average = combine(p1.log(), [(1.0, p2.log())]).softmax(-1), mixture(torch.stack([p1, p2]))
    assert same(product, normalised(p1 * p2))
    assert product[3] == 0 < average[3]
    assert entropy(product) < min(entropy(p1), entropy(p2)) < max(entropy(p1), entropy(p2)) < entropy(average)


# ---------------------------------------------------------------- hidden space and cost


def test_a10_a_step_in_hidden_space_is_a_low_rank_term_after_the_final_norm_and_only_there() -> None:
    W, P = normal(50, 8, seed=6), normal(8, 3, seed=7)
    h, u = normal(4, 8, seed=8), normal(4, 3, seed=9)
    final_norm = nn.LayerNorm(8, dtype=torch.float64)
    as_term = combine(final_norm(h) @ W.T, [(1.0, u @ (W @ P).T)])
    assert same((final_norm(h) + u @ P.T) @ W.T, as_term)
    assert int(torch.linalg.matrix_rank(W @ P)) == 3
    before_the_norm = final_norm(h + u @ P.T) @ W.T
    assert gap(before_the_norm.log_softmax(-1), as_term.log_softmax(-1)) > 0.1
    assert torch.equal((final_norm(h) + u @ torch.zeros(3, 8, dtype=torch.float64)) @ W.T, final_norm(h) @ W.T)


def test_a10_adding_logits_is_concatenating_hidden_states() -> None:
    W_b, W_a, h_b, h_a = normal(9, 6, seed=1), normal(9, 3, seed=2), normal(4, 6, seed=3), normal(4, 3, seed=4)
    assert same(torch.cat([h_b, h_a], -1) @ torch.cat([W_b, W_a], -1).T, combine(h_b @ W_b.T, [(1.0, h_a @ W_a.T)]))


def flops(parameters: int, weights_learn: bool, states_learn: bool) -> int:
    """Counted operations of one token through square layers, forward and, where anything learns, back."""
    layers = [torch.randn(8, 8, requires_grad=weights_learn) for _ in range(parameters // 64)]
    x = torch.randn(1, 8, requires_grad=states_learn)
    with FlopCounterMode(display=False) as counter:
        for weight in layers:
            x = x @ weight
        if weights_learn or states_learn:
            x.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("base", [192 * 2, 192 * 5])
def test_a11_beside_a_live_base_an_auxiliary_under_a_third_of_it_is_cheaper_than_lora(base: int) -> None:
    frozen, lora = flops(base, False, False), flops(base, False, True)
    assert (frozen, lora) == (2 * base, 4 * base), "LoRA's own weights left out: its base is passed both ways"
    for part, cheaper in ((base // 3 - 64, True), (base // 3 + 64, False)):
        own = flops(part, True, True)
        assert own == 6 * part
        assert (frozen + own < lora) == cheaper
    assert frozen + flops(base // 3, True, True) == lora, "break-even at a third, exactly"
    assert flops(base, True, True) == 6 * base, "full fine-tuning"
    epochs = 8  # with cached features the base is paid once
    assert frozen / epochs + 6 * base / 2 < lora, "then even half of it is cheaper"
    assert math.isclose(frozen / epochs + 6 * base * (4 - 2 / epochs) / 6, lora, abs_tol=EXACT)
