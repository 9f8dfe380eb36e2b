"""The frontier of control: no way of fulfilling requests at a given rate is cheaper (I21, with many requests)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from auxlib.product import kl_bernoulli
from experiments.metrics import min_kl_for_success

DRAW = torch.Generator().manual_seed(0)
RATES = 0.002 + 0.3 * torch.rand(12, generator=DRAW, dtype=torch.float64) ** 2
SHARES = torch.rand(12, generator=DRAW, dtype=torch.float64)
SHARES /= SHARES.sum()
MEAN = float(SHARES @ RATES)


def paid(reached: Tensor) -> float:
    """Σ share · kl_bernoulli(reached ‖ rate), one request at a time."""
    rows = zip(SHARES.tolist(), reached.tolist(), RATES.tolist(), strict=True)
    return math.fsum(share * kl_bernoulli(a, rate) for share, a, rate in rows)


def with_mean(draw: Tensor, success: float) -> Tensor:
    """The same rates, moved towards 0 or 1 until their mean is the wanted one."""
    mean = float(SHARES @ draw)
    return draw * success / mean if mean > success else 1 - (1 - draw) * (1 - success) / (1 - mean)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
@pytest.mark.parametrize("success", [0.0, 0.01, 0.5, 0.97, 1.0])
def test_i21_for_one_request_it_is_the_divergence_of_two_coins(rate: float, success: float) -> None:
    one = torch.tensor([rate], dtype=torch.float64)
    assert min_kl_for_success(success, one, torch.ones(1).double()) == pytest.approx(
        kl_bernoulli(success, rate), abs=1e-9
    )
    assert min_kl_for_success(success, one.expand(4), torch.ones(4).double()) == pytest.approx(
        kl_bernoulli(success, rate), abs=1e-9
    )


@pytest.mark.parametrize("success", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_i21_no_other_way_to_the_same_success_is_cheaper(success: float) -> None:
    least, draw = min_kl_for_success(success, RATES, SHARES), torch.Generator().manual_seed(1)
    assert least < paid(torch.full_like(RATES, success)), "to bring all requests to one rate is dearer"
    for _ in range(200):
        spread = torch.rand(len(RATES), generator=draw, dtype=torch.float64) ** float(torch.rand(1, generator=draw) * 4)
        reached = with_mean(spread.clamp(1e-9, 1 - 1e-9), success)
        assert float(SHARES @ reached) == pytest.approx(success)
        assert least <= paid(reached) + 1e-9


def test_i21_near_the_cheapest_way_all_others_are_dearer_by_little() -> None:
    """A step away from the optimum costs in second order only: it is a minimum, and not merely low."""
    reached = torch.sigmoid(RATES.logit() + 4.0)
    least = min_kl_for_success(float(SHARES @ reached), RATES, SHARES)
    assert least == pytest.approx(paid(reached), abs=1e-9)
    for i, j in itertools.permutations(range(len(RATES)), 2):
        aside = reached.clone()
        aside[i], aside[j] = aside[i] + 1e-4 / SHARES[i], aside[j] - 1e-4 / SHARES[j]
        if 0 < float(aside.min()) <= float(aside.max()) < 1:
            assert 0 < paid(aside) - least < 1e-4


def test_i21_certainty_costs_the_mean_surprise_and_chance_costs_nothing() -> None:
    assert min_kl_for_success(1.0, RATES, SHARES) == pytest.approx(-float(SHARES @ RATES.log()), abs=1e-9)
    assert min_kl_for_success(MEAN, RATES, SHARES) == pytest.approx(0.0, abs=1e-12)
    assert min_kl_for_success(0.0, RATES, SHARES) == pytest.approx(-float(SHARES @ (1 - RATES).log()), abs=1e-9)


def test_more_control_costs_more_on_either_side_of_chance() -> None:
    above = [min_kl_for_success(MEAN + (1 - MEAN) * k / 20, RATES, SHARES) for k in range(21)]
    below = [min_kl_for_success(MEAN * k / 20, RATES, SHARES) for k in range(21)]
    assert all(left < right for left, right in itertools.pairwise(above))
    assert all(left > right for left, right in itertools.pairwise(below))
    assert all(map(math.isfinite, above + below))


def test_shares_may_be_counts_and_rates_of_single_precision() -> None:
    exact = min_kl_for_success(0.8, RATES, SHARES)
    assert min_kl_for_success(0.8, RATES, 50 * SHARES) == pytest.approx(exact, abs=1e-12)
    assert min_kl_for_success(0.8, RATES.float(), SHARES) == pytest.approx(exact, abs=1e-5)
