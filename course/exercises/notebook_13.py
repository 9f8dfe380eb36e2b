"""The exercises of notebook 13, your own task: what a judge with errors, a null test and a resampling can say."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_number

EXACT = 1e-9
ROUNDS, CLOSE = 20_000, 0.03  # so many rounds know an interval's width to within a hundredth or so


@exercise(
    "13.1",
    hints=(
        "Write down what the judge will say if the share p is positive: hits from p, false alarms from 1 − p.",
        "observed = sensitivity · p + (1 − specificity) · (1 − p). Collect what stands beside p, and solve for it.",
        "spread = sensitivity + specificity - 1; return (observed + specificity - 1) / spread if spread else nan",
    ),
)
def true_rate(observed: float, sensitivity: float, specificity: float) -> float:
    """The share that is positive, if a judge with these errors calls ``observed`` positive (Rogan and Gladen 1978)."""
    spread = sensitivity + specificity - 1
    return (observed + specificity - 1) / spread if spread else float("nan")


@true_rate.examiner
def _(answer: Answer) -> str:
    q, sens, spec = 0.6, 0.9, 0.75
    says = expect_number(answer(q, sens, spec), "the share")
    right = (q + spec - 1) / (sens + spec - 1)
    known = {
        "that is the way *to* the observed share; you are asked for the way back: solve for p.": (
            sens * q + (1 - spec) * (1 - q)
        ),
        "you divide by the sensitivity alone: that repairs what the judge misses, and leaves its false alarms in.": (
            q / sens
        ),
        "sensitivity and specificity have changed places: the first is about sentences that are positive.": (
            (q + sens - 1) / (sens + spec - 1)
        ),
        "the false alarms are taken off, but what remains is spread over sens + spec − 1, and not over 1.": (
            q + spec - 1
        ),
        "you divide by the sensitivity; of the distance between no positive and all, only sens + spec − 1 is left.": (
            (q + spec - 1) / sens
        ),
        "that repairs with one accuracy, as if both errors were alike; use each for the sentences it is about.": (
            (q + (sens + spec) / 2 - 1) / (sens + spec - 1)
        ),
        "that is the share of sentences that are *not* positive.": 1 - right,
    }
    for wrong, value in known.items():
        expect(abs(says - value) > EXACT, wrong)
    expect(
        abs(says - right) < EXACT, f"60 % seen with errors of 10 % and 25 % mean p = {right:.4f}; you say {says:.4f}."
    )
    beyond = expect_number(answer(0.95, sens, spec), "the share")
    expect(
        beyond > 1 and expect_number(answer(0.1, sens, spec), "the share") < 0,
        "you cut the share to [0, 1]; an impossible share says that the judge's errors are others here. Let it stand.",
    )
    coin = answer(0.5, 0.75, 0.25)
    expect(
        isinstance(coin, (float, Tensor)) and isnan(float(coin)),
        "a judge with sensitivity 0.75 and specificity 0.25 tosses a coin: nothing can be known, so return nan.",
    )
    return "takes both kinds of error out, lets an impossible share stand, and knows nothing from a coin."


@exercise(
    "13.2",
    hints=(
        "How many figures lie on the table? One more than there were shuffled runs, and one of them is yours.",
        "Count the shuffled figures that are greater than yours or equal to it, and then count yours as well.",
        "return (1 + sum(other >= found for other in shuffled)) / (1 + len(shuffled))",
    ),
)
def p_value(found: float, shuffled: Sequence[float]) -> float:
    """The share of all runs, the real one among them, that are at least as good as the real one."""
    return (1 + sum(other >= found for other in shuffled)) / (1 + len(shuffled))


@p_value.examiner
def _(answer: Answer) -> str:
    found, shuffled = 1.5, [0.25, -3.0, 1.5, 2.0, 1.5, 0.0, 1.0, -0.5, 0.75]
    says = expect_number(answer(found, list(shuffled)), "the p-value")
    known = {
        "you count the shuffled runs only; without your own among them the p-value can be zero.": 3 / 9,
        "a tie counts against you: at least as good, and not better.": 2 / 10,
        "a tie counts against you, and your own run is one of the runs.": 1 / 9,
        "you count your own run among the good ones, but not among all: divide by n + 1.": 4 / 9,
        "your own run is among all, but not among those that are at least as good: add 1 above, too.": 3 / 10,
        "that is the wrong end: larger is better, and you count the runs that are at most as good.": 9 / 10,
        "that is the share of runs that you have beaten; asked is how often chance does as well.": 6 / 10,
        "you count by size without sign; a run that is far on the wrong side is not as good as yours.": 5 / 10,
    }
    for wrong, value in known.items():
        expect(abs(says - value) > EXACT, wrong)
    expect(
        abs(says - 0.4) < EXACT, f"of ten runs, four are at least as good as yours, itself among them; not {says:.3f}."
    )
    least = expect_number(answer(9.0, [0.0] * 19), "the p-value")
    expect(abs(least - 0.05) < EXACT, f"better than 19 of 19, a run has p = 1/20; you say {least:.3f}.")
    return "counts your own run and ties against you: better than all of 19 is 1/20, and never zero."


@exercise(
    "13.3",
    hints=(
        "A round draws as many as there were, from those that there were, and some of them twice. Then two means.",
        "`torch.randint(len(group), (rounds, len(group)))` draws the places for all rounds at once.",
        "means = [g[torch.randint(len(g), (rounds, len(g)))].mean(1) for g in (first, second)]; then the two quantiles "
        "of means[0] - means[1]: tensor.quantile(q)",
    ),
)
def difference_interval(first: Tensor, second: Tensor, rounds: int = 1000) -> tuple[float, float]:
    """95 % bootstrap interval of ``first.mean() - second.mean()``: ``[N]`` and ``[M]`` to two numbers."""
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)


@difference_interval.examiner
def _(answer: Answer) -> str:
    first, second = _spread_out(40, 1.0, 2.0), _spread_out(160, 2.0, 1.0)
    said = answer(first.clone(), second.clone(), ROUNDS)
    expect(
        isinstance(said, (tuple, list, Tensor)) and len(said) == 2,
        f"return two numbers, low and high; you returned {type(said).__name__}.",
    )
    low, high = (expect_number(value, name) for value, name in zip(said, ("the low end", "the high end"), strict=True))
    expect(low <= high, "the low end lies above the high one; return low first.")
    middle, half = (low + high) / 2, (high - low) / 2
    expect(
        half > EXACT,
        "every round gives the same difference: draw *with* replacement, or each round holds the same sentences.",
    )
    expect(abs(middle + 1) > 0.1, "the interval lies around second minus first; asked was first minus second.")
    expect(
        abs(middle) > 0.1,
        "the interval lies around 0: you drew both groups from one pot. That is a null test; keep the groups apart.",
    )
    whole, one = (1 / 40 + 4 / 160) ** 0.5, (1 / 40) ** 0.5  # both groups add as much: 1² / 40 and 2² / 160
    known = {
        "that is one standard error to each side, which holds 68 %; asked is the middle 95 %.": whole,
        "that is the middle 90 %: 5 % are cut off at each end. Cut 2.5 % at each.": 1.645 * whole,
        "only one of the groups was drawn anew; both were samples, and both would come out differently.": 1.96 * one,
        "you draw as few of the second group as there are in the first; draw as many as each group has.": (
            1.96 * (5 / 40) ** 0.5
        ),
        "you draw as many of the first group as there are in the second; draw as many as each group has.": (
            1.96 * (5 / 160) ** 0.5
        ),
        "that is the range of single differences between two sentences; a round compares two *means*.": 1.96 * 5**0.5,
    }
    for wrong, value in known.items():
        expect(abs(half / value - 1) > CLOSE, wrong)
    right = 1.96 * whole
    expect(
        abs(half / right - 1) < CLOSE and abs(middle - 1) < 0.05,
        f"the middle 95 % go from {1 - right:.2f} to {1 + right:.2f}; yours from {low:.2f} to {high:.2f}.",
    )
    return "both groups are drawn anew, each in its own size; the middle 95 % lie around the difference."


def _spread_out(n: int, deviation: float, mean: float) -> Tensor:
    """Random numbers with exactly this mean and deviation."""
    values = torch.randn(n, dtype=torch.float64)
    return (values - values.mean()) / values.std(correction=0) * deviation + mean
