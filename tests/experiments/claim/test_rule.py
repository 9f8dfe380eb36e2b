"""Does the rule decide as it is written? Against a plain loop, under changes that must not matter, and case by case."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from experiments.claim.rule import Threshold, best, first_passing_checkpoint, supported, verdict

Figures = dict[str, float]
Point = dict[str, Any]
Curve = list[Point]


def figures(accuracy: float, slor: float = 2.0, slor_se: float = 0.02, n: int = 1000) -> Figures:
    return {"accuracy": accuracy, "slor": slor, "slor_se": slor_se, "n": n, "success": accuracy}


def point(step: int, flops: float, dev: Figures, test: Figures | None = None) -> Point:
    return {"step": step, "flops": flops, "dev": dev, "test": dict(test or dev)}


SCRATCH = [
    point(1, 300.0, figures(0.50)),
    point(2, 600.0, figures(0.80)),
    point(4, 1200.0, figures(0.92)),  # the first past its own bar
    point(8, 2400.0, figures(0.94)),  # the best
    point(16, 4800.0, figures(0.93)),
]
OURS = [
    point(1, 100.0, figures(0.60)),
    point(2, 200.0, figures(0.95)),  # the first past the bar, for a sixth
    point(4, 400.0, figures(0.97)),
]


def changed(curve: Curve, at: int, part: str, **new: float) -> Curve:
    """The curve with other figures in one place."""
    curve = copy.deepcopy(curve)
    curve[at][part] |= new
    return curve


def drawn(draw: random.Random, price: float) -> Curve:
    """A curve that rises, more or less."""
    curve, flops = [], price * draw.uniform(0.5, 2)
    for step in range(1, draw.randint(3, 8)):
        reached = min(0.98, 0.6 + 0.1 * step)
        dev, test = (
            figures(reached + draw.uniform(-0.08, 0.01), draw.gauss(2, 0.04), draw.uniform(0.01, 0.05), n=400)
            for _ in range(2)
        )
        dev["success"] -= draw.uniform(0, 0.1)
        curve.append(point(step, flops * step, dev, test))
    return curve


PAIRS = [(drawn(random.Random(seed), 4.0), drawn(random.Random(1000 + seed), 1.0)) for seed in range(300)]


# --- the whole rule ---


def slow_verdict(scratch: Curve, ours: Curve) -> bool:
    """The docstring of the rule, sentence by sentence."""
    top = scratch[0]
    for here in scratch:
        if here["dev"]["success"] > top["dev"]["success"]:
            top = here

    def cost(curve: Curve) -> Point | None:
        for here in curve:
            dev = here["dev"]
            control = dev["accuracy"] - math.sqrt(dev["accuracy"] * (1 - dev["accuracy"]) / dev["n"])
            if control < 0.95 * top["dev"]["accuracy"]:
                continue
            if dev["slor"] - dev["slor_se"] < top["dev"]["slor"] - 1.96 * top["dev"]["slor_se"]:
                continue
            return here
        return None

    mine, theirs = cost(ours), cost(scratch)
    if mine is None:
        return False
    enough = mine["test"]["accuracy"] >= 0.95 * top["test"]["accuracy"]
    fluent = mine["test"]["slor"] >= top["test"]["slor"] - 1.96 * top["test"]["slor_se"]
    return enough and fluent and theirs["flops"] >= 3 * mine["flops"]


def test_the_rule_is_its_docstring() -> None:
    found = [verdict(*pair) for pair in PAIRS]
    assert [one["passes"] for one in found] == [slow_verdict(*pair) for pair in PAIRS]
    whys = Counter(one["why"] for one in found)
    alone = ("control, fluency and cost", "not control", "not fluency", "not cost")
    assert min(whys[why] for why in alone) > 5, "every way to pass or not is among the cases"


def test_all_three_hold_and_the_figures_are_those_that_decided() -> None:
    found = verdict(SCRATCH, OURS)
    assert found["passes"] is True
    assert found["why"] == "control, fluency and cost"
    assert (found["scratch_step"], found["scratch_flops"]) == (4, 1200.0)
    assert (found["auxiliary_step"], found["auxiliary_flops"]) == (2, 200.0)
    assert found["flops_ratio"] == 1200 / 200
    assert found["flops_ratio_to_best"] == 2400 / 200
    assert found["auxiliary"] == OURS[1]["test"]
    assert found["scratch"] == SCRATCH[3]["test"]


@pytest.mark.parametrize(
    ("ours", "broken"),
    [
        (changed(OURS, 1, "test", accuracy=0.80), "control"),
        (changed(OURS, 1, "test", slor=1.90), "fluency"),
        ([here | {"flops": 2.5 * here["flops"]} for here in OURS], "cost"),
    ],
)
def test_one_broken_condition_is_enough_and_is_named_alone(ours: Curve, broken: str) -> None:
    found = verdict(SCRATCH, ours)
    assert found["passes"] is False
    assert found["why"] == f"not {broken}"


def test_all_that_is_broken_is_named() -> None:
    ours = [here | {"flops": 2.5 * here["flops"]} for here in changed(OURS, 1, "test", accuracy=0.1, slor=0.1)]
    assert verdict(SCRATCH, ours)["why"] == "not control and not fluency and not cost"


@pytest.mark.parametrize(("times", "passes"), [(2.0, True), (2.01, False)])
def test_three_times_fewer_is_enough(times: float, passes: bool) -> None:
    assert verdict(SCRATCH, [here | {"flops": times * here["flops"]} for here in OURS])["passes"] is passes


# --- whose cost ---


def test_both_are_asked_when_they_first_passed_and_from_scratch_when_it_passed_its_own_bar() -> None:
    """Whoever trains from scratch for longer, to no avail, does not make the auxiliary look cheaper."""
    longer = [*SCRATCH, point(64, 19200.0, figures(0.93))]
    assert verdict(longer, OURS) == verdict(SCRATCH, OURS)
    assert verdict(SCRATCH, [*OURS, point(64, 6400.0, figures(0.99))]) == verdict(SCRATCH, OURS)


@pytest.mark.parametrize("pair", PAIRS[:40])
def test_a_curve_against_itself_costs_as_much_and_never_passes(pair: tuple[Curve, Curve]) -> None:
    found = verdict(pair[0], pair[0])
    assert found["flops_ratio"] == 1.0, "the best checkpoint passes its own bar, so there is a first one that does"
    assert "not cost" in found["why"]


def test_an_auxiliary_that_never_passes_the_bar_is_no_support_at_any_price() -> None:
    weak = [here | {"flops": 1e-9, "dev": figures(0.7)} for here in OURS]
    found = verdict(SCRATCH, weak)
    assert found["passes"] is False
    assert "never passed the bar" in found["why"]
    assert "flops_ratio" not in found


# --- development chooses, test judges ---


def test_who_was_good_on_development_sentences_and_is_bad_on_test_sentences_fails() -> None:
    assert verdict(SCRATCH, changed(OURS, 1, "test", accuracy=0.5))["passes"] is False
    found = verdict(SCRATCH, changed(OURS, 1, "dev", accuracy=0.5))
    assert found["auxiliary_step"] == 4, "and one that development does not choose is not helped by its test figures"


@pytest.mark.parametrize("pair", PAIRS[:60])
def test_only_the_test_figures_of_the_chosen_count(pair: tuple[Curve, Curve]) -> None:
    scratch, ours = copy.deepcopy(pair)
    found, top = verdict(scratch, ours), best(scratch)
    for here in scratch + ours:
        if here is not top and here["step"] != (found.get("auxiliary_step") if here in ours else None):
            here["test"] = figures(0.999, 9.9, 0.001)
    assert verdict(scratch, ours) == found


@pytest.mark.parametrize("pair", PAIRS[:60])
def test_what_comes_after_the_first_past_the_bar_does_not_matter(pair: tuple[Curve, Curve]) -> None:
    scratch, ours = copy.deepcopy(pair)
    found = verdict(scratch, ours)
    for here in ours:
        if here["step"] > found.get("auxiliary_step", math.inf):
            here["dev"] = figures(0.1, -5.0)
    assert verdict(scratch, ours) == found


@pytest.mark.parametrize("change", ["unit of cost", "level of SLOR"])
def test_units_do_not_matter(change: str) -> None:
    def other(curve: Curve) -> Curve:
        curve = copy.deepcopy(curve)
        for here in curve:
            if change == "unit of cost":
                here["flops"] *= 4.0
            else:
                here["dev"]["slor"] += 8.0
                here["test"]["slor"] += 8.0
        return curve

    for scratch, ours in PAIRS:
        before, after = verdict(scratch, ours), verdict(other(scratch), other(ours))
        assert [before.get(key) for key in ("passes", "why", "flops_ratio", "auxiliary_step", "scratch_step")] == [
            after.get(key) for key in ("passes", "why", "flops_ratio", "auxiliary_step", "scratch_step")
        ]


# --- the bar ---


def test_the_bar_by_hand() -> None:
    bar = Threshold.of(figures(0.90, slor=2.0, slor_se=0.05))
    assert bar.accuracy == pytest.approx(0.855)
    assert bar.slor == pytest.approx(1.902)
    found = verdict(changed(SCRATCH, 3, "test", accuracy=0.90, slor=1.5, slor_se=0.05), OURS)
    assert found["bar"] == {"accuracy": pytest.approx(0.855), "slor": pytest.approx(1.402)}, "of the test figures"


BAR = Threshold(accuracy=0.90, slor=2.0)


@pytest.mark.parametrize(
    ("reached", "plain", "by_one"),
    [
        (figures(0.90, 2.5), True, False),
        (figures(0.905, 2.5), True, False),  # one standard error is 0.0093
        (figures(0.912, 2.5), True, True),
        (figures(0.905, 2.5, n=100_000), True, True),
        (figures(0.899, 2.5, n=100_000), False, False),
        (figures(0.99, 2.0), True, False),
        (figures(0.99, 2.01, slor_se=0.02), True, False),
        (figures(0.99, 2.01, slor_se=0.005), True, True),
        (figures(0.99, 1.99, slor_se=0.005), False, False),
        (figures(1.0, 2.5), True, True),
    ],
)
def test_the_bar_is_passed_by_a_standard_error_or_just_reached(reached: Figures, plain: bool, by_one: bool) -> None:
    assert BAR.passed(reached) is plain
    assert BAR.passed(reached, margin=1.0) is by_one
    assert (first_passing_checkpoint([point(1, 1.0, reached)], BAR) is not None) is by_one


@pytest.mark.parametrize("spoil", [lambda x: x | {"slor_se": 0.5}, lambda x: x | {"n": 10}])
def test_who_is_uncertain_passes_later(spoil: Callable[[Figures], Figures]) -> None:
    unsure = [OURS[0], OURS[1] | {"dev": spoil(figures(0.905))}, OURS[2]]
    sure = [OURS[0], OURS[1] | {"dev": figures(0.905)}, OURS[2]]
    assert verdict(SCRATCH, sure)["auxiliary_step"] == 2
    assert verdict(SCRATCH, unsure)["auxiliary_step"] == 4


def test_the_best_holds_most_keywords_in_grammatical_sentences_and_is_the_earliest_such() -> None:
    accurate = changed(SCRATCH, 4, "dev", accuracy=0.999)
    assert best(accurate)["step"] == 8, "a keyword in a sentence that cannot be said does not count"
    assert best(changed(SCRATCH, 4, "dev", success=0.94))["step"] == 8
    assert best(changed(SCRATCH, 4, "dev", success=0.941))["step"] == 16


# --- five seeds ---


@pytest.mark.parametrize(("passing", "of", "held"), [(5, 5, True), (4, 5, True), (3, 5, False), (3, 3, False)])
def test_four_of_five_seeds_are_needed(passing: int, of: int, held: bool) -> None:
    verdicts = [{"passes": seed < passing} for seed in range(of)]
    assert supported(verdicts) is supported(verdicts[::-1]) is held
