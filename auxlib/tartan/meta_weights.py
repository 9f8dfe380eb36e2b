"""What if the end task is known? Then auxiliary objectives learn with it, and it says how much each of them is worth.

End-task aware training (Dery, Michel, Talwalkar and Neubig 2022, arXiv 2109.07437). Who pre-trains first and fine-tunes
afterwards takes no notice of the end task until the end. Here one *body* is shared by all objectives, each with a head
of its own, and every step follows a weighted sum of their losses. MT-TARTAN weighs all the same. META-TARTAN weighs
them ``softmax(v)``, and v rises for an objective whose gradient on the body points where the end task's development
texts would like the body to go.

Gradients are taken one objective at a time, compared with that direction, added to the sum with their weight, and
forgotten: beside the sum one more copy of the body's gradient is held, however many objectives there are.

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
LEAST = 1e-4  # a weight below that has no say, and still costs its passes through the body


@dataclass(frozen=True)
class ObjectiveLoss:
    """One objective in one step.

    Attributes:
        name: for messages.
        loss: computes its loss when it is called, so that one graph is alive at a time.
        head: the weights that are its own.
    """

    name: str
    loss: Callable[[], Tensor]
    head: Parameters = ()


@dataclass(frozen=True)
class GradientStats:
    """How the objectives' gradients on the body lie to a direction on it.

    Attributes:
        losses: of the objectives, ``[N]``.
        dots: inner products of their gradients with the direction, ``[N]``; 0 where there is none.
        norms: lengths of their gradients, ``[N]``.
        toward: length of the direction.
    """

    losses: Tensor
    dots: Tensor
    norms: Tensor
    reference_norm: float = 0.0

    @property
    def cosines(self) -> Tensor:
        """Between -1 and 1, ``[N]``; 0 for an objective that asks nothing of the body."""
        return self.dots / (self.norms * self.reference_norm).clamp(min=1e-12)


def accumulate_weighted_grads(
    body: Parameters, objectives: Sequence[ObjectiveLoss], weights: Tensor, reference_grad: Gradient | None = None
) -> GradientStats:
    """Add the gradient of ``Σ_i w_i L_i`` to ``.grad`` of the body and of all heads, one objective after another.

    Args:
        body: the weights that are shared.
        weights: ``w [N]``.
        toward: a direction on the body, of the shapes of its weights.

    Raises:
        TrainingError: a loss is no finite number. Nothing has then been added for this objective or a later one.
    """
    losses, dots, norms = [], [], []
    for one, weight in zip(objectives, weights.tolist(), strict=True):
        loss = one.loss()
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss of objective {one.name!r} is {loss.item()}; look at its texts and its rate.")
        mine = [*body, *one.head]
        gradient = torch.autograd.grad(loss, mine, materialize_grads=True)
        for parameter, part in zip(mine, gradient, strict=True):
            parameter.grad = part * weight if parameter.grad is None else parameter.grad.add_(part, alpha=weight)
        on_body = gradient[: len(body)]
        losses.append(loss.detach())
        dots.append(inner(on_body, reference_grad) if reference_grad is not None else loss.new_zeros(()))
        norms.append(inner(on_body, on_body).sqrt())
    length = inner(reference_grad, reference_grad).sqrt().item() if reference_grad is not None else 0.0
    return GradientStats(*(torch.stack(column).detach() for column in (losses, dots, norms)), length)


def inner(one: Gradient, other: Gradient) -> Tensor:
    """The inner product of two gradients that lie in pieces."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


class MetaWeights:
    """The objectives' weights ``softmax(v)``, and how v learns.

    Args:
        count: N; all weigh the same in the beginning.
        rate: of v.
        rule: "cosine" is that of the authors' code: v follows the cosine between an objective's gradient and the
            development gradient, whatever their lengths. "exact" is the slope of the development loss after one plain
            gradient step: ``β w_j (⟨g_dev, g_j⟩ − Σ_i w_i ⟨g_dev, g_i⟩)``.
        step_size: β, the size of that step.
    """

    def __init__(self, count: int, rate: float = 1e-2, rule: str = "cosine", step_size: float = 1.0) -> None:
        if rule not in ("cosine", "exact"):
            raise TrainingError(f"there is no rule {rule!r} for the weights; take 'cosine' or 'exact'.")
        self.logits, self.rate, self.rule, self.step_size = torch.zeros(count), rate, rule, step_size

    @property
    def weights(self) -> Tensor:
        """They sum to one, ``[N]``."""
        return self.logits.softmax(0)

    def direction(self, seen: GradientStats) -> Tensor:
        """Where v should go to lower the development loss, ``[N]``."""
        if self.rule == "cosine":
            return seen.cosines
        weights = self.weights.to(seen.dots)
        return self.step_size * weights * (seen.dots - weights @ seen.dots)

    def step(self, seen: GradientStats) -> None:
        """One step of v. Only differences of v count, and none grows beyond what leaves a weight its least share."""
        moved = self.logits + self.rate * self.direction(seen).to(self.logits)
        self.logits = (moved - moved.max()).clamp(min=math.log(LEAST))


def development_gradient(
    body: Parameters, states_of: Callable[[Batch], Tensor], fit: Batch, ask: Batch, labels: int, decay: float = 1e-2
) -> Gradient:
    """Where the end task's development texts would like the body to go: ``-g_dev`` would be a step of it.

    A fresh head is fitted on some texts, on states that are computed once and without a graph; other texts then ask
    through it. The head that is being trained would not do: it knows the training texts by heart.

    Args:
        states_of: the body's states ``[B, T, D]`` of a batch.
        fit, ask: batches with ``mask [B, T]`` and ``labels [B]``.
        labels: K.
        decay: of the head's weights, as in ``fit_linear_head``.
    """
    with torch.no_grad():
        features = mean_state(states_of(fit), fit["mask"])
    head = fit_linear_head(features, fit["labels"], labels, decay)
    scores = head(mean_state(states_of(ask), ask["mask"]))
    return torch.autograd.grad(F.cross_entropy(scores, ask["labels"]), list(body), materialize_grads=True)


def fit_linear_head(features: Tensor, labels: Tensor, count: int, decay: float = 1e-2) -> nn.Linear:
    """The linear head with the least cross-entropy on features ``[B, D]``, plus ``decay / 2`` times its squares.

    Its bias is held short too: of a label that these few texts lack, a free one would be sure that it is nowhere. A
    convex problem in a few numbers: L-BFGS is at its end after some dozen steps, and always at the same one.
    """
    # without an initialisation that would draw random numbers: whoever is asked must not change the others' dropout
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
