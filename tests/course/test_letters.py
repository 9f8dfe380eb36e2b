"""The identities of the course, each by enumeration, each with a negative control where one exists.

The world itself is the referee here; ``tests/identities`` checks it, and every other identity, by sums written out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auxlib.errors import AuxlibError, WorldError
from auxlib.product import combine, kl, kl_bernoulli
from course.letters import LetterWorld, noisy

EXACT = 1e-10
WORLDS = [LetterWorld.random("abc", 4, seed) for seed in range(3)] + [LetterWorld.random("abcd", 3, 7)]


def close(actual: Tensor | float, expected: Tensor | float) -> bool:
    difference = torch.as_tensor(actual, dtype=torch.float64) - torch.as_tensor(expected, dtype=torch.float64)
    return float(difference.abs().max()) < EXACT


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table_condition(world: LetterWorld, seed: int) -> Callable[[str], float]:
    """A witness with an arbitrary probability for each text."""
    values = torch.rand(len(world.texts), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return dict(zip(world.texts, (0.05 + 0.9 * values).tolist(), strict=True)).__getitem__


def conditions(world: LetterWorld) -> list[Callable[[str], float]]:
    return [world.contains("c"), world.drawn("c"), noisy(world.contains("b"), 0.1), table_condition(world, 3)]


def cases() -> list[tuple[LetterWorld, Callable[[str], float]]]:
    return [(world, condition) for world in WORLDS for condition in conditions(world)]


# ---------------------------------------------------------------- the world itself


@pytest.mark.parametrize("world", WORLDS)
def test_the_table_the_texts_and_the_chain_rule_agree(world: LetterWorld) -> None:
    assert world.texts == tuple(map("".join, itertools.product(world.letters, repeat=world.T)))
    assert len(world.prefixes) == sum(world.V**t for t in range(world.T))
    assert close(world.probs.sum(), 1.0)
    by_hand = [
        sum(float(world.next_log_probs(x[:t])[world.letters.index(x[t])]) for t in range(world.T)) for x in world.texts
    ]
    assert close(world.log_prob(world.texts), torch.tensor(by_hand, dtype=torch.float64))
    assert close(world.log_prob(["a"]).exp(), world.probs[: world.V ** (world.T - 1)].sum())
    assert close(world.distribution_of(world.next_log_probs), world.probs)


def test_markov_and_iid_worlds_forget_what_they_should() -> None:
    start, transition = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.0, 0.5, 0.5]])
    markov = LetterWorld.markov("abc", 4, start, transition)
    assert close(markov.next_log_probs("aab"), markov.next_log_probs("bcb"))
    assert close(markov.next_log_probs("").exp(), start.double() / start.double().sum())
    assert close(markov.log_prob(["aca"]).exp(), 0.0)
    iid = LetterWorld.iid("abc", 5, start)
    assert close(iid.next_log_probs("abca"), iid.next_log_probs(""))
    assert iid.entropy_rate == pytest.approx(-float((start * start.log()).sum()), abs=1e-6)


def test_samples_follow_the_probabilities_and_the_seed() -> None:
    world = LetterWorld.random("abc", 3, 5)
    drawn = world.sample(20_000, torch.Generator().manual_seed(1))
    assert drawn == world.sample(20_000, torch.Generator().manual_seed(1))
    frequency = torch.tensor([drawn.count(text) / len(drawn) for text in world.texts], dtype=torch.float64)
    assert float((frequency - world.probs).abs().sum()) < 0.06


def test_a_wrong_question_gets_a_sentence() -> None:
    world = LetterWorld.markov("abc", 3, torch.tensor([0.5, 0.5, 0.0]), torch.eye(3))
    for ask, words in [
        (lambda: world.next_log_probs("ax"), "outside the alphabet 'abc'"),
        (lambda: world.contains("z"), "outside the alphabet"),
        (lambda: world.next_log_probs("abca"), "at most 2"),
        (lambda: world.posterior(world.contains("a"))("aaaa"), "at most 3"),
        (lambda: world.next_log_probs("c"), "'c' has probability zero"),
        (lambda: world.exact_aux_logits("ab", world.contains("a")), "'ab' has probability zero"),
        (lambda: world.next_from(world.probs, "ab"), "probability zero"),
        (lambda: world.conditional(world.contains("c")), "no text of this world"),
        (lambda: world.posterior(lambda text: 2.0), "between 0 and 1"),
        (lambda: world.log_prob("aaa"), "list of texts"),
        (lambda: world.mutual_information([world.contains("a")]), "sum to one on every text"),
        (lambda: world.distribution_of(lambda prefix: torch.full((3,), -math.inf)), "not all -inf"),
        (lambda: world.distribution_of(lambda prefix: torch.zeros(2)), "3 logits"),
        (lambda: LetterWorld.iid("abc", 3, torch.tensor([0.5, 0.5, 0.5])), "sum to one"),
        (lambda: LetterWorld.iid("abc", 3, torch.tensor([1.5, -0.5, 0.0])), "sum to one"),
        (lambda: LetterWorld("abc", [torch.ones(2, 3) / 3]), "must be"),
        (lambda: LetterWorld.random("ab", 3), "3 to 8 different letters"),
        (lambda: LetterWorld.random("aab", 3), "3 to 8 different letters"),
        (lambda: LetterWorld.random("abc", 7), "length 1 to 6"),
    ]:
        with pytest.raises(WorldError, match=words):
            ask()
    assert issubclass(WorldError, AuxlibError)


# ---------------------------------------------------------------- conditioning


@pytest.mark.parametrize(("world", "condition"), cases())
def test_i00_the_base_rate_is_the_average_over_whole_texts(
    world: LetterWorld, condition: Callable[[str], float]
) -> None:
    h = world.posterior(condition)
    assert close(h(""), sum(p * condition(x) for p, x in zip(world.probs.tolist(), world.texts, strict=True)))
    assert all(h(text) == pytest.approx(condition(text), abs=0) for text in world.texts)


@pytest.mark.parametrize(("world", "condition"), cases())
def test_i01_i03_added_logits_are_bayes_and_log_z_is_what_is_known_so_far(
    world: LetterWorld, condition: Callable[[str], float]
) -> None:
    h, truth = world.posterior(condition), world.conditional(condition)
    off_by = []
    for prefix in world.prefixes:
        if h(prefix) == 0:
            assert world.exact_aux_logits(prefix, h).isneginf().all()
            continue
        joint_logits = world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h)
        assert close(joint_logits.softmax(-1), world.next_from(truth, prefix))
        assert close(joint_logits.logsumexp(-1), math.log(h(prefix)))
        off_by.append(abs(float((joint_logits - math.log(h(""))).exp().sum()) - 1))
    assert max(off_by) > 1e-3  # negative control: p(c) in the denominator is not a distribution


@pytest.mark.parametrize(("world", "condition"), cases())
def test_i02_the_steps_multiply_to_the_posterior_over_texts(
    world: LetterWorld, condition: Callable[[str], float]
) -> None:
    h, truth = world.posterior(condition), world.conditional(condition)
    steps = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h))
    assert close(steps, truth)


def potentials(world: LetterWorld, seed: int) -> dict[str, Tensor]:
    return {prefix: normal(world.V, seed=seed + i) for i, prefix in enumerate(world.prefixes)}


def total(world: LetterWorld, phi: dict[str, Tensor], text: str) -> float:
    return sum(float(phi[text[:t]][world.letters.index(text[t])]) for t in range(world.T))


@pytest.mark.parametrize("world", WORLDS)
def test_i04_i04b_a_myopic_shift_is_not_conditioning_and_looking_ahead_repairs_it(world: LetterWorld) -> None:
    phi = potentials(world, seed=100)
    energy = torch.tensor([total(world, phi, text) for text in world.texts], dtype=torch.float64)
    wanted = (world.log_prob(world.texts) + energy).softmax(-1)
    local = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + phi[prefix])
    assert close(local.sum(), 1.0)
    assert 0.5 * float((local - wanted).abs().sum()) > 1e-2
    as_likelihood = dict(zip(world.texts, (energy - energy.max()).exp().tolist(), strict=True))
    h = world.posterior(as_likelihood.__getitem__)
    ahead = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h))
    assert close(ahead, wanted)


def test_i04_the_two_agree_when_log_z_is_the_same_for_every_prefix() -> None:
    world, shift = LetterWorld.iid("abc", 4, torch.tensor([0.2, 0.5, 0.3])), normal(3, seed=1)
    phi = dict.fromkeys(world.prefixes, shift)
    energy = torch.tensor([total(world, phi, text) for text in world.texts], dtype=torch.float64)
    local = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + shift)
    assert close(local, (world.log_prob(world.texts) + energy).softmax(-1))


def test_i05_a_constant_per_row_is_invisible_in_value_gradient_and_curvature() -> None:
    lm_logits, aux_logits, target = normal(4, seed=1), normal(4, seed=2).requires_grad_(), torch.tensor(2)

    def loss(aux: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy((lm_logits + aux)[None], target[None])

    assert close(loss(aux_logits + 7.0).detach(), loss(aux_logits).detach())
    (gradient,) = torch.autograd.grad(loss(aux_logits), aux_logits)
    hessian = torch.autograd.functional.hessian(loss, aux_logits.detach())
    assert close(gradient.sum(), 0.0)
    assert close(hessian @ torch.ones(4, dtype=torch.float64), torch.zeros(4))
    assert float((hessian @ normal(4, seed=3)).abs().max()) > 1e-3


# ---------------------------------------------------------------- information


def choices(world: LetterWorld, number: int, seed: int) -> list[Callable[[str], float]]:
    """``number`` conditions of which exactly one holds, with a random p(c | text)."""
    like = (2 * normal(number, len(world.texts), seed=seed)).softmax(0).tolist()
    return [dict(zip(world.texts, row, strict=True)).__getitem__ for row in like]


def conditional_nll(world: LetterWorld, given: list[Callable[[str], float]]) -> float:
    """Mean loss of the exact conditional model in nats per text."""
    terms = [(world.posterior(c)(""), world.conditional(c)) for c in given]
    return -float(sum(p_c * torch.special.xlogy(px, px).sum() for p_c, px in terms))


@pytest.mark.parametrize("world", WORLDS)
def test_i07_conditioning_can_gain_the_mutual_information_and_no_more(world: LetterWorld) -> None:
    given = choices(world, 4, seed=11)
    ceiling = world.mutual_information(given)
    gain = world.entropy_rate * world.T - conditional_nll(world, given)
    p_c = torch.tensor([world.posterior(c)("") for c in given], dtype=torch.float64)
    assert close(gain, ceiling)
    assert 0 < ceiling < -float((p_c * p_c.log()).sum())
    uninformative = [lambda text: 0.25] * 4
    assert close(world.mutual_information(uninformative), 0.0)


def test_i07b_a_wrong_base_adds_its_own_distance_to_the_gain() -> None:
    world, base = WORLDS[0], LetterWorld.random("abc", 4, seed=99)
    given = choices(world, 3, seed=5)
    base_nll = -float((world.probs * base.log_prob(base.texts)).sum())
    distance = float(kl(world.log_prob(world.texts), base.log_prob(base.texts)))
    assert distance > 0.1
    assert close(base_nll - conditional_nll(world, given), distance + world.mutual_information(given))


# ---------------------------------------------------------------- the dial λ


LM, AUX = normal(5, seed=21), normal(5, seed=22)


def tilted(weight: float) -> Tensor:
    return combine(LM[None], [(weight, AUX[None])])[0].softmax(-1)


def mean(weight: float) -> float:
    return float((tilted(weight) * AUX).sum())


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_i08a_the_dial_interpolates_geometrically(weight: float) -> None:
    geometric = tilted(0.0) ** (1 - weight) * tilted(1.0) ** weight
    assert close(tilted(weight), geometric / geometric.sum())


@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0, 2.5])
def test_i08b_the_expected_auxiliary_score_rises_at_the_rate_of_its_variance(weight: float) -> None:
    lam = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    p = combine(LM[None], [(lam, AUX[None])])[0].softmax(-1)
    (slope,) = torch.autograd.grad((p * AUX).sum(), lam)
    p = p.detach()
    assert close(slope, (p * AUX**2).sum() - (p * AUX).sum() ** 2)
    assert float(slope) > 0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.5])
def test_i08c_the_drift_is_the_score_minus_log_z(weight: float) -> None:
    log_z = (LM.log_softmax(-1) + weight * AUX).logsumexp(-1)
    assert close(kl(tilted(weight).log(), tilted(0.0).log()), weight * mean(weight) - float(log_z))


def test_i08d_the_product_is_the_best_trade_of_score_against_drift() -> None:
    def value(q: Tensor) -> float:
        return float((q * AUX).sum() - kl(q.log(), tilted(0.0).log()))

    assert close(value(tilted(1.0)), float((LM.log_softmax(-1) + AUX).logsumexp(-1)))
    rivals = [(3 * normal(5, seed=seed)).softmax(-1) for seed in range(200)]
    assert all(value(q) < value(tilted(1.0)) for q in rivals)


def test_i08_i04_a_dial_other_than_one_is_not_the_same_dial_on_whole_texts() -> None:
    world = WORLDS[0]
    h = world.posterior(noisy(world.contains("c"), 0.1))
    for weight, agrees in [(0.0, True), (1.0, True), (2.0, False)]:
        by_step = world.distribution_of(
            lambda prefix, w=weight: world.next_log_probs(prefix) + w * world.exact_aux_logits(prefix, h)
        )
        by_text = (world.log_prob(world.texts) + weight * h.levels[-1].log()).softmax(-1)
        assert (0.5 * float((by_step - by_text).abs().sum()) < EXACT) == agrees


def test_i09_temperature_before_and_after_the_sum_differ() -> None:
    after, before = ((LM + AUX) / 2).softmax(-1), (LM / 2 + AUX).softmax(-1)
    assert float((after - before).abs().max()) > 1e-3
    assert close(after, (LM / 2 + AUX / 2).softmax(-1))  # it does commute when both experts are cooled


def test_i12_each_pool_is_the_best_compromise_in_its_own_direction_of_kl() -> None:
    p1, p2, w = tilted(0.0).log(), normal(5, seed=33).log_softmax(-1), 0.3
    product, average = (w * p1 + (1 - w) * p2).log_softmax(-1), (w * p1.exp() + (1 - w) * p2.exp()).log()

    def outward(q: Tensor) -> float:
        return float(w * kl(q, p1) + (1 - w) * kl(q, p2))

    def inward(q: Tensor) -> float:
        return float(w * kl(p1, q) + (1 - w) * kl(p2, q))

    rivals = [(2 * normal(5, seed=seed)).log_softmax(-1) for seed in range(300)]
    assert all(outward(product) < outward(q) and inward(average) < inward(q) for q in rivals)
    assert outward(average) > outward(product)
    assert inward(product) > inward(average)


# ---------------------------------------------------------------- composition and keywords


def composition_gap(world: LetterWorld, first: Callable[[str], float], second: Callable[[str], float]) -> float:
    """Largest error in a next-letter probability when two exact auxiliaries are simply added."""
    h1, h2, h12 = (world.posterior(c) for c in (first, second, lambda text: first(text) * second(text)))
    gap = 0.0
    for prefix in [prefix for prefix in world.prefixes if h12(prefix) > 0]:
        lm_logits = world.next_log_probs(prefix)
        summed = lm_logits + world.exact_aux_logits(prefix, h1) + world.exact_aux_logits(prefix, h2)
        exact = lm_logits + world.exact_aux_logits(prefix, h12)
        gap = max(gap, float((summed.softmax(-1) - exact.softmax(-1)).abs().max()))
    return gap


def first_pair(text: str) -> float:
    return float(text[0] == text[1])


def last_pair(text: str) -> float:
    return float(text[2] == text[3])


def test_i11_auxiliaries_add_exactly_when_independent_after_every_prefix() -> None:
    iid = LetterWorld.iid("abc", 4, torch.tensor([0.2, 0.5, 0.3]))
    assert composition_gap(iid, first_pair, last_pair) < EXACT


def test_i11_the_same_events_do_not_add_when_the_model_remembers() -> None:
    assert composition_gap(WORLDS[0], first_pair, last_pair) > 1e-3


@pytest.mark.parametrize("second", ["b", "c"])
def test_i11_keywords_compete_for_places_and_a_doubled_auxiliary_counts_twice(second: str) -> None:
    world = WORLDS[0]
    assert composition_gap(world, world.contains("c"), world.contains(second)) > 1e-3


@pytest.mark.parametrize("world", WORLDS)
def test_i18_the_exact_auxiliary_always_writes_the_keyword(world: LetterWorld) -> None:
    h = world.posterior(world.contains("c"))
    steps = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h))
    holds = torch.tensor(["c" in text for text in world.texts])
    assert close(steps[holds].sum(), 1.0)
    assert float(world.probs[holds].sum()) < 0.99


@pytest.mark.parametrize("world", WORLDS)
def test_i18b_a_keyword_drawn_from_the_text_is_repeated_more_often(world: LetterWorld) -> None:
    count = torch.tensor([text.count("c") for text in world.texts], dtype=torch.float64)
    drawn, rule = world.conditional(world.drawn("c")), world.conditional(world.contains("c"))
    assert close(drawn[count > 0].sum(), 1.0)
    assert float(drawn @ count) > float(rule @ count) + 1e-3


def test_i21_control_costs_at_least_the_binary_divergence_and_the_exact_auxiliary_pays_no_more() -> None:
    world = LetterWorld.random("abcd", 5, seed=2)
    h = world.posterior(world.contains("c"))
    holds = h.levels[-1] > 0
    is_c = torch.tensor([letter == "c" for letter in world.letters], dtype=torch.float64)

    def tax(policy: Callable[[str], Tensor]) -> tuple[float, float]:
        q = world.distribution_of(policy)
        return float(q[holds].sum()), float(kl(q.log(), world.log_prob(world.texts)))

    accuracy, drift = tax(lambda prefix: world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h))
    assert close(accuracy, 1.0)
    assert close(drift, kl_bernoulli(1.0, h("")))
    for shift in (1.0, 2.0, 4.0):
        accuracy, drift = tax(lambda x, s=shift: world.next_log_probs(x) + (0.0 if "c" in x else s) * is_c)
        assert drift > kl_bernoulli(accuracy, h("")) + 1e-3
