"""The exercises of notebook 01, logits are opinions up to a constant."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_tensor, gap


@exercise(
    "1.1",
    hints=(
        "A constant per row changes nothing. Which constant makes every exp harmless, and leaves at least one term 1?",
        "log_softmax = logits − log Σ exp(logits). Bring the largest logit of each row to 0 first (out of place).",
        "s = logits - logits.max(-1, keepdim=True).values; return s - s.exp().sum(-1, keepdim=True).log()",
    ),
)
def stable_log_softmax(logits: Tensor) -> Tensor:
    """Logits ``[B, V]`` to log-probabilities ``[B, V]``, for logits of any size."""
    shifted = logits - logits.max(-1, keepdim=True).values
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


@stable_log_softmax.examiner
def _(answer: Answer) -> str:
    logits = 3 * torch.randn(4, 5, dtype=torch.float64)
    kept = logits.clone()
    log_probs = expect_tensor(answer(logits), (4, 5), "the log-probabilities")
    expect(torch.equal(logits, kept), "your function changed its input; -= writes in place.")
    rows, columns = log_probs.exp().sum(-1), log_probs.exp().sum(0)
    expect(gap(columns, torch.ones(5)) > 1e-9, "the columns sum to one, not the rows: the letters are the last axis.")
    expect(
        gap(log_probs.max(-1).values, torch.zeros(4)) > 1e-9,
        f"the best letter of every row has log-probability 0, so exp of the first row sums to {rows[0]:.3f}: "
        "the maximum is subtracted, log Σ exp is not.",
    )
    expect(gap(rows, torch.ones(4)) < 1e-9, f"exp of the first row sums to {rows[0]:.3f}; probabilities sum to one.")
    expect(
        gap(log_probs, logits.log_softmax(-1)) < 1e-9, "the log-odds of two letters are not the difference of logits."
    )
    loud = answer(logits + 1000.0)
    expect(
        isinstance(loud, Tensor) and gap(loud.double(), log_probs) < 1e-9,
        "adding 1,000 to every logit changes your answer: exp(1000) overflows before the logarithm can undo it.",
    )
    apart = logits + torch.tensor([0.0, 0.0, 0.0, 2000.0], dtype=torch.float64)[:, None]
    expect(
        gap(answer(apart).double()[:3], log_probs[:3]) < 1e-9,
        "adding 2,000 to the last row changes the others: each row needs the maximum of its own.",
    )
    quiet = answer(torch.tensor([[0.0, -1000.0, -math.inf]], dtype=torch.float64)).double()[0]
    expect(
        quiet[1] == -1000.0,
        f"a letter 1,000 nats behind the best gets {quiet[1]:.0f} instead of -1000: its probability has rounded to 0, "
        "and the logarithm came too late.",
    )
    expect(quiet[2] == -math.inf, "a logit of -inf must stay -inf.")
    return "is log softmax, for logits near 1,000, for letters 1,000 nats behind, and for -inf."


@exercise(
    "1.2",
    hints=(
        "Three steps: temperature, softmax, stairs. The temperature works on logits, before the softmax.",
        "cumsum(-1) gives the stairs. How many steps lie at or below u? That count is the letter's index.",
        "stairs = (logits / temperature).softmax(-1).cumsum(-1); then (stairs <= u[:, None]).sum(-1), at most V - 1.",
    ),
)
def draw_letters(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    """Sample by the inverse CDF: logits ``[B, V]`` and uniform numbers ``u [B]`` in [0, 1) to indices ``[B]``."""
    stairs = (logits / temperature).softmax(-1).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


@draw_letters.examiner
def _(answer: Answer) -> str:
    n, logits = 2000, torch.tensor([1.0, 0.0, -1.0, 2.0], dtype=torch.float64)
    u, rows = (torch.arange(n, dtype=torch.float64) + 0.5) / n, logits.expand(n, -1)  # u as even as can be

    def shares(temperature: float) -> Tensor:
        drawn = expect_tensor(answer(rows, u, temperature), (n,), "the drawn indices")
        expect(bool(((drawn >= 0) & (drawn < 4)).all()), f"index {drawn.max():.0f} was drawn from 4 letters, 0 to 3.")
        return torch.stack([(drawn == v).double().mean() for v in range(4)])

    one, hot = shares(1.0), shares(2.0)
    expect(one.max() < 1, "every u draws the same letter: that is the most likely letter, not a sample.")
    again = answer(rows, u, 1.0)
    expect(
        torch.equal(again, answer(rows, u, 1.0)),
        "the same u drew different letters: all chance is in u, add none of your own.",
    )
    expect(gap(one, hot) > 0.01, "the shares at temperature 2 are those at temperature 1: the temperature is not used.")
    cut = (logits.softmax(-1) / 2)[:3]
    expect(
        gap(hot[:3], cut) > 0.01,
        "at temperature 2 each stair is half as high and the last letter takes the rest: T divides logits, "
        "not probabilities.",
    )
    expect(
        hot.max() < one.max(),
        f"at temperature 2 the favourite is drawn {hot.max():.2f} of the time, at 1 {one.max():.2f}: "
        "heat must flatten, so divide by T.",
    )
    expect(
        gap(one, logits.softmax(-1)) < 0.01,
        f"at temperature 1 the shares are off by up to {gap(one, logits.softmax(-1)):.2f}.",
    )
    off = gap(hot, (logits / 2).softmax(-1))
    expect(
        off < 0.01,
        f"right at temperature 1, off by up to {off:.2f} at 2: log-odds must be halved, no more and no less.",
    )
    vetoed = torch.tensor([[-math.inf, 0.0, 0.0]], dtype=torch.float64)
    first = answer(vetoed, torch.zeros(1, dtype=torch.float64), 1.0)
    expect(
        first[0] != 0,
        "u = 0 drew a letter of probability 0: a step of height 0 cannot hold any u, so count stairs <= u.",
    )
    almost_one = torch.tensor([1 - 2**-24], dtype=torch.float32)
    beyond = [V for V in range(2, 64) if answer(torch.zeros(1, V, dtype=torch.float32), almost_one, 1.0)[0] >= V]
    expect(
        not beyond,
        "u just below 1 drew an index beyond the last letter: rounding may end the last stair below 1, so clamp.",
    )
    return "draws each letter with its probability, at temperatures 1 and 2, for u from 0 to almost 1."


@exercise(
    "1.3",
    hints=(
        "Which logits speak about which letter? logits[:, 0] has read ids[:, 0], so it is about ids[:, 1].",
        "Keep logits[:, :-1] and ids[:, 1:]. Turn logits into log-probabilities along V, the last axis.",
        "log_probs.gather(-1, ids[:, 1:, None]) picks what came, [B, T - 1, 1]. Squeeze it, sum over time, and negate.",
    ),
)
def text_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Nats of each text after its first letter: logits ``[B, T, V]`` and ids ``[B, T]`` to losses ``[B]``."""
    log_probs = logits[:, :-1].log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1).sum(-1)


@text_losses.examiner
def _(answer: Answer) -> str:
    B, T, V = 3, 5, 4
    logits, ids = 2 * torch.randn(B, T, V, dtype=torch.float64), torch.randint(V, (B, T))
    losses = expect_tensor(answer(logits, ids), (B,), "one loss for each text")

    def picked(scores: Tensor, letters: Tensor) -> Tensor:
        return scores.gather(-1, letters[..., None]).squeeze(-1)

    log_probs = logits.log_softmax(-1)
    right = -picked(log_probs[:, :-1], ids[:, 1:]).sum(-1)
    known = {
        "the sign is missing: log-probabilities are at most 0, a loss is at least 0.": -right,
        "this is the loss for each letter; a text's log-probability is the sum over its steps, not the mean.": right
        / (T - 1),
        "each logit is held against the letter that it has already read: shift by one.": -picked(log_probs, ids).sum(
            -1
        ),
        "shifted the wrong way: logits at t are held against the letter at t - 1; they speak about t + 1.": -picked(
            log_probs[:, 1:], ids[:, :-1]
        ).sum(-1),
        "the softmax runs over time, so positions compete; letters compete, along V.": -picked(
            logits[:, :-1].log_softmax(1), ids[:, 1:]
        ).sum(-1),
    }
    for says, wrong in known.items():
        expect(gap(losses, wrong) > 1e-9, says)
    moved = expect_tensor(answer(logits + 7.0, ids), (B,), "one loss for each text")
    expect(
        gap(moved, losses) < 1e-9,
        f"adding 7 to all logits changes the loss by {gap(moved, losses):.1f}: a raw logit is no log-probability.",
    )
    expect(gap(losses, right) < 1e-9, f"off by up to {gap(losses, right):.3f} nats on random logits.")
    last = logits.clone()
    last[:, -1] = 9 * torch.randn(B, V)
    expect(
        gap(answer(last, ids).double(), right) < 1e-9,
        "the last logits speak about a letter nobody wrote; leave them out.",
    )
    return "adds up −log q of each next letter, and of no other."


@exercise(
    "1.4",
    hints=(
        "Perplexity belongs to a letter, not to a text. How many nats are there in all, and how many letters?",
        "A long text holds more letters, so it must count for more. Add first, divide once.",
        "(losses.sum() / lengths.sum()).exp()",
    ),
)
def perplexity(losses: Tensor, lengths: Tensor) -> Tensor:
    """Perplexity of a set of texts: total nats ``losses [N]`` and numbers of letters ``lengths [N]`` to one number."""
    return (losses.sum() / lengths.sum()).exp()


@perplexity.examiner
def _(answer: Answer) -> str:
    lengths = torch.tensor([1, 3, 40])
    losses = torch.tensor([4.0, 6.0, 30.0], dtype=torch.float64)
    value = answer(losses, lengths)
    single = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, float)
    expect(single, "perplexity is one number for the whole set of texts.")
    ppl, rate = float(value), float(losses.sum() / lengths.sum())
    each = losses / lengths

    def is_(other: float | Tensor) -> bool:
        return abs(ppl - float(other)) < 1e-6 * float(other)

    expect(not is_(rate), f"{ppl:.2f} is the loss per letter, in nats; perplexity is exp of it.")
    expect(not is_(2**rate), "2 to the power of nats mixes units: nats belong to exp, bits to 2.")
    expect(
        not is_(each.mean().exp()),
        f"{ppl:.2f}: the text of 1 letter counts as much as the text of 40. Average over letters, not over texts.",
    )
    expect(
        not is_(each.exp().mean()),
        f"{ppl:.2f} is the mean of three perplexities; exp comes last, after all nats and letters are added up.",
    )
    expect(
        not is_(losses.mean().exp()),
        f"{ppl:.3g} is exp of the loss per text: nobody has that many letters to choose from. Divide by letters.",
    )
    expect(is_(math.exp(rate)), f"got {ppl:.3f} for 40 nats in 44 letters, expected {math.exp(rate):.3f}.")
    uniform = float(answer(math.log(5) * lengths.double(), lengths))
    expect(abs(uniform - 5) < 1e-6, f"a model that finds 5 letters equally likely has perplexity 5, not {uniform:.3f}.")
    half = float(answer(torch.tensor([2.0, 2.0, 3.0, 3.0, 30.0]).double(), torch.tensor([1, 0, 1, 2, 40])))
    expect(
        abs(half - math.exp(rate)) < 1e-6, "cutting a text into pieces changes your perplexity; letters are letters."
    )
    return "counts letters, not texts: cutting texts into pieces changes nothing, and a fair choice of five scores 5."
