"""The exercises of notebook 10, Y-Tuning. No encoder is loaded: small random tensors stand in for its states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_number, expect_tensor, gap

EXACT = 1e-5


def _not_known(said: Tensor, known: dict[str, Tensor]) -> None:
    """State that an answer is none of the known misconceptions."""
    for says, wrong in known.items():
        expect(said.shape != wrong.shape or gap(said, wrong.double()) > EXACT, says)


def _padded() -> tuple[Tensor, Tensor]:
    """States ``[3, 7, 4]`` of texts of 7, 5 and 2 tokens, and their mask; where a text has ended stands something."""
    hidden = torch.randn(3, 7, 4, dtype=torch.float64) + 1
    return hidden, torch.arange(7) < torch.tensor([[7], [5], [2]])


@exercise(
    "10.1",
    hints=(
        "Two sums: of the states where the mask is True, and of the mask itself. One divides the other.",
        "`mask.unsqueeze(-1)` is [B, T, 1] and multiplies a state by 1 or 0; `hidden.float()` leaves half precision.",
        "(hidden.float() * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)",
    ),
)
def mean_state(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean over a text's own tokens, ``[B, D]``."""
    return (hidden.float() * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


@mean_state.examiner
def _(answer: Answer) -> str:
    hidden, mask = _padded()
    kept, seen = hidden.clone(), mask.unsqueeze(-1)
    said = expect_tensor(answer(hidden, mask), (3, 4), "the mean state of each text")
    expect(
        torch.equal(hidden, kept), "your function changed the states; they are a dataset, and the next epoch reads it."
    )
    total, right = (hidden * seen).sum(1), (hidden * seen).sum(1) / mask.sum(1, keepdim=True)
    known = {
        "padding was averaged as well: a short text would change with the batch that it stands in.": hidden.mean(1),
        "padding was left out of the sum but counted in the length: divide by the text's own number of tokens, "
        "not T.": total / 7,
        "that is the sum; twice as many tokens would make a state twice as long.": total,
        "you divide by the tokens of the whole batch; each text has a length of its own.": total / mask.sum(),
        "this is the first token's state alone; the others are not in it.": hidden[:, 0],
        "that is the largest number of each column, not the mean.": hidden.masked_fill(~seen, -torch.inf).amax(1),
    }
    _not_known(said, known)
    expect(gap(said, right) < EXACT, f"off by up to {gap(said, right):.3f} from the mean over each text's own tokens.")
    large = torch.full((1, 64, 4), 2000.0, dtype=torch.float16)
    half = answer(large, torch.ones(1, 64, dtype=torch.bool))
    expect(
        gap(half.double(), torch.full((1, 4), 2000.0, dtype=torch.float64)) < 1,
        f"64 states of 2000 in half precision have the mean {float(half[0, 0]):g}: their sum is beyond 65,504, where "
        "half precision ends. Leave it before you add.",
    )
    return "the mean over a text's own tokens, whatever stands behind them and however long the batch is."


@exercise(
    "10.2",
    hints=(
        "A score for every label and every token first, [B, K, T]; then weights that sum to one over the tokens.",
        "`labels @ text.transpose(1, 2)` is [B, K, T]. Divide by √d, put -inf where the mask is False, softmax over "
        "the last axis.",
        "weights = (labels @ text.transpose(1, 2) / labels.shape[-1]**0.5).masked_fill(~mask.unsqueeze(1), -torch.inf)"
        ".softmax(-1); return weights @ text, weights",
    ),
)
def look(labels: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What each label finds in each text, ``[B, K, d]``, and its weights on the tokens, ``[B, K, T]``."""
    scores = labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1)
    return weights @ text, weights


@look.examiner
def _(answer: Answer) -> str:
    (text, mask), labels = _padded(), torch.randn(5, 4, dtype=torch.float64)
    pair = answer(labels, text, mask)
    expect(isinstance(pair, tuple) and len(pair) == 2, "return two tensors: what is found, and the weights.")
    found, weights = pair
    shape = tuple(weights.shape) if isinstance(weights, Tensor) else None
    expect(
        shape != (3, 7, 5), "your weights are [B, T, K]: here the tokens look at the labels. Labels are the queries."
    )
    expect(shape != (3, 5, 4), "the weights come second, what is found comes first.")
    expect(
        shape != (3, 5, 7) or not weights[~mask.unsqueeze(1).expand(3, 5, 7)].isnan().any(),
        "where there is no token the weights are NaN: softmax over the labels finds nothing but -inf there. A label "
        "shares out its look over the tokens.",
    )
    weights = expect_tensor(weights, (3, 5, 7), "the weights")
    scores, seen = labels @ text.transpose(1, 2), mask.unsqueeze(1)

    def of(scores: Tensor, axis: int = -1) -> Tensor:
        return scores.masked_fill(~seen, -torch.inf).softmax(axis)

    known = {
        "the weights of a token sum to one over the *labels*: labels compete for tokens. Each label must share out its "
        "own look over the tokens, the last axis.": (scores / 2).masked_fill(~seen, -1e30).softmax(1),
        "padding is looked at: put -inf in its place before the softmax.": (scores / 2).softmax(-1),
        "the mask came after the softmax, so a short text's weights sum to less than one: mask the scores, not the "
        "weights.": (scores / 2).softmax(-1) * seen,
        "a score of 0 is not silence, e⁰ is 1: where there is no token the score must be -inf.": (
            (scores / 2 * seen).softmax(-1)
        ),
        "1/√d is missing: a score of wide vectors is large, and the softmax looks at one token only.": of(scores),
        "you divide by d, not by its root: the scores become so small that every token weighs the same.": (
            of(scores / 4)
        ),
        "the tokens are hidden and the padding is seen: the mask is True where there *is* a token.": (
            (scores / 2).masked_fill(seen, -torch.inf).softmax(-1).nan_to_num(0)
        ),
    }
    _not_known(weights, known)
    right = of(scores / 2)
    expect(gap(weights, right) < EXACT, f"the weights are off by up to {gap(weights, right):.3f}.")
    found = expect_tensor(found, (3, 5, 4), "what each label finds")
    expect(
        gap(found, right @ text) < EXACT,
        "the weights are right, what is found is not: it is the sum of the text's states, each times its weight.",
    )
    return "each label shares out one look over a text's own tokens; padding weighs nothing, to the last digit."


@exercise(
    "10.3",
    hints=(
        "Pick the right label's score with `scores.gather(1, labels.unsqueeze(1))`, [B, 1].",
        "Each label falls short by `(margin - right + scores).clamp(min=0)`; the right one falls short of itself by "
        "the margin, and that must not be counted.",
        "short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean(): put 0 in the right label's place, sum, average.",
    ),
)
def margin_loss(scores: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over texts of what other labels come too near: ``[B, K]`` and ``[B]`` to one number."""
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


@margin_loss.examiner
def _(answer: Answer) -> str:
    # three labels; the right one leads by much, by little, not at all
    scores = torch.tensor([[5.0, 0.0, 1.0], [0.2, 0.5, -3.0], [1.0, 2.5, 0.25], [0.0, 0.0, 0.75]], dtype=torch.float64)
    labels, margin = torch.tensor([0, 1, 2, 0]), 1.0
    said = expect_number(answer(scores, labels, margin), "the loss of a batch")
    own = F.one_hot(labels, 3).bool()
    lead = scores.gather(1, labels.unsqueeze(1)) - scores
    short = (margin - lead).clamp(min=0)
    others = short.masked_fill(own, 0)
    known = {
        "the right label is counted against itself: it has no lead over itself, and costs the whole margin in each "
        "text.": short.sum(1).mean(),
        "only the worst label was counted. That is another loss, also in use; here every label that is too near "
        "counts.": others.amax(1).mean(),
        "the sign is turned: the loss falls as the *wrong* labels rise.": (
            (margin + lead).clamp(min=0).masked_fill(own, 0).sum(1).mean()
        ),
        "you averaged over the labels too; sum over labels, and average over texts only.": others.mean(),
        "you divided by the number of other labels; sum over them, and average over texts only.": (
            others.sum(1).mean() / 2
        ),
        "that is the sum over the texts; a batch twice as large would take steps twice as long.": others.sum(),
        "a lead beyond the margin is paid out: without max(0, …) one easy text makes up for a wrong one.": (
            (margin - lead).masked_fill(own, 0).sum(1).mean()
        ),
        "the margin is missing: a label that is just ahead is no longer pushed.": (
            (-lead).clamp(min=0).masked_fill(own, 0).sum(1).mean()
        ),
    }
    _not_known(torch.tensor(said, dtype=torch.float64), known)
    right = float(others.sum(1).mean())
    expect(abs(said - right) < EXACT, f"the loss of four made-up texts is {right:.4f}, you say {said:.4f}.")
    double = expect_number(answer(scores, labels, 2.0), "the loss at a margin of 2")
    wanted = float((2.0 - lead).clamp(min=0).masked_fill(own, 0).sum(1).mean())
    expect(abs(double - wanted) < EXACT, f"at a margin of 2 it is {wanted:.4f}, you say {double:.4f}: is yours fixed?")
    learning = scores.clone().requires_grad_()
    loss = answer(learning, labels, margin)
    expect(
        isinstance(loss, Tensor) and loss.requires_grad,
        "the number is right, but no gradient can flow back from it: stay with tensors, without .item() or float().",
    )
    return "zero where the lead is the margin, a slope of one for each label below it; the right label costs nothing."


@exercise(
    "10.4",
    hints=(
        "Write both bills first: full = …, ours = …; then divide.",
        "A training step of all weights is a forward pass and a backward pass of twice its cost: 3 · whole an epoch.",
        "trainings * full_epochs * 3 * whole / (read + trainings * epochs * epoch)",
    ),
)
def training_ratio(whole: float, read: float, epoch: float, epochs: int, full_epochs: int, trainings: int = 1) -> float:
    """How many times the operations of ours full fine-tuning needs."""
    return trainings * full_epochs * 3 * whole / (read + trainings * epochs * epoch)


@training_ratio.examiner
def _(answer: Answer) -> str:
    whole, read, epoch, epochs, full_epochs = 90.0, 50.0, 2.0, 10, 3
    once = expect_number(answer(whole, read, epoch, epochs, full_epochs), "the ratio")
    right = full_epochs * 3 * whole / (read + epochs * epoch)
    known = {
        "the text was read anew in every one of our epochs; it is read once and kept.": (
            full_epochs * 3 * whole / (epochs * (read + epoch))
        ),
        "full fine-tuning was charged for its forward pass only; the backward pass costs twice as much again.": (
            full_epochs * whole / (read + epochs * epoch)
        ),
        "the backward pass was charged as one forward pass; it needs two, one for the inputs and one for the "
        "weights.": full_epochs * 2 * whole / (read + epochs * epoch),
        "our own training is free in your bill; the decoder learns as well, in every epoch.": (
            full_epochs * 3 * whole / read
        ),
        "our reading is free in your bill; somebody has to read the texts once.": (
            full_epochs * 3 * whole / (epochs * epoch)
        ),
        "`epoch` already holds our backward pass; you charged it once more.": (
            full_epochs * 3 * whole / (read + 3 * epochs * epoch)
        ),
        "we read up to a layer only: our reading costs `read`, not `whole`.": (
            full_epochs * 3 * whole / (whole + epochs * epoch)
        ),
        "that is ours over theirs; the question is how many times *more* full fine-tuning needs.": 1 / right,
    }
    _not_known(torch.tensor(once, dtype=torch.float64), {says: torch.tensor(wrong) for says, wrong in known.items()})
    expect(abs(once - right) < EXACT, f"for one training it is {right:.3f}, you say {once:.3f}.")
    five = expect_number(answer(whole, read, epoch, epochs, full_epochs, 5), "the ratio of five trainings")
    shared = 5 * full_epochs * 3 * whole / (read + 5 * epochs * epoch)
    known = {
        "five trainings cost the same ratio as one: the texts need to be read once for all five.": right,
        "the number of trainings stands on one side only; full fine-tuning is paid five times as well.": (
            full_epochs * 3 * whole / (read + 5 * epochs * epoch)
        ),
        "full fine-tuning is paid five times, our decoder once; each of our trainings has its own epochs.": (
            5 * full_epochs * 3 * whole / (read + epochs * epoch)
        ),
    }
    _not_known(torch.tensor(five, dtype=torch.float64), {says: torch.tensor(wrong) for says, wrong in known.items()})
    expect(abs(five - shared) < EXACT, f"for five trainings it is {shared:.3f}, you say {five:.3f}.")
    return f"{right:.1f} times for one training, {shared:.1f} for five that share the reading (in a made-up case)."
