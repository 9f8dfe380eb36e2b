"""Weighted multi-task gradients, the rules of the meta-weights, and the development gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from auxlib.classification.encoders import Encoder, as_batch, mean_state
from auxlib.errors import TrainingError
from auxlib.tartan.meta_weights import (
    MIN_WEIGHT,
    GradientStats,
    MetaWeights,
    ObjectiveLoss,
    accumulate_weighted_grads,
    development_gradient,
    fit_linear_head,
    inner,
)
from tests.conftest import SENTENCES

STEP = 0.05
Losses = list[Callable[[], Tensor]]


@pytest.fixture
def net() -> nn.Module:
    """A body of two layers, in full precision."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


@pytest.fixture
def losses(net: nn.Module) -> Losses:
    """Three objectives on texts of their own: near the end task, something else, and its opposite."""
    torch.manual_seed(1)
    inputs, labels = torch.randn(3, 20, 5).double(), torch.randint(4, (3, 20))
    labels[2] = labels[0]
    inputs[2] = inputs[0]
    return [
        lambda: F.cross_entropy(net(inputs[0]), labels[0]),
        lambda: F.cross_entropy(net(inputs[1]), labels[1]),
        lambda: -F.cross_entropy(net(inputs[2]), labels[2]),
    ]


@pytest.fixture
def dev(net: nn.Module) -> Callable[[dict[str, Tensor] | None], Tensor]:
    """The development loss, of the body as it is or of other weights for it."""
    torch.manual_seed(2)
    inputs, labels = torch.randn(30, 5).double(), torch.randint(4, (30,))
    return lambda weights=None: F.cross_entropy(
        net(inputs) if weights is None else functional_call(net, weights, (inputs,)), labels
    )


def named(losses: Losses) -> list[ObjectiveLoss]:
    return [ObjectiveLoss(name, loss) for name, loss in zip("abc", losses, strict=False)]


def gradient(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters())))


def test_the_gradient_of_a_weighted_loss_is_the_weighted_gradient(net: nn.Module, losses: Losses) -> None:
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    stats = accumulate_weighted_grads(list(net.parameters()), named(losses), weights)
    together = gradient(sum(w * loss() for w, loss in zip(weights, losses, strict=True)), net)
    for parameter, expected in zip(net.parameters(), together, strict=True):
        assert torch.allclose(parameter.grad, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(stats.losses, torch.stack([loss().detach() for loss in losses]))
    lengths = [inner(g, g).sqrt() for g in (gradient(loss(), net) for loss in losses)]
    assert torch.allclose(stats.norms, torch.stack(lengths))


def test_with_all_weight_on_the_end_task_it_is_plain_fine_tuning_step_for_step(losses: Losses, net: nn.Module) -> None:
    """The same trajectory, to the last bit."""
    import copy

    start = copy.deepcopy(net.state_dict())
    ends = []
    for plain in (True, False):
        net.load_state_dict(start)
        optimiser = torch.optim.AdamW(net.parameters(), 0.01)
        for _ in range(5):
            optimiser.zero_grad()
            if plain:
                losses[0]().backward()
            else:
                accumulate_weighted_grads(list(net.parameters()), named(losses), torch.tensor([1.0, 0.0, 0.0]))
            optimiser.step()
        ends.append([parameter.clone() for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_head_gets_its_own_gradient_and_no_other(net: nn.Module) -> None:
    heads = [nn.Linear(4, 2).double(), nn.Linear(4, 2).double()]
    inputs = torch.randn(6, 5).double()
    both = [
        ObjectiveLoss(str(i), lambda head=head: head(net(inputs)).square().mean(), list(head.parameters()))
        for i, head in enumerate(heads)
    ]
    accumulate_weighted_grads(list(net.parameters()), both, torch.tensor([0.25, 0.75]))
    for one, weight in zip(both, (0.25, 0.75), strict=True):
        alone = torch.autograd.grad(one.loss(), one.head)
        for parameter, part in zip(one.head, alone, strict=True):
            assert torch.allclose(parameter.grad, weight * part)


def _after_a_step(logits: Tensor, net: nn.Module, losses: Losses, dev: Callable) -> Tensor:
    """The development loss after one plain gradient step with weights softmax(v), as a function of v."""
    return dev(_moved(logits.softmax(0), net, losses))


def _moved(weights: Tensor, net: nn.Module, losses: Losses) -> dict[str, Tensor]:
    """The body's weights after that step."""
    gradients = [gradient(loss(), net) for loss in losses]
    return {
        name: value.detach() - STEP * sum(w * g[i] for w, g in zip(weights, gradients, strict=True))
        for i, (name, value) in enumerate(net.named_parameters())
    }


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [0.7, -0.4, 0.1]])
def test_the_exact_rule_is_the_slope_of_the_development_loss(
    net: nn.Module, losses: Losses, dev: Callable, logits: list[float]
) -> None:
    """By finite differences and by autograd through the unrolled step; the rule drops what is of second order in β."""
    v = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    (unrolled,) = torch.autograd.grad(_after_a_step(v, net, losses, dev), v)
    width = 1e-4 * torch.eye(3, dtype=torch.float64)
    differences = torch.stack(
        [
            (_after_a_step(v.detach() + d, net, losses, dev) - _after_a_step(v.detach() - d, net, losses, dev)) / 2e-4
            for d in width
        ]
    )
    assert torch.allclose(differences, unrolled, rtol=1e-5, atol=1e-9)

    meta = MetaWeights(3, rule="exact", step_size=STEP)
    meta.logits = v.detach()
    # where the step leads to: there the rule is exact, and at the old place it is right to first order
    leaves = {name: value.requires_grad_() for name, value in _moved(meta.weights, net, losses).items()}
    reference_grad = list(torch.autograd.grad(dev(leaves), list(leaves.values())))
    stats = accumulate_weighted_grads(list(net.parameters()), named(losses), meta.weights, reference_grad)
    assert torch.allclose(-meta.direction(stats), unrolled, rtol=1e-3)

    here = accumulate_weighted_grads(list(net.parameters()), named(losses), meta.weights, gradient(dev(), net))
    assert F.cosine_similarity(-meta.direction(here), unrolled, dim=0) > 0.99


def test_the_cosine_rule_on_a_copy_an_opposite_and_an_objective_without_gradient(net: nn.Module, dev: Callable) -> None:
    reference_grad = gradient(dev(), net)
    fixed = nn.Parameter(torch.ones(1).double())
    objectives = [
        ObjectiveLoss("copy", dev),
        ObjectiveLoss("louder", lambda: 9 * dev()),
        ObjectiveLoss("opposite", lambda: -dev()),
    ]
    objectives += [ObjectiveLoss("elsewhere", lambda: (fixed * 3).sum() + 0 * dev(), [fixed])]
    stats = accumulate_weighted_grads(list(net.parameters()), objectives, torch.full((4,), 0.25), reference_grad)
    assert torch.allclose(stats.cosines, torch.tensor([1.0, 1.0, -1.0, 0.0], dtype=torch.float64))
    meta = MetaWeights(4, rate=0.5)
    meta.step(stats)
    copy, louder, opposite, elsewhere = meta.weights.tolist()
    assert copy == pytest.approx(louder)
    assert copy > elsewhere > opposite


def test_weights_sum_to_one_and_none_vanishes() -> None:
    meta = MetaWeights(3, rate=1.0)
    assert meta.weights.tolist() == pytest.approx([1 / 3] * 3)
    stats = GradientStats(torch.zeros(3), torch.tensor([1.0, 0.0, -1.0]), torch.ones(3), 1.0)
    for _ in range(100):
        meta.step(stats)
    assert meta.weights.sum().item() == pytest.approx(1)
    assert meta.weights.min().item() == pytest.approx(MIN_WEIGHT, rel=0.01)
    for _ in range(100):  # what has been driven down can come back
        meta.step(GradientStats(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]), torch.ones(3), 1.0))
    assert meta.weights.argmax().item() == 2


def test_the_two_rules_differ_where_one_gradient_is_long() -> None:
    """An auxiliary that agrees a little, with a hundred times the length, wins under the exact rule alone."""
    stats = GradientStats(torch.zeros(2), torch.tensor([1.0, 10.0]), torch.tensor([1.0, 100.0]), 1.0)
    cosine, exact = (MetaWeights(2, rule=rule).direction(stats) for rule in ("cosine", "exact"))
    assert cosine[0] > cosine[1]
    assert exact[0] < exact[1]


def test_a_loss_that_is_no_number_is_named_and_adds_nothing(net: nn.Module, losses: Losses) -> None:
    broken = [
        ObjectiveLoss("fine", losses[0]),
        ObjectiveLoss("reviews", lambda: losses[1]() * float("nan")),
        ObjectiveLoss("late", losses[2]),
    ]
    with pytest.raises(TrainingError, match="the loss of objective 'reviews' is nan"):
        accumulate_weighted_grads(list(net.parameters()), broken, torch.tensor([1.0, 1.0, 1.0]))
    for parameter, expected in zip(net.parameters(), gradient(losses[0](), net), strict=True):
        assert torch.equal(parameter.grad, expected)


def test_one_graph_is_alive_at_a_time(net: nn.Module, losses: Losses) -> None:
    alive: list[int] = []

    def counted(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            value = loss()
            alive.append(1)
            value.register_hook(lambda slope: None if alive.pop() else slope)
            assert len(alive) == 1, "the one before has been walked back"
            return value

        return compute

    accumulate_weighted_grads(list(net.parameters()), named([counted(loss) for loss in losses]), torch.ones(3))
    assert alive == []


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(TrainingError, match="take 'cosine' or 'exact'"):
        MetaWeights(2, rule="euclid")


def test_the_fitted_head_is_at_its_optimum() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(60, 6).double(), torch.randint(3, (60,))
    head = fit_linear_head(features, labels, 3, decay=0.1)
    weight, bias = head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()
    loss = F.cross_entropy(F.linear(features, weight, bias), labels)
    slopes = torch.autograd.grad(loss + 0.05 * (weight.square().sum() + bias.square().sum()), [weight, bias])
    assert max(slope.abs().max() for slope in slopes) < 1e-4
    assert not any(parameter.requires_grad for parameter in head.parameters())
    again = fit_linear_head(features.flip(0), labels.flip(0), 3, decay=0.1)
    assert torch.allclose(again.weight, head.weight, atol=1e-4), "always the same one"


def test_what_moves_the_fitted_head_moves_its_own_loss_in_nothing() -> None:
    """The envelope theorem: where the head is at its best on the texts of the loss, it can be treated as constant."""
    torch.manual_seed(0)
    inputs, labels, body = torch.randn(60, 5).double(), torch.randint(3, (60,)), torch.randn(5, 4).double()

    def refitted(weight: Tensor, decay: float = 0.1) -> Tensor:
        features = torch.tanh(inputs @ weight)
        head = fit_linear_head(features.detach(), labels, 3, decay)
        return F.cross_entropy(head(features), labels) + decay / 2 * sum(
            part.square().sum() for part in (head.weight, head.bias)
        )

    (held,) = torch.autograd.grad(refitted(body.requires_grad_()), body)
    width = 1e-3 * torch.eye(20).double().view(20, 5, 4)
    differences = torch.stack([(refitted(body.detach() + d) - refitted(body.detach() - d)) / 2e-3 for d in width])
    assert torch.allclose(differences.view(5, 4), held, atol=1e-5)


def test_the_penalised_bias_leaves_probability_to_a_label_without_texts() -> None:
    torch.manual_seed(0)
    head = fit_linear_head(torch.randn(30, 8), torch.randint(3, (30,)), 4, decay=1.0)
    assert F.cross_entropy(head(torch.randn(50, 8)), torch.full((50,), 3)) < 3, "a guess among four costs 1.4"


@pytest.fixture
def body(encoder: Encoder) -> nn.Module:
    import copy

    return copy.deepcopy(encoder.model).requires_grad_(True)


def batch_of(encoder: Encoder, texts: tuple[str, ...]) -> dict[str, Tensor]:
    ids, mask = as_batch(encoder, encoder.encode({"text": list(texts)}))
    return {"input_ids": ids, "mask": mask, "labels": torch.tensor([i % 2 for i in range(len(texts))])}


def test_the_development_gradient_flows_through_a_fresh_frozen_head(encoder: Encoder, body: nn.Module) -> None:
    parameters = list(body.parameters())
    fit, evaluation = batch_of(encoder, SENTENCES[:4]), batch_of(encoder, SENTENCES[4:])

    def states(batch: dict[str, Tensor]) -> Tensor:
        return body(input_ids=batch["input_ids"], attention_mask=batch["mask"]).last_hidden_state

    gradient = development_gradient(parameters, states, fit, evaluation, 2)
    head = fit_linear_head(mean_state(states(fit), fit["mask"]).detach(), fit["labels"], 2)
    loss = F.cross_entropy(head(mean_state(states(evaluation), evaluation["mask"])), evaluation["labels"])
    expected = torch.autograd.grad(loss, parameters, materialize_grads=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradient, expected, strict=True))
    assert all(parameter.grad is None for parameter in parameters)

    padding = {"input_ids": F.pad(evaluation["input_ids"], (0, 3), value=7), "mask": F.pad(evaluation["mask"], (0, 3))}
    padded = development_gradient(parameters, states, fit, evaluation | padding, 2)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradient, padded, strict=True)), "padding is not seen"
