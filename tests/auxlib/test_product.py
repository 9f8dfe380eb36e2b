"""The product of experts against Bayes' rule computed another way, and its invariances."""

from __future__ import annotations

import math

import pytest
import torch

from auxlib.errors import VocabularyMismatch, WeightError
from auxlib.product import as_weight, center, combine, kl, kl_bernoulli, mixture
from course.letters import LetterWorld, noisy


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("error", [0.0, 0.2])
def test_combine_is_bayes_rule_on_random_worlds(seed: int, error: float) -> None:
    world = LetterWorld.random("abcd"[: 3 + seed % 2], length=4, seed=seed)
    h = world.posterior(noisy(world.contains("c"), error))
    truth = world.conditional(h)
    alive = [prefix for prefix in world.prefixes if h(prefix) > 0]
    lm_logits = torch.stack([world.next_log_probs(prefix) for prefix in alive])
    aux_logits = torch.stack([world.exact_aux_logits(prefix, h) for prefix in alive])
    expected = torch.stack([world.next_from(truth, prefix) for prefix in alive])
    torch.testing.assert_close(combine(lm_logits, [(1.0, aux_logits)]).softmax(-1), expected, atol=1e-10, rtol=0)


def test_two_terms_add_and_no_terms_change_nothing() -> None:
    lm, a, b = rows(2, 5), rows(2, 5, seed=1), rows(2, 5, seed=2)
    torch.testing.assert_close(combine(lm, [(0.5, a), (-2.0, b)]), lm + 0.5 * a - 2 * b)
    torch.testing.assert_close(combine(lm, []), lm)


def test_a_constant_per_row_changes_nothing() -> None:
    lm, aux, shift = rows(3, 5), rows(3, 5, seed=1), torch.tensor([[7.0], [-300.0], [0.1]])
    moved = combine(lm + shift, [(1.5, aux - 2 * shift)]).softmax(-1)
    torch.testing.assert_close(moved, combine(lm, [(1.5, aux)]).softmax(-1), atol=1e-10, rtol=0)
    # negative control: a constant per column is an opinion
    assert not torch.allclose(
        combine(lm, [(1.0, aux + rows(5, seed=9))]).softmax(-1), combine(lm, [(1.0, aux)]).softmax(-1)
    )


def test_one_weight_a_row_equals_row_by_row() -> None:
    lm, aux, weights = rows(4, 6), rows(4, 6, seed=1), torch.tensor([0.0, 0.3, 1.0, -2.0], dtype=torch.float64)
    together = combine(lm, [(weights, aux)])
    for i, weight in enumerate(weights.tolist()):
        torch.testing.assert_close(
            together[i], combine(lm[i : i + 1], [(weight, aux[i : i + 1])])[0], atol=1e-12, rtol=0
        )


def test_one_row_without_a_batch_axis_and_a_time_axis() -> None:
    lm, aux, weights = rows(2, 3, 5), rows(2, 3, 5, seed=1), torch.tensor([0.5, 2.0])
    assert combine(lm[0, 0], [(0.5, aux[0, 0])]).shape == (5,)
    torch.testing.assert_close(combine(lm, [(weights, aux)])[1, 2], combine(lm[1, 2], [(2.0, aux[1, 2])]))


def test_float64_stays_exact_for_weights_that_float32_cannot_hold() -> None:
    lm, aux = rows(1, 5), 100 * rows(1, 5, seed=1)
    torch.testing.assert_close(combine(lm, [(0.3, aux)]), lm + 0.3 * aux, atol=1e-12, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_minus_infinity_never_becomes_nan(weight: float) -> None:
    lm = torch.tensor([[0.0, -math.inf, 1.0, -math.inf]])
    aux = torch.tensor([[-math.inf, 2.0, 0.5, -math.inf]])
    joint = combine(lm, [(weight, aux)])
    assert not joint.isnan().any()
    assert joint.isneginf().tolist() == [[weight > 0, True, False, True]]


def test_gradients_stay_finite_beside_a_veto_even_for_a_learned_weight() -> None:
    lm = torch.tensor([[0.0, -math.inf, 1.0]])
    aux = torch.tensor([[-math.inf, 2.0, 0.5]], requires_grad=True)
    for start in (0.0, 1.0):
        weight = torch.tensor(start, requires_grad=True)
        combine(lm, [(weight, aux)]).softmax(-1)[0, 2].log().backward()
        assert torch.isfinite(weight.grad)
    assert torch.isfinite(aux.grad).all()


def test_a_learned_weight_that_starts_at_zero_can_leave_zero() -> None:
    weight = torch.tensor(0.0, requires_grad=True)
    combine(rows(1, 4), [(weight, rows(1, 4, seed=1))]).log_softmax(-1)[0, 2].backward()
    assert abs(float(weight.grad)) > 1e-3


def test_nobody_can_undo_the_language_models_veto() -> None:
    joint = combine(torch.tensor([[0.0, -math.inf]]), [(5.0, torch.tensor([[0.0, math.inf]]))])
    assert joint.tolist() == [[0.0, -math.inf]]


def test_combine_is_out_of_place_and_sums_in_float32() -> None:
    lm, aux = rows(2, 4, dtype=torch.float16), rows(2, 4, seed=1, dtype=torch.bfloat16)
    before = lm.clone(), aux.clone()
    joint = combine(lm, [(1.0, aux)], mask=torch.zeros(2, 4, dtype=torch.bool))
    assert joint.dtype == torch.float32
    assert torch.equal(lm, before[0])
    assert torch.equal(aux, before[1])
    assert combine(lm.double(), [(1.0, aux)]).dtype == torch.float64
    single = rows(1, 4, dtype=torch.float32)
    assert combine(single, []).data_ptr() != single.data_ptr()


def test_mask_leaves_only_the_allowed_tokens_in_their_old_proportions() -> None:
    lm, aux = rows(1, 5), rows(1, 5, seed=1)
    mask = torch.tensor([[True, False, True, True, False]])
    masked, free = combine(lm, [(1.0, aux)], mask).softmax(-1), combine(lm, [(1.0, aux)]).softmax(-1)
    torch.testing.assert_close(masked, free * mask / (free * mask).sum())


@pytest.mark.parametrize("weight", [math.nan, math.inf, torch.tensor([1.0, math.nan])])
def test_a_weight_that_is_not_finite_is_refused(weight: float | torch.Tensor) -> None:
    with pytest.raises(WeightError, match="must be a finite number"):
        combine(rows(2, 3), [(weight, rows(2, 3))])


def test_wrong_number_of_weights_wrong_vocabulary_and_a_negative_weight_on_a_veto_are_refused() -> None:
    with pytest.raises(WeightError, match="3 weights for a batch of 2 rows"):
        combine(rows(2, 3), [(torch.ones(3), rows(2, 3))])
    with pytest.raises(VocabularyMismatch, match="has 3 tokens and an auxiliary 4"):
        combine(rows(2, 3), [(1.0, rows(2, 4))])
    with pytest.raises(WeightError, match="negative weight"):
        combine(rows(1, 2), [(-1.0, torch.tensor([[0.0, -math.inf]]))])


def test_as_weight_gives_one_column() -> None:
    assert as_weight(0.5, 3).tolist() == [[0.5]] * 3
    assert as_weight(torch.tensor([1.0, 2.0]), 2).shape == (2, 1)


def test_centred_logits_agree_exactly_when_the_distributions_do() -> None:
    logits = rows(2, 5)
    logits[0, 1] = -math.inf
    shifted = center(logits + 11.0)
    torch.testing.assert_close(shifted, center(logits), atol=1e-12, rtol=0)
    assert shifted[0, 1] == -math.inf
    assert abs(float(shifted[1].mean())) < 1e-12
    assert center(torch.full((1, 3), -math.inf)).isneginf().all()


def test_mixture_is_an_or_and_the_product_an_and() -> None:
    sure, other = torch.tensor([0.0, 0.9, 0.1]), torch.tensor([0.8, 0.1, 0.1])
    mixed = mixture(torch.stack([sure, other]))
    both = combine(sure.log()[None], [(1.0, other.log()[None])]).softmax(-1)[0]
    assert mixed[0] == pytest.approx(0.4)
    assert both[0] == 0
    torch.testing.assert_close(mixture(torch.stack([sure, other]), [0.25, 0.75]), 0.25 * sure + 0.75 * other)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [1.0]])
def test_mixture_weights_must_be_shares(weights: list[float]) -> None:
    with pytest.raises(WeightError, match="sum to 1"):
        mixture(torch.tensor([[0.5, 0.5], [0.1, 0.9]]), weights)


def test_kl_is_zero_for_equals_positive_otherwise_and_forgives_q_zero() -> None:
    p, q = rows(4, 6).log_softmax(-1), rows(4, 6, seed=1).log_softmax(-1)
    torch.testing.assert_close(kl(p, p), torch.zeros(4, dtype=torch.float64))
    assert (kl(q, p) > 0).all()
    torch.testing.assert_close(kl(q, p), torch.nn.functional.kl_div(p, q, log_target=True, reduction="none").sum(-1))
    hard = torch.tensor([0.0, 1.0]).log()
    assert float(kl(hard, torch.tensor([0.0, 1.0]).log())) == 0
    assert float(kl(torch.tensor([0.5, 0.5]).log(), hard)) == math.inf


def test_kl_bin_bounds_every_distribution_and_only_the_conditional_reaches_it() -> None:
    p, event = rows(7).log_softmax(-1), torch.tensor([1, 1, 0, 0, 1, 0, 0], dtype=torch.bool)
    base = float(p.exp()[event].sum())
    for seed in range(1, 30):
        q = (2 * rows(7, seed=seed)).log_softmax(-1)
        assert float(kl(q, p)) > kl_bernoulli(float(q.exp()[event].sum()), base)
    exact = p.masked_fill(~event, -math.inf).log_softmax(-1)
    assert (
        float(kl(exact, p))
        == pytest.approx(kl_bernoulli(1.0, base), abs=1e-12)
        == pytest.approx(-math.log(base), abs=1e-12)
    )
    assert kl_bernoulli(base, base) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="base"):
        kl_bernoulli(0.5, 0.0)
