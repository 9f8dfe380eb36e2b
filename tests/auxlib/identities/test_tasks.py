"""Systems 2 and 3: weights that are learned from the end task's own gradient, and labels that read frozen features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.auxlib.identities.by_hand import gap, normal, same, tensor

# ---------------------------------------------------------------- tasks that share a body

Loss = Callable[[Tensor], Tensor]
RATE = 0.3


def network_loss(seed: int) -> Loss:
    """A small non-linear task on a shared body ``[12]`` with a head of its own."""
    x, y, head = normal(9, 4, seed=seed), normal(9, seed=seed + 1), normal(3, seed=seed + 2)
    return lambda body: (torch.tanh(x @ body.view(4, 3)) @ head - y).square().mean()


DEV, TASKS, BODY = network_loss(1), [network_loss(10), network_loss(20), network_loss(30)], normal(12, seed=40)


def gradient(loss: Loss, at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


def stepped(logits: Tensor, tasks: Sequence[Loss] = TASKS, rate: float = RATE) -> Tensor:
    """The body after one step on the softmax-weighted tasks; their gradients do not depend on the weights."""
    gradients = torch.stack([gradient(task, BODY) for task in tasks])
    return BODY - rate * logits.softmax(-1) @ gradients


def closed_form(logits: Tensor, dev_gradient: Tensor, rate: float = RATE) -> Tensor:
    """-β w_j (⟨g_dev, g_j⟩ - Σ_i w_i ⟨g_dev, g_i⟩), ``[n]``."""
    w, dots = logits.softmax(-1), torch.stack([gradient(task, BODY) for task in TASKS]) @ dev_gradient
    return -rate * w * (dots - w @ dots)


LOGITS = tensor([0.3, -0.2, 0.9])


def test_c01_a09_the_meta_gradient_is_autograd_through_one_step_and_a_finite_difference() -> None:
    logits = LOGITS.clone().requires_grad_()
    (unrolled,) = torch.autograd.grad(DEV(stepped(logits)), logits)
    exact = closed_form(LOGITS, gradient(DEV, stepped(LOGITS)))
    assert same(exact, unrolled)
    eps = 1e-4 * torch.eye(3, dtype=torch.float64)
    difference = tensor([float(DEV(stepped(LOGITS + e)) - DEV(stepped(LOGITS - e))) / 2e-4 for e in eps])
    assert gap(difference, exact) / float(exact.abs().max()) < 1e-3
    assert same(exact.sum(), 0.0), "only differences of weights count"


def test_c01_the_dev_gradient_before_the_step_is_right_to_first_order_in_the_rate() -> None:
    def error(rate: float) -> float:
        before, after = (gradient(DEV, body) for body in (BODY, stepped(LOGITS, rate=rate)))
        return gap(closed_form(LOGITS, before, rate), closed_form(LOGITS, after, rate)) / rate

    assert error(RATE) > 1e-4
    assert error(1e-3) / error(5e-4) == pytest.approx(2.0, rel=0.05)


def test_c01_without_the_softmaxs_jacobian_it_is_another_rule() -> None:
    dev_gradient = gradient(DEV, stepped(LOGITS))
    dots = torch.stack([gradient(task, BODY) for task in TASKS]) @ dev_gradient
    assert gap(-RATE * dots, closed_form(LOGITS, dev_gradient)) > 1e-3
    assert gap(-RATE * dots.sum(), 0.0) > 1e-3


def test_a09_cosine_and_exact_rule_agree_in_order_for_equal_norms_and_not_for_a_huge_one() -> None:
    g_dev, g = normal(6, seed=50), F.normalize(normal(4, 6, seed=51), dim=-1)

    def rules(scale: Tensor) -> tuple[list[int], list[int]]:
        scaled = scale.unsqueeze(-1) * g
        dots, w = scaled @ g_dev, torch.full((4,), 0.25, dtype=torch.float64)
        return (w * (dots - w @ dots)).argsort().tolist(), F.cosine_similarity(scaled, g_dev, dim=-1).argsort().tolist()

    exact, cosine = rules(torch.ones(4, dtype=torch.float64))
    assert exact == cosine
    positive = [i for i in cosine if float(g[i] @ g_dev) > 0]
    loud = torch.ones(4, dtype=torch.float64)
    loud[positive[0]] = 1000.0  # the weaker of the useful tasks, in larger units
    exact, cosine = rules(loud)
    assert exact != cosine
    assert exact[-1] == positive[0]


def trajectory(
    logits_or_weights: Sequence[float], tasks: Sequence[Loss], optimiser: str, steps: int = 25
) -> list[Tensor]:
    body = BODY.clone().requires_grad_()
    optimizer = getattr(torch.optim, optimiser)([body], lr=0.05)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        sum(w * task(body) for w, task in zip(logits_or_weights, tasks, strict=True)).backward()
        optimizer.step()
        seen.append(body.detach().clone())
    return seen


@pytest.mark.parametrize("optimiser", ["SGD", "AdamW"])
def test_c02_all_weight_on_the_end_task_is_plain_fine_tuning_bit_for_bit(optimiser: str) -> None:
    weighted, plain = trajectory([1.0, 0.0], TASKS[:2], optimiser), trajectory([1.0], TASKS[:1], optimiser)
    assert all(map(torch.equal, weighted, plain))
    assert not torch.equal(trajectory([0.9, 0.1], TASKS[:2], optimiser)[-1], plain[-1])


def test_c02_the_gradient_of_weighted_losses_is_the_weighted_gradients() -> None:
    w = LOGITS.softmax(-1)
    together = gradient(lambda body: sum(share * task(body) for share, task in zip(w, TASKS, strict=True)), BODY)
    assert same(together, w @ torch.stack([gradient(task, BODY) for task in TASKS]))


def cosines(tasks: Sequence[Loss], body: Tensor) -> Tensor:
    gradients = torch.stack([gradient(task, body) for task in tasks])
    return F.cosine_similarity(gradients, gradient(DEV, body).expand_as(gradients), dim=-1)


def copy(body: Tensor) -> Tensor:
    return DEV(body)


def deaf(body: Tensor) -> Tensor:
    """A task that does not use the body."""
    return 0.0 * body.sum() + 3.0


def adversary(body: Tensor) -> Tensor:
    return -DEV(body)


def test_c02_cosine_is_one_for_a_copy_zero_for_a_stranger_and_minus_one_for_an_adversary() -> None:
    assert same(cosines([copy, deaf, adversary], BODY), tensor([1.0, 0.0, -1.0]))


@pytest.mark.parametrize("rule", ["cosine", "exact"])
def test_c02_learned_weights_rank_a_copy_before_a_stranger_before_an_adversary(rule: str) -> None:
    tasks, logits, body = [copy, deaf, adversary], torch.zeros(3, dtype=torch.float64), BODY
    for _ in range(40):
        gradients, w = torch.stack([gradient(task, body) for task in tasks]), logits.softmax(-1)
        moved = body - 0.05 * w @ gradients
        dots = gradients @ gradient(DEV, moved)
        logits = logits + (0.2 * cosines(tasks, body) if rule == "cosine" else 20 * 0.05 * w * (dots - w @ dots))
        body = moved
    w = logits.softmax(-1)
    assert w[0] > w[1] > w[2]
    assert float(w[2]) < 0.05


def test_c02_at_the_best_head_of_a_dev_batch_the_heads_own_path_carries_no_gradient() -> None:
    """Envelope theorem. It needs the head's own batch: on another one the path does count."""
    x, y, other_x, other_y = normal(20, 4, seed=60), normal(20, seed=61), normal(20, 4, seed=62), normal(20, seed=63)

    def best_head(body: Tensor) -> Tensor:
        features = torch.tanh(x @ body.view(4, 3))
        return torch.linalg.solve(features.T @ features, features.T @ y)

    def loss(body: Tensor, head: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (torch.tanh(x @ body.view(4, 3)) @ head - y).square().mean()

    def difference(x: Tensor, y: Tensor) -> float:
        head = best_head(BODY)
        through = gradient(lambda body: loss(body, best_head(body), x, y), BODY)
        return gap(through, gradient(lambda body: loss(body, head, x, y), BODY))

    assert difference(x, y) < 1e-10
    assert difference(other_x, other_y) > 1e-3


# ---------------------------------------------------------------- labels that read frozen features

K, T, D = 4, 6, 8


def label_scores(labels: Tensor, features: Tensor, mask: Tensor, layers: int = 2) -> Tensor:
    """A label decoder in ten lines: ``labels [K, D]`` read ``features [B, T, D]`` where ``mask [B, T]``; ``[B, K]``."""
    weights = 0.5 * normal(layers, 5, D, D, seed=70)
    y = labels.expand(len(features), -1, -1)
    for own, query, key, value, feed in weights:
        y = y + F.scaled_dot_product_attention(y @ own, y, y)
        y = y + F.scaled_dot_product_attention(y @ query, features @ key, features @ value, attn_mask=mask[:, None])
        y = y + torch.tanh(y @ feed)
    return y @ normal(D, seed=71)


LABELS, FEATURES = normal(K, D, seed=72), normal(3, T, D, seed=73)
MASK = torch.arange(T) < torch.tensor([[6], [4], [1]])


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]])
def test_c03_permuting_the_labels_permutes_their_scores(order: list[int]) -> None:
    scores = label_scores(LABELS, FEATURES, MASK)
    assert same(label_scores(LABELS[order], FEATURES, MASK), scores[:, order])
    assert gap(scores[:, order], scores) > 1e-2
    by_position = LABELS + normal(K, D, seed=74)  # negative control: a label that knows its number is not free to move
    moved = label_scores(LABELS[order] + normal(K, D, seed=74), FEATURES, MASK)
    assert gap(moved, label_scores(by_position, FEATURES, MASK)[:, order]) > 1e-2


def test_c03_padding_and_neighbours_change_no_score() -> None:
    scores = label_scores(LABELS, FEATURES, MASK)
    rubbish = torch.where(MASK.unsqueeze(-1), FEATURES, 100.0)
    assert same(label_scores(LABELS, rubbish, MASK), scores)
    longer = F.pad(FEATURES, (0, 0, 0, 5), value=7.0)
    assert same(label_scores(LABELS, longer, F.pad(MASK, (0, 5))), scores)
    for i, length in enumerate(MASK.sum(-1).tolist()):
        alone = label_scores(LABELS, FEATURES[i : i + 1, :length], MASK[i : i + 1, :length])
        assert same(alone[0], scores[i])
    assert gap(label_scores(LABELS, rubbish, torch.ones_like(MASK)), scores) > 1e-2


def test_c03_without_layers_and_with_pooled_features_it_is_a_linear_probe() -> None:
    """Scores are then label embedding · mean feature: softmax regression with the labels as its rows."""
    pooled = (FEATURES * MASK.unsqueeze(-1)).sum(1) / MASK.sum(-1, keepdim=True)
    labels, y = LABELS.clone().requires_grad_(), torch.tensor([0, 3, 1])
    probe = torch.nn.Linear(D, K, bias=False, dtype=torch.float64)
    with torch.no_grad():
        probe.weight.copy_(LABELS)
    scores = torch.einsum("kd,bd->bk", labels, pooled)
    assert same(scores, probe(pooled))
    one, other = F.cross_entropy(scores, y), F.cross_entropy(probe(pooled), y)
    assert same(torch.autograd.grad(one, labels)[0], torch.autograd.grad(other, probe.weight)[0])


def test_c03_only_the_labels_learn_and_no_graph_reaches_the_features() -> None:
    encoder, text = torch.nn.Linear(D, D, dtype=torch.float64), normal(3, T, D, seed=75)
    with torch.no_grad():
        cached = encoder(text)
    labels, alive = LABELS.clone().requires_grad_(), LABELS.clone().requires_grad_()
    F.cross_entropy(label_scores(labels, cached, MASK), torch.tensor([0, 1, 2])).backward()
    assert encoder.weight.grad is None
    F.cross_entropy(label_scores(alive, encoder(text), MASK), torch.tensor([0, 1, 2])).backward()
    assert same(labels.grad, alive.grad), "the labels learn the same from the cache as from the living encoder"
    assert encoder.weight.grad.any(), "negative control: without the cache the encoder is reached"


def margin_loss(scores: Tensor, y: int, alpha: float) -> Tensor:
    """Σ_{k ≠ y} max(0, α - s_y + s_k)."""
    others = torch.cat([scores[:y], scores[y + 1 :]])
    return (alpha - scores[y] + others).relu().sum()


@pytest.mark.parametrize(("lead", "loss"), [(0.3, 0.7), (1.0, 0.0), (1.7, 0.0), (-0.5, 1.5)])
def test_c03_the_margin_of_two_labels_is_satisfied_from_alpha_on(lead: float, loss: float) -> None:
    scores = tensor([2.0 + lead, 2.0]).requires_grad_()
    found = margin_loss(scores, 0, alpha=1.0)
    assert same(found, loss)
    assert same(found, F.multi_margin_loss(scores[None], torch.tensor([0]), margin=1.0, reduction="sum") * 2)
    assert same(margin_loss(scores + 5.0, 0, alpha=1.0), loss), "only differences of scores count"
    assert bool(torch.autograd.grad(found, scores)[0].any()) == (lead < 1.0), "and then it teaches nothing more"
