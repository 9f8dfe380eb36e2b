"""Weighted multi-task gradients and meta-learned objective weights (TARTAN).

End-task aware training (Dery, Michel, Talwalkar and Neubig 2022, arXiv 2109.07437): auxiliary objectives are trained
together with the end task instead of before it. All objectives share a *body*, each has a head of its own, and a step
follows a weighted sum of their losses. MT-TARTAN uses equal weights. META-TARTAN uses ``softmax(v)``; v grows for an
objective whose gradient on the body agrees with the gradient of the end task's loss on development texts.

Gradients are computed one objective at a time, compared with the development gradient, added to the sum with their
weight, and freed: beside the sum, one more copy of the body's gradient is in memory, for any number of objectives.

Axes: ``N`` objectives, ``B`` texts, ``T`` tokens, ``D`` the body's width, ``K`` labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import mean_state
from auxlib.errors import TrainingError

Batch = Mapping[str, Tensor]
Parameters = Sequence[nn.Parameter]
Gradient = Sequence[Tensor]
StatesOf = Callable[[Batch], Tensor]  # the body's states [B, T, D] of a batch
MIN_WEIGHT = 1e-4  # relative to the largest weight: an objective with less has no effect, but can still recover


@dataclass(frozen=True)
class ObjectiveLoss:
    """An objective's loss in one step.

    Attributes:
        name: for messages.
        loss: computes the loss when called, so that only one graph exists at a time.
        head: the parameters of its head.
    """

    name: str
    loss: Callable[[], Tensor]
    head: Parameters = ()


@dataclass(frozen=True)
class GradientStats:
    """Losses of the objectives, and their gradients on the body compared with a reference gradient.

    Attributes:
        losses: ``[N]``.
        dots: inner products with the reference gradient, ``[N]``; 0 without one.
        norms: of the objectives' gradients, ``[N]``.
        reference_norm: of the reference gradient; 0 without one.
    """

    losses: Tensor
    dots: Tensor
    norms: Tensor
    reference_norm: float = 0.0

    @property
    def cosines(self) -> Tensor:
        """Cosine similarities with the reference gradient, ``[N]``; 0 for an objective without gradient on the body."""
        return self.dots / (self.norms * self.reference_norm).clamp(min=1e-12)


def accumulate_weighted_grads(
    body: Parameters, objectives: Sequence[ObjectiveLoss], weights: Tensor, reference_grad: Gradient | None = None
) -> GradientStats:
    """Add the gradient of ``Σ_i w_i L_i`` to ``.grad`` of the body and of all heads, one objective after another.

    Args:
        body: the shared parameters.
        weights: ``w [N]``.
        reference_grad: a gradient on the body, one tensor for each of its parameters.

    Raises:
        TrainingError: a loss is not finite. Nothing is then added for this objective or a later one.
    """
    losses, dots, norms = [], [], []
    for objective, weight in zip(objectives, weights.tolist(), strict=True):
        loss = objective.loss()
        if not math.isfinite(value := loss.item()):
            raise TrainingError(f"the loss of objective {objective.name!r} is {value}; check texts and learning rate.")
        parameters = [*body, *objective.head]
        gradient = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for parameter, part in zip(parameters, gradient, strict=True):
            parameter.grad = part * weight if parameter.grad is None else parameter.grad.add_(part, alpha=weight)
        on_body = gradient[: len(body)]
        losses.append(loss.detach())
        dots.append(inner(on_body, reference_grad) if reference_grad is not None else loss.new_zeros(()))
        norms.append(inner(on_body, on_body).sqrt())
    norm = inner(reference_grad, reference_grad).sqrt().item() if reference_grad is not None else 0.0
    return GradientStats(torch.stack(losses), torch.stack(dots).detach(), torch.stack(norms).detach(), norm)


def inner(a: Gradient, b: Gradient) -> Tensor:
    """Return the inner product of two gradients, each a sequence of tensors."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


class MetaWeights:
    """Objective weights ``softmax(v)`` and the update rule of v.

    Args:
        count: N; all weights are equal at the start.
        rate: learning rate of v.
        rule: "cosine", the rule of the authors' code: v follows the cosine similarity of each objective's gradient and
            the development gradient, regardless of their norms. "exact": v follows the slope of the development loss
            after one plain gradient step, ``β w_j (⟨g_dev, g_j⟩ − Σ_i w_i ⟨g_dev, g_i⟩)``.
        step_size: β, the size of that step.

    Raises:
        TrainingError: there is no such rule.
    """

    def __init__(self, count: int, rate: float = 1e-2, rule: str = "cosine", step_size: float = 1.0) -> None:
        if rule not in ("cosine", "exact"):
            raise TrainingError(f"there is no rule {rule!r} for the weights; take 'cosine' or 'exact'.")
        self.logits, self.rate, self.rule, self.step_size = torch.zeros(count), rate, rule, step_size

    @property
    def weights(self) -> Tensor:
        """The weights ``[N]``, which sum to 1."""
        return self.logits.softmax(0)

    def direction(self, stats: GradientStats) -> Tensor:
        """Return the direction in which v lowers the development loss, ``[N]``."""
        if self.rule == "cosine":
            return stats.cosines
        weights = self.weights.to(stats.dots)
        return self.step_size * weights * (stats.dots - weights @ stats.dots)

    def step(self, stats: GradientStats) -> None:
        """Update v, shift its maximum to 0 (the softmax is unchanged), and clamp it at ``log(MIN_WEIGHT)``."""
        updated = self.logits + self.rate * self.direction(stats).to(self.logits)
        self.logits = (updated - updated.max()).clamp(min=math.log(MIN_WEIGHT))


def development_gradient(
    body: Parameters, states_of: StatesOf, fit_batch: Batch, eval_batch: Batch, count: int, decay: float = 1e-2
) -> Gradient:
    """Return the gradient of the end task's development loss on the body.

    A fresh linear head is fitted on some development texts, on states computed without a graph; the loss is that of
    other development texts under this head. The head in training would not do: it has memorised the training texts.

    Args:
        fit_batch, eval_batch: with ``mask [B, T]`` and ``labels [B]``.
        count: K.
        decay: as for ``fit_linear_head``.
    """
    with torch.no_grad():
        features = mean_state(states_of(fit_batch), fit_batch["mask"])
    head = fit_linear_head(features, fit_batch["labels"], count, decay)
    scores = head(mean_state(states_of(eval_batch), eval_batch["mask"]))
    return torch.autograd.grad(F.cross_entropy(scores, eval_batch["labels"]), list(body), materialize_grads=True)


def fit_linear_head(features: Tensor, labels: Tensor, count: int, decay: float = 1e-2) -> nn.Linear:
    """Return the linear head that minimises cross-entropy on features ``[B, D]`` plus ``decay / 2`` times its squares.

    The bias is penalised as well: without it, a label that is absent from these few texts would get probability 0. The
    problem is convex with few parameters; L-BFGS reaches its minimum in some dozen steps.
    """
    # skip_init draws no random numbers, so that META does not change the dropout masks of the training step
    head = nn.utils.skip_init(nn.Linear, features.shape[1], count).to(features)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        squares = sum(part.square().sum() for part in head.parameters())
        total = F.cross_entropy(head(features), labels) + decay / 2 * squares
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    return head.requires_grad_(False)
