"""Is control measured right? Figures by hand, a frontier that nobody passes, and errors of a sum by listing."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.data.assets import data_dir
from auxlib.product import kl_bernoulli
from auxlib.worlds.rules import Rules
from experiments.baselines.decoding import DecodingContext, Memory, System
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.claim.setup import load_world
from experiments.control.joint_conditions import JointConditions
from experiments.control.measure import (
    composition_errors,
    least_drift,
    measure_conditions,
    under_expert,
    under_truth,
    word_classes,
)
from experiments.control.story import ExactJointPosterior, MyopicBoost
from experiments.control.storyland import StoryRequests, StorySize
from experiments.metrics import wilson
from tests.experiments.baselines import bench_beside
from tests.experiments.control import several
from tests.grammars import TEXTS, Listed, Words, grammar_of

MANY = 200
TIED = """
[remember]
place = { farm = 0.6, town = 0.4 }
[states]
start = ["1: <pet {place}> sees the <thing {place}> near the <spot {place}> -> end"]
[function]
[content]
"pet farm" = "cat, hen"
"pet town" = "cat, dog*3"
"thing farm" = "cart*2, fence"
"thing town" = "cart, clock"
"spot farm" = "barn*2, inn"
"spot town" = "inn, park"
"""
APART = """
[remember]
[states]
start = ["1: the <pet> sleeps near the <spot> -> end"]
[function]
[content]
pet = "cat*2, dog, owl"
spot = "barn*3, pier"
"""


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules(data_dir() / "storyland" / "grammar.toml")


def chances(asked: JointConditions) -> Tensor:
    """How likely each row's requests are fulfilled by chance."""
    nothing = torch.zeros(len(asked.wanted), 0, dtype=torch.long)
    return asked.posterior(nothing)[:, 0]


# --- how well somebody writes ---


def test_the_exact_answer_drifts_by_what_was_asked_and_no_further() -> None:
    figures = measure_conditions(ExactJointPosterior(several(1, MANY)), several(1, MANY), under_truth(load_world()))
    assert figures["accuracy"] == figures["grammatical"] == 1
    assert figures["drift"] == pytest.approx(float(-chances(several(1, MANY)).log().mean()), abs=1e-4)
    assert 0.98 < figures["efficiency"] <= 1
    assert figures["efficiency"] == pytest.approx(figures["least_drift"] / figures["drift"], abs=1e-4)
    assert figures["interval"] == pytest.approx(wilson(MANY, MANY), abs=1e-4)
    assert figures["n"] == MANY


@pytest.mark.parametrize("weight", [0.25, 2.0])
def test_the_exact_answer_with_another_weight_says_the_words_too_and_drifts_further(weight: float) -> None:
    figures = measure_conditions(
        ExactJointPosterior(several(1, MANY), weight=weight), several(1, MANY), under_truth(load_world())
    )
    assert figures["accuracy"] == 1
    assert figures["drift"] > float(-chances(several(1, MANY)).log().mean()) + 0.1


def test_whoever_does_not_look_ahead_stays_below_the_frontier() -> None:
    keyword = load_world().keyword_ids(["farmer"]).expand(MANY)
    asked = JointConditions.keywords(load_world(), keyword[:, None])
    figures = measure_conditions(MyopicBoost(load_world(), 3.0), asked, under_truth(load_world()))
    assert figures["least_drift"] == pytest.approx(
        kl_bernoulli(figures["accuracy"], float(chances(asked)[0])), abs=1e-4
    )
    assert 0.3 < figures["accuracy"] < 0.95
    assert figures["efficiency"] < 0.95


def test_who_is_not_steered_does_not_drift_and_fulfils_requests_by_chance() -> None:
    hours = StoryRequests(StorySize(questions=MANY)).hour_conditions(with_word=False)
    figures = measure_conditions(MyopicBoost(load_world(), 0.0), hours, under_truth(load_world()))
    p = chances(hours)
    assert abs(figures["drift"]) < 1e-4
    assert figures["by_chance"] == pytest.approx(float(p.mean()), abs=1e-4)
    assert abs(figures["accuracy"] * MANY - float(p.sum())) < 3 * float((p * (1 - p)).sum().sqrt())
    expert = bench_beside().expert
    frozen = measure_conditions(FrozenExpertSystem(expert), several(1), under_expert(expert))
    assert abs(frozen["drift"]) < 1e-4, "nor does the frozen expert from itself"


class Babble(System):
    """Any word at any time."""

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        return torch.zeros(len(reading.token_ids), 1, len(load_world().vocabulary))


def test_who_says_the_impossible_has_no_drift_and_every_sentence_counts() -> None:
    figures = measure_conditions(Babble(), several(2), under_truth(load_world()))
    assert figures.keys().isdisjoint({"drift", "efficiency"})
    assert figures["grammatical"] == 0
    assert figures["n"] == 30
    assert figures["accuracy"] < 0.2


def test_the_same_seed_writes_the_same() -> None:
    once, again, other = (
        measure_conditions(MyopicBoost(load_world(), 3.0), several(1), under_truth(load_world()), seed)
        for seed in (1, 1, 2)
    )
    assert once == again != other


def test_the_least_drift_rises_from_nothing_at_chance_to_all_that_was_asked() -> None:
    p = chances(several(2))
    assert least_drift(several(2), float(p.mean())) == pytest.approx(0, abs=1e-9)
    wanted = torch.linspace(0.05, 1 - 1e-9, 12).tolist()
    costs = [least_drift(several(2), accuracy) for accuracy in wanted]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(float(-p.log().mean()), abs=1e-6)


# --- what a sum gets wrong ---


def by_listing(small: Listed, x: Words, pair: tuple[str, str]) -> tuple[float, float]:
    """Nats lost and the widest error of a logit along a sentence, from the list of all sentences."""

    def share(prefix: Words, *wanted: str) -> float:
        mass = math.fsum(p for y, p in small.p.items() if y[: len(prefix)] == prefix and set(wanted) <= set(y))
        return mass / small.mass(prefix)

    lost, widest = 0.0, 0.0
    for t in range(len(x)):
        longer = [(*x[:t], v) for v in {y[t] for y in small.p if y[:t] == x[:t] and len(y) > t}]
        p = torch.tensor([small.mass(y) / small.mass(x[:t]) for y in longer], dtype=torch.float64)
        both = torch.tensor([share(y, *pair) for y in longer], dtype=torch.float64)
        each = torch.tensor([share(y, pair[0]) * share(y, pair[1]) for y in longer], dtype=torch.float64)
        q, s = p * both / (p @ both), p * each / (p @ each)
        possible = both > 1e-12
        lost += float((q * (q / s).log())[possible].sum())
        pmi = (both / each).log()[possible]
        widest = max(widest, float(pmi.max() - pmi.min()))
    return lost, widest


@pytest.mark.parametrize("name", ["ambiguous", "twice", "tied", "apart"])
def test_i11_what_a_sum_costs_is_what_listing_says(name: str, tmp_path: Path) -> None:
    small = Listed(grammar_of({**TEXTS, "tied": TIED, "apart": APART}[name], tmp_path))
    rows = [x for x in small.p if len(small.content(x)) > 1][:40]
    longest = max(map(len, rows))
    token_ids = torch.cat([F.pad(row, (0, longest - row.shape[1])) for row in map(small.encode, [[x] for x in rows])])
    found = list(composition_errors(small.world, token_ids, block=7))
    asked = [(x, pair) for x in rows for pair in combinations(small.content(x), 2)]
    assert [tuple(small.world.vocabulary[word] for word in pair) for pair, _, _ in found] == [pair for _, pair in asked]
    for (x, pair), (_, lost, widest) in zip(asked, found, strict=True):
        assert (lost, widest) == pytest.approx(by_listing(small, x, pair), abs=1e-10), (x, pair)
    most, furthest = max(lost for _, lost, _ in found), max(widest for _, _, widest in found)
    assert (most > 0.1 and furthest > 0.1) if name in ("twice", "tied") else (most < 1e-12 and furthest < 1e-12)


def test_in_storyland_a_sum_loses_nothing_on_words_that_the_prefix_sets_apart_and_never_less(rules: Rules) -> None:
    kinds, lost_by = word_classes(load_world(), rules), {}
    sentences = load_world().sample(15, torch.Generator().manual_seed(3))
    for pair, lost, _ in composition_errors(load_world(), sentences):
        names = frozenset(kinds[word].split()[0] for word in pair)
        lost_by.setdefault(names, []).append(lost)
    assert sum(map(len, lost_by.values())) == 15 * 15, "two of six words"
    assert min(min(lost) for lost in lost_by.values()) > -1e-9
    for apart in ({"trait", "object"}, {"trait", "spot"}, {"idle", "object"}):  # neither tells anything of the other
        assert max(map(abs, lost_by[frozenset(apart)])) < 1e-9
    for tied in ({"hero", "object"}, {"object", "spot"}, {"hero", "spot"}):  # all three tell of the place
        assert max(lost_by[frozenset(tied)]) > 0.1


def test_every_content_word_has_a_kind_whose_classes_have_it_and_no_other_word_has_one(rules: Rules) -> None:
    world, kinds = load_world(), word_classes(load_world(), rules)
    assert {i for i, kind in enumerate(kinds) if kind} == set(world.content_ids.tolist())
    for i, kind in enumerate(kinds):
        classes = [name for name, phrases in rules.classes.items() if any(world.vocabulary[i] in x for x, _ in phrases)]
        if kind:
            assert any(name.startswith(kind) for name in classes)
            assert {name.split()[0] for name in classes} == {kind.split()[0]}, "of one sort, whatever the place"
