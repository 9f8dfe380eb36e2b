"""What maximum likelihood finds, what it cannot see, and how it begins.

The optimum is reached by Newton's method on the exact loss, every prefix and condition in one batch, so that "at the
optimum" means to 1e-10. The zero start of the library's own model is tested in ``tests/auxlib/test_auxiliary.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.product import center, combine, kl
from tests.auxlib.identities.by_hand import EXACT, ByHand, Condition, always, drawn, gap, normal, same, soft, tensor

HAND, OTHER = ByHand("abc", 4, 0), ByHand("abc", 4, 50)


def lm_table(hand: ByHand) -> Tensor:
    """The frozen model's logits after every prefix, ``[P, V]``."""
    return tensor([hand.rows[prefix] for prefix in hand.prefixes]).log()


def next_table(hand: ByHand, condition: Condition = always) -> Tensor:
    """p(v | prefix, c) of the data after every prefix, ``[P, V]``."""
    return torch.stack([hand.next_given(prefix, condition) for prefix in hand.prefixes])


def log_h_table(hand: ByHand, condition: Condition) -> Tensor:
    """log p(c | prefix·v), ``[P, V]``: the exact auxiliary."""
    return tensor([[hand.h(prefix + v, condition) for v in hand.letters] for prefix in hand.prefixes]).log()


def loss_of(lm_logits: Tensor, aux_logits: Tensor, targets: Tensor) -> Tensor:
    """The product's exact expected log-loss on soft targets, summed over the rows."""
    return F.cross_entropy(combine(lm_logits, [(1.0, aux_logits)]), targets, reduction="sum")


def gradient_of(lm_logits: Tensor, aux_logits: Tensor, targets: Tensor) -> Tensor:
    aux_logits = aux_logits.detach().requires_grad_()
    return torch.autograd.grad(loss_of(lm_logits, aux_logits, targets), aux_logits)[0]


def learned(lm_logits: Tensor, targets: Tensor) -> Tensor:
    """The auxiliary of least loss, ``[..., V]``, by damped Newton steps from zero."""
    aux_logits = torch.zeros_like(lm_logits)
    for _ in range(80):
        gradient = gradient_of(lm_logits, aux_logits, targets)
        q = (lm_logits + aux_logits).softmax(-1)
        # the constant direction has no curvature; one is lent to it, and the gradient never points there
        hessian = torch.diag_embed(q) - q.unsqueeze(-1) * q.unsqueeze(-2) + 1 / q.shape[-1]
        step = torch.linalg.solve(hessian, gradient)
        # softmax's curvature changes at most e-fold per nat of movement: far away, walk; near, Newton
        aux_logits = aux_logits - step / (1 + step.abs().amax(-1, keepdim=True))
    return aux_logits


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("seed", [3, 4])
def test_i01_a02_maximum_likelihood_finds_the_log_posterior(seed: int) -> None:
    condition = soft(HAND, seed)
    aux_logits = learned(lm_table(HAND), next_table(HAND, condition))
    assert same(center(aux_logits), center(log_h_table(HAND, condition)))
    assert same(center(learned(lm_table(HAND), next_table(HAND))), 0.0), "without a condition there is nothing to add"


@pytest.mark.parametrize("seed", [3, 4])
def test_i07b_a02_on_a_wrong_base_it_learns_control_plus_domain(seed: int) -> None:
    condition = soft(HAND, seed)
    control = log_h_table(HAND, condition)
    domain = next_table(HAND).log() - lm_table(OTHER)
    aux_logits = learned(lm_table(OTHER), next_table(HAND, condition))
    assert same(center(aux_logits), center(control + domain))
    assert same(center(learned(lm_table(OTHER), next_table(HAND))), center(domain)), "the unconditional auxiliary"
    assert gap(center(aux_logits), center(control)) > 0.1


def test_a02_an_auxiliary_belongs_to_the_base_it_was_trained_with() -> None:
    condition = soft(HAND, 3)
    aux_logits = learned(lm_table(HAND), next_table(HAND, condition))
    moved = combine(lm_table(OTHER), [(1.0, aux_logits)]).softmax(-1)
    assert gap(moved, next_table(OTHER, condition)) > 1e-2
    own = combine(lm_table(HAND), [(1.0, aux_logits)]).softmax(-1)
    assert same(own, next_table(HAND, condition))


def test_a01_a02_a_fudge_classifier_of_prefixes_and_the_auxiliary_say_the_same() -> None:
    """FUDGE (Yang and Klein 2021) learns p(c | prefix) with positives and negatives; the auxiliary sees positives."""
    condition = soft(HAND, 3)
    wanted = tensor([[HAND.h(prefix + v, condition) for v in HAND.letters] for prefix in HAND.prefixes])
    scores = torch.zeros_like(wanted)
    for _ in range(80):
        scores.requires_grad_()
        loss = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, scores)
        h = scores.detach().sigmoid()
        scores = scores.detach() - gradient / (h * (1 - h)).sqrt() / ((h * (1 - h)).sqrt() + gradient.abs())
    classifier = F.logsigmoid(scores)
    aux_logits = learned(lm_table(HAND), next_table(HAND, condition))
    assert same(center(classifier), center(aux_logits))
    assert gap(center(scores), center(aux_logits)) > 1e-2, "its log-probabilities, not its log-odds"
    assert gap(classifier, aux_logits) > 1e-2, "the classifier knows the level of h, the auxiliary only its differences"


def test_i17_a_condition_that_means_nothing_teaches_nothing() -> None:
    def coin(text: str) -> float:
        return 0.3

    lm_logits, targets = lm_table(HAND), next_table(HAND, coin)
    aux_logits = learned(lm_logits, targets)
    assert same(center(aux_logits), 0.0)
    assert same(loss_of(lm_logits, aux_logits, targets), loss_of(lm_logits, 0 * aux_logits, targets))
    assert gap(center(learned(lm_logits, next_table(HAND, soft(HAND, 3)))), 0.0) > 0.1
    # shuffled conditions on a wrong base: exactly the unconditional auxiliary, hence its gain and no more
    shuffled, unconditional = (learned(lm_table(OTHER), next_table(HAND, c)) for c in (coin, always))
    assert same(shuffled, unconditional)


@pytest.mark.parametrize("seed", range(4))
def test_i17_what_a_finite_sample_suggests_is_paid_for_on_new_texts(seed: int) -> None:
    targets, lm_logits = next_table(HAND), lm_table(HAND)
    draws = torch.multinomial(targets, 50, replacement=True, generator=torch.Generator().manual_seed(seed))
    sample = F.one_hot(draws, 3).double().mean(1) * 0.99 + 0.01 / 3
    fitted = learned(lm_logits, sample)
    on_sample, on_truth = (loss_of(lm_logits, fitted, t) - loss_of(lm_logits, 0 * fitted, t) for t in (sample, targets))
    assert float(on_sample) < 0 < float(on_truth)
    assert same(on_truth, kl(targets.log(), (lm_logits + fitted).log_softmax(-1)).sum())


# ---------------------------------------------------------------- what cannot be seen


def test_i05_the_gradient_is_q_minus_y_and_the_curvature_that_of_q() -> None:
    lm_logits, aux_logits, y = normal(5, seed=1), normal(5, seed=2), F.one_hot(torch.tensor(2), 5).double()
    q = torch.exp(lm_logits + aux_logits) / torch.exp(lm_logits + aux_logits).sum()
    assert same(gradient_of(lm_logits, aux_logits, y), q - y)
    hessian = torch.autograd.functional.hessian(lambda a: loss_of(lm_logits, a, y), aux_logits)
    assert same(hessian, torch.diag(q) - torch.outer(q, q))
    values = torch.linalg.eigvalsh(hessian)
    assert abs(float(values[0])) < EXACT < float(values[1]), "one direction without curvature, and only one"


def test_i05_gradient_descent_never_leaves_the_centred_logits_it_starts_from() -> None:
    lm_logits, targets = lm_table(HAND), next_table(HAND, soft(HAND, 3))
    aux_logits = torch.zeros_like(lm_logits)
    for _ in range(30):
        aux_logits = aux_logits - 0.5 * gradient_of(lm_logits, aux_logits, targets)
    assert same(aux_logits.mean(-1), 0.0)
    assert gap(aux_logits, 0.0) > 0.1
    shifted = aux_logits + normal(len(aux_logits), 1, seed=4)
    assert same(loss_of(lm_logits, shifted, targets), loss_of(lm_logits, aux_logits, targets))
    assert gap(shifted, aux_logits) > 0.1
    assert same(center(shifted), center(aux_logits))


@pytest.mark.parametrize("p", [1e-2, 1e-6, 1e-12])
def test_i05_to_make_a_rare_letter_likely_takes_as_much_as_it_was_rare(p: float) -> None:
    lm_logits = tensor([p, 0.5 * (1 - p), 0.5 * (1 - p)]).log()
    needed = math.log(0.5 / 0.5) - math.log(p / (1 - p))  # from log-odds to log-odds
    push = needed * tensor([1.0, 0.0, 0.0])
    assert same(combine(lm_logits, [(1.0, push)]).softmax(-1)[0], 0.5)
    assert needed == pytest.approx(math.log(1 / p), abs=p + p * p)
    never = tensor([0.0, 0.5, 0.5]).log()
    assert combine(never, [(1.0, 1e6 * push)]).softmax(-1)[0] == 0


# ---------------------------------------------------------------- how it begins


U, LM, Y = normal(7, seed=11), normal(5, seed=12), F.one_hot(torch.tensor(3), 5).double()


def grads(loss: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_i06_zero_init_is_the_base_bit_for_bit_and_begins_at_its_loss(dtype: torch.dtype) -> None:
    lm_logits, u = 30 * normal(64, 5, seed=13).to(dtype), normal(64, 7, seed=14).to(dtype)
    for weight in (1.0, 3.0, -2.0, torch.linspace(-5, 5, 64)):
        joint_logits = combine(lm_logits, [(weight, u @ torch.zeros(7, 5, dtype=dtype))])
        assert torch.equal(joint_logits, lm_logits)
    targets = torch.arange(64) % 5
    assert torch.equal(F.cross_entropy(joint_logits, targets), F.cross_entropy(lm_logits, targets))


def test_i06_a04_at_zero_the_head_learns_and_the_trunk_does_not_until_the_second_step() -> None:
    trunk, head = normal(7, 7, seed=15).requires_grad_(), torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)

    def step() -> tuple[Tensor, Tensor, Tensor]:
        u = torch.tanh(trunk @ U)
        return *grads(loss_of(LM, head @ u, Y), head, trunk), u.detach()

    d_head, d_trunk, u = step()
    assert same(d_head, torch.outer(LM.softmax(-1) - Y, u))
    assert gap(d_head, 0.0) > 1e-2
    assert not d_trunk.any()
    with torch.no_grad():
        head -= 0.1 * d_head
    _, d_trunk, _ = step()
    assert gap(d_trunk, 0.0) > 1e-3


@pytest.mark.parametrize("biased", [False, True])
def test_i06_two_stacked_zero_layers_never_train(biased: bool) -> None:
    first, second = (torch.zeros(n, 7, dtype=torch.float64, requires_grad=True) for n in (7, 5))
    bias = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    for _ in range(50):
        aux_logits = second @ torch.tanh(first @ U) + (bias if biased else 0.0)
        loss = loss_of(LM, aux_logits, Y)
        moved = [first, second] + [bias] * biased
        with torch.no_grad():
            for weight, gradient in zip(moved, grads(loss, *moved), strict=True):
                weight -= 0.5 * gradient
    assert not first.any()
    assert not second.any()
    assert bool(bias.any()) == biased, "a bias still learns, but it has read nothing"


def test_i06_a_zero_gate_on_a_random_head_learns_alone() -> None:
    gate, head = torch.zeros((), dtype=torch.float64, requires_grad=True), normal(5, 7, seed=16).requires_grad_()
    d_gate, d_head = grads(loss_of(LM, gate * (head @ U), Y), gate, head)
    assert same(d_gate, (LM.softmax(-1) - Y) @ (head @ U).detach())
    assert abs(float(d_gate)) > 1e-3
    assert not d_head.any()


@pytest.mark.parametrize("seed", range(5))
def test_i06_a_random_start_costs_the_divergence_from_the_base(seed: int) -> None:
    lm_logits, targets = lm_table(HAND), next_table(HAND)
    noise = normal(*lm_logits.shape, seed=seed)
    extra = loss_of(lm_logits, noise, targets) - loss_of(lm_logits, 0 * noise, targets)
    assert same(extra, kl(lm_logits, (lm_logits + noise).log_softmax(-1)).sum())
    assert float(extra) > 0


# ---------------------------------------------------------------- boosting


def test_i14_the_first_functional_step_is_the_residual_of_the_base() -> None:
    lm_logits, targets = lm_table(HAND), next_table(HAND, soft(HAND, 3))
    zero = torch.zeros_like(lm_logits)
    assert same(-gradient_of(lm_logits, zero, targets), targets - next_table(HAND))
    from_scratch = -gradient_of(zero, zero, targets)
    assert same(from_scratch, targets - 1 / 3), "without the base, the residual of knowing nothing"
    for eta in (1.0, 0.1):  # along the residual the loss falls, at first by its squared length
        step = eta * (targets - next_table(HAND))
        assert loss_of(lm_logits, zero + step, targets) < loss_of(lm_logits, zero, targets)


def test_i14_the_frozen_base_is_an_offset() -> None:
    targets = next_table(HAND, drawn("c")).clamp(min=1e-3)
    targets = targets / targets.sum(-1, keepdim=True)
    lm_logits = lm_table(OTHER)
    free, beside = learned(torch.zeros_like(lm_logits), targets), learned(lm_logits, targets)
    assert same(center(beside), center(free - lm_logits))


@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_i14_a04_one_step_from_zero_boosts_the_residual_times_the_squared_length_of_the_state(eta: float) -> None:
    head = torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)
    (d_head,) = grads(loss_of(LM, head @ U, Y), head)
    first_move = -eta * d_head @ U
    assert same(first_move, -eta * (LM.softmax(-1) - Y) * float(U @ U))
