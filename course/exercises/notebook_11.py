"""The exercises of notebook 11, end-task aware training: losses that share a body, on small random tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.collator import IGNORE_INDEX
from auxlib.tartan.meta_weights import fit_linear_head
from course.exercises.exercise import Answer, exercise, expect, expect_number, expect_tensor, gap

EXACT = 1e-6
Losses = Sequence[Callable[[], Tensor]]


def _not_known(said: Tensor | float, known: dict[str, Tensor]) -> None:
    """State that an answer is none of the known misconceptions."""
    said = torch.as_tensor(said, dtype=torch.float64)
    for says, wrong in known.items():
        expect(gap(said, wrong.double()) > EXACT, says)


@exercise(
    "11.1",
    hints=(
        "Every missing word is one thing to be told, whichever text it is missing from. Find all of them first.",
        "`(targets != IGNORE_INDEX).nonzero(as_tuple=True)` gives rows and columns; the row says which text tells.",
        "row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True); "
        "return -told[row, targets[row, column]].mean()",
    ),
)
def missing_loss(told: Tensor, targets: Tensor) -> Tensor:
    """Mean of −log p over all missing words: ``[B, V]`` and ``[B, T]`` to one number."""
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return -told[row, targets[row, column]].mean()


@missing_loss.examiner
def _(answer: Answer) -> str:
    told = torch.randn(4, 130, dtype=torch.float64).log_softmax(-1).requires_grad_()
    targets = torch.full((4, 6), IGNORE_INDEX)  # 130 words: there is a word 100 from the end, which −100 would mean
    for at, word in {(0, 1): 17, (0, 2): 4, (0, 5): 9, (1, 3): 88, (2, 0): 30, (2, 4): 17}.items():
        targets[at] = word
    loss = answer(told, targets)
    said, missing = expect_number(loss, "the loss of a batch"), targets != IGNORE_INDEX
    costs = -told.detach().gather(1, targets.clamp(min=0))  # where nothing is missing, that of word 0
    wrapped = -told.detach().gather(1, targets % 130)
    kept, counts = costs * missing, missing.sum(1)
    right = kept.sum() / 6
    known = {
        "a mean of means: where one word of a text is missing it counts as much as the three of another.": (
            (kept.sum(1)[:3] / counts[:3]).mean()
        ),
        "the text that misses nothing is in your mean of means: nothing is asked about it.": (
            (kept.sum(1) / counts.clamp(min=1)).mean()
        ),
        "the places where nothing is missing left the sum but not the count: 24 places, 6 missing words.": (
            kept.mean()
        ),
        "−100 was read as a word: counted from the end there is one. Leave out where nothing is missing.": (
            wrapped.mean()
        ),
        "where nothing is missing word 0 was asked for; only the 6 missing words are asked for.": costs.mean(),
        "this is the sum; a text with more missing words would make a longer step. Divide by their number.": (
            kept.sum()
        ),
        "you divide by the number of texts; a batch with more missing words would make a longer step.": kept.sum() / 4,
        "the sign is turned: falling, this loss would make the missing words unlikely.": -right,
        "these are probabilities: `told` holds their logarithms already, and the loss wants −log p.": (
            -((-costs).exp() * missing).sum() / 6
        ),
    }
    _not_known(said, known)
    expect(abs(said - right) < EXACT, f"six missing words cost {right:.4f} each on average; you say {said:.4f}.")
    expect(
        isinstance(loss, Tensor) and loss.requires_grad,
        "the number is right, but no gradient can flow back from it: stay with tensors, without .item() or float().",
    )
    return "six missing words of 24 places count the same each; a text that misses none says nothing."


@exercise(
    "11.2",
    hints=(
        "Begin with zeros of the parameters' shapes. Each loss in its turn adds its gradient, times its weight.",
        "`torch.autograd.grad(loss(), parameters, materialize_grads=True)` gives one tensor a parameter, zeros where "
        "the loss does not depend on it, and touches no `.grad`.",
        "total = [torch.zeros_like(p) for p in parameters]; then for each loss and weight: gradient = torch.autograd"
        ".grad(loss(), parameters, materialize_grads=True); total = [t + weight * g for t, g in zip(total, gradient)]",
    ),
)
def weighted_gradient(losses: Losses, parameters: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """The gradient of ``Σ_i w_i L_i``, one tensor a parameter, one graph at a time."""
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for loss, weight in zip(losses, weights, strict=True):
        gradient = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        total = [so_far + weight * part for so_far, part in zip(total, gradient, strict=True)]
    return total


class _Watched:
    """A loss that counts how often it was computed, and how many of its like were in wait of their way back."""

    def __init__(self, compute: Callable[[], Tensor], alive: list[int]) -> None:
        self.compute, self.alive, self.calls, self.beside = compute, alive, 0, 0

    def __call__(self) -> Tensor:
        self.calls, self.beside = self.calls + 1, max(self.beside, len(self.alive))
        value = self.compute()
        self.alive.append(1)
        value.register_hook(lambda _: self.alive.clear())
        return value


@weighted_gradient.examiner
def _(answer: Answer) -> str:
    parameters = [torch.randn(3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
    for parameter in parameters:
        parameter.requires_grad_().grad = torch.ones_like(parameter)  # what another step has left
    matrix, vector = parameters
    plain = [
        lambda: (matrix.square().sum() + vector.exp().sum()).log(),
        lambda: matrix.sin().sum(),  # of the matrix alone
        lambda: 2 * vector.cos().sum() + matrix.sum() * vector[0],
    ]
    alive: list[int] = []
    losses, weights = [_Watched(compute, alive) for compute in plain], torch.tensor([0.5, 2.0, 0.25])
    said = answer(losses, parameters, weights)
    expect(
        isinstance(said, (list, tuple)) and len(said) == 2,
        f"return a list with one gradient for each of the 2 parameters; you returned {_kind(said)}.",
    )
    names = "the gradient of the first parameter", "the gradient of the second parameter"
    parts = [expect_tensor(*of) for of in zip(said, (tuple(p.shape) for p in parameters), names, strict=True)]
    each = torch.stack([_flat(torch.autograd.grad(one(), parameters, materialize_grads=True)) for one in plain])
    scale, right, mine = weights.double().unsqueeze(1), weights.double() @ each, _flat(parts)
    known = {
        "the weights are not used: every objective has the same say.": each.sum(0),
        "each weight was used twice.": (scale**2 * each).sum(0),
        "that is the last objective's gradient alone; the others have been overwritten.": scale[-1] * each[-1],
        "that is the last objective's gradient alone, and without its weight.": each[-1],
        "you divide by the number of objectives as well; their weights say all.": right / 3,
        "you divided by the sum of the weights; they are given, and are used as they stand.": right / weights.sum(),
        "what stood in `.grad` before is in your result: a step begins at zero.": right + 1,
    }
    _not_known(mine, known)
    expect(gap(mine, right) < EXACT, f"off by up to {gap(mine, right):.3f} from the gradient of the weighted sum.")
    calls, beside = max(loss.calls for loss in losses), max(loss.beside for loss in losses)
    expect(calls == 1, f"right, but a loss was computed {calls} times: each time is a pass through the body. Once.")
    expect(
        not beside,
        "right, but up to 3 graphs were alive at once: with a large body they do not fit. Differentiate a loss before "
        "you compute the next.",
    )
    grads = [parameter.grad for parameter in parameters]
    untouched = all(grad is not None and torch.equal(grad, torch.ones_like(grad)) for grad in grads)
    expect(untouched, "right, but you have written into `.grad`, where another step's gradient stood; return yours.")
    return "is the gradient of the weighted sum; each loss computed once, one graph alive at a time."


@exercise(
    "11.3",
    hints=(
        "Write w = softmax(v) first. How does w_i change with v_j? By w_i (1 − w_i) if i = j, by −w_i w_j if not.",
        "Summed over i, an objective is compared with the average that the *weights* take: `w @ dots`.",
        "w = v.softmax(0); return w * (dots - w @ dots)",
    ),
)
def direction(v: Tensor, dots: Tensor) -> Tensor:
    """Where v should go to lower the development loss: ``[N]`` and ``[N]`` to ``[N]``."""
    weights = v.softmax(0)
    return weights * (dots - weights @ dots)


@direction.examiner
def _(answer: Answer) -> str:
    v = torch.tensor([0.7, -0.4, 0.1, 0.0], dtype=torch.float64)
    dots, kept = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64), v.clone()
    said = expect_tensor(answer(v, dots), (4,), "the direction")
    expect(torch.equal(v, kept), "your function moved v itself; say where it should go, and leave the step to others.")
    w = v.softmax(0)
    right = w * (dots - w @ dots)
    known = {
        "that is what each *weight* is worth; v stands inside a softmax, and the slope must go through it.": dots,
        "only half of the softmax: a weight that rises takes from all others. Subtract what they are worth.": w * dots,
        "w_j is missing in front: an objective of little weight feels a change of v little.": dots - w @ dots,
        "you subtract the plain mean; the average is the one that the weights take.": w * (dots - dots.mean()),
        "the sign is turned: this is the way *up* the development loss.": -right,
        "v stands where the weights should: w = softmax(v).": v * (dots - v @ dots),
    }
    _not_known(said, known)
    total = float(said.sum())
    expect(
        abs(total) < EXACT,
        f"the entries sum to {total:.3f}: adding a constant to all of v changes no weight, so they must sum to zero.",
    )
    expect(gap(said, right) < EXACT, f"off by up to {gap(said, right):.3f} from the slope through the softmax.")
    return "sums to zero, and points to those who are worth more than the average that the weights take."


@exercise(
    "11.4",
    hints=(
        "Two batches, two jobs: one fits a head, the other is judged by it. Which of the two may reach the body?",
        "`fit_linear_head(features, labels, count, decay)` returns a layer that is held still. Give it features "
        "without a graph.",
        "head = fit_linear_head(fit.detach(), fit_labels, count, decay); return F.cross_entropy(head(ask), ask_labels)",
    ),
)
def ask_through(fit: Tensor, fit_labels: Tensor, ask: Tensor, ask_labels: Tensor, count: int, decay: float) -> Tensor:
    """The loss of some texts through a head that others have fitted: ``[F, D]``, ``[A, D]`` to one number."""
    head = fit_linear_head(fit.detach(), fit_labels, count, decay)
    return F.cross_entropy(head(ask), ask_labels)


@ask_through.examiner
def _(answer: Answer) -> str:
    fit, ask = torch.randn(12, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    fit_labels, ask_labels = torch.arange(12) % 3, torch.arange(9).flip(0) % 3
    both, labels = torch.cat([fit, ask]), torch.cat([fit_labels, ask_labels])
    learning, asking = fit.clone().requires_grad_(), ask.clone().requires_grad_()
    loss = answer(learning, fit_labels, asking, ask_labels, 3, 0.5)
    said = expect_number(loss, "the loss of those who ask")

    def of(one: Tensor, its: Tensor, other: Tensor, theirs: Tensor, decay: float = 0.5) -> Tensor:
        return F.cross_entropy(fit_linear_head(one, its, 3, decay)(other), theirs)

    right = of(fit, fit_labels, ask, ask_labels)
    known = {
        "the head was fitted on the very texts that ask: it knows their answers, and they have little left to ask.": (
            of(ask, ask_labels, ask, ask_labels)
        ),
        "the texts that ask were among those that fitted the head; keep the two apart.": (
            of(both, labels, ask, ask_labels)
        ),
        "the texts that fitted the head ask as well; they know their own head too well.": (
            of(fit, fit_labels, both, labels)
        ),
        "those who fitted the head ask, and the others are not heard.": of(fit, fit_labels, fit, fit_labels),
        "the two have changed places: `fit` fits, `ask` asks.": of(ask, ask_labels, fit, fit_labels),
        "that is the sum; more texts would ask louder.": 9 * right,
        "`decay` is not handed on: a head that is held loosely learns few texts by heart.": (
            of(fit, fit_labels, ask, ask_labels, 0.01)
        ),
        "the head knows nothing yet: fit it first.": torch.tensor(3.0).log(),
    }
    _not_known(said, known)
    expect(abs(said - right) < 1e-4, f"the loss of nine texts is {right:.4f}, you say {said:.4f}.")
    expect(
        isinstance(loss, Tensor) and loss.requires_grad,
        "the loss is right, but nobody hears it: no gradient leads from it to the texts that ask.",
    )
    (slope,) = torch.autograd.grad(loss, asking)
    held = fit_linear_head(fit, fit_labels, 3, 0.5)
    expected = (held(ask).softmax(-1) - F.one_hot(ask_labels, 3)) @ held.weight / 9
    expect(gap(slope, expected) < 1e-4, "the gradient is not the one through a head that is held still.")
    expect(
        learning.grad is None,
        "fitting the head has left a gradient in the texts that fit it, and so in the body: detach them first.",
    )
    return "nine texts ask through a head that twelve others have fitted; only the nine reach the body."


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.double().flatten() for part in parts])


def _kind(value: object) -> str:
    return f"{len(value)} things" if isinstance(value, (list, tuple)) else type(value).__name__
