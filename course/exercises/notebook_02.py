"""The exercises of notebook 02, a product of experts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_tensor, gap
from course.letters import LetterWorld


@exercise(
    "2.1",
    hints=(
        "Which axis must sum to one?",
        "exp(1000) overflows. Who subtracts the maximum for you?",
        "Add the logits (out of place: no +=), then softmax over the last axis.",
    ),
)
def combine_two(lm_logits: Tensor, aux_logits: Tensor) -> Tensor:
    """Product of two experts: ``[B, V]`` and ``[B, V]`` logits to ``[B, V]`` probabilities."""
    return (lm_logits + aux_logits).softmax(-1)


@combine_two.examiner
def _(answer: Answer) -> str:
    lm, aux = 3 * torch.randn(2, 4, 5, dtype=torch.float64)
    kept = lm.clone(), aux.clone()
    probs = expect_tensor(answer(lm, aux), (4, 5), "the product")
    expect(
        torch.equal(lm, kept[0]) and torch.equal(aux, kept[1]), "your function changed an input; += writes in place."
    )
    p, q = lm.softmax(-1), aux.softmax(-1)
    by_hand = p * q / (p * q).sum(-1, keepdim=True)
    expect(
        gap(probs, (p + q) / 2) > 1e-9, "this is the average of the two distributions, a mixture; a product multiplies."
    )
    expect(
        gap(probs, (p + q).softmax(-1)) > 1e-9,
        "softmax was taken twice: probabilities went into the second one, where logits belong.",
    )
    expect(
        gap(probs.sum(0), torch.ones(5)) > 1e-9,
        "the columns sum to one, not the rows: softmax over the batch lets sentences compete instead of letters.",
    )
    total = probs.sum(-1)
    expect(
        gap(total, torch.ones(4)) < 1e-9, f"the first row sums to {total[0]:.3f}; probabilities sum to one in each row."
    )
    expect(gap(probs, by_hand) < 1e-9, f"off by up to {gap(probs, by_hand):.3f} from p · q / Σ p · q on random logits.")
    loud = expect_tensor(answer(lm + 1000.0, aux), (4, 5), "the product of logits near 1,000")
    expect(
        gap(loud, by_hand) < 1e-9, "adding 1,000 to all logits of a row changes your answer; softmax must not notice."
    )
    aux[:, 0] = -math.inf
    vetoed = expect_tensor(answer(lm, aux), (4, 5), "the product with a veto")
    expect(
        gap(vetoed[:, 0], torch.zeros(4)) == 0, "a logit of -inf is a veto, but the vetoed letter got a probability."
    )
    return "multiplies the two distributions, also for huge logits and under a veto."


@exercise(
    "2.2",
    hints=(
        "Read Bayes' rule above from left to right; each symbol is one argument.",
        "These are probabilities, not logits. Multiply; do not add.",
        "If you feel the need to call softmax or to divide by a sum, the denominator is missing: it is `h_now`.",
    ),
)
def step_posterior(prior: Tensor, h_next: Tensor, h_now: float) -> Tensor:
    """Next-letter distribution given the condition: ``[V]``, ``[V]`` and a number to ``[V]``."""
    return prior * h_next / h_now


@step_posterior.examiner
def _(answer: Answer) -> str:
    prior, h_next = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.1, 1.0]).double()
    h_now = float((prior * h_next).sum())  # 0.33
    said = expect_tensor(answer(prior, h_next, h_now), (3,), "the posterior")
    doubled = expect_tensor(answer(prior, h_next, 2 * h_now), (3,), "the posterior")
    right, total = prior * h_next / h_now, float(said.sum())
    expect(gap(said, right.log()) > 1e-9, "these are log-probabilities; the answer is asked for in probabilities.")
    expect(
        gap(said, prior * h_next) > 1e-9,
        f"the result sums to {total:.2f}, which is h_now itself: Bayes' rule also divides by what is known so far.",
    )
    expect(
        gap(said, h_next / h_now) > 1e-9,
        f"the result sums to {total:.2f}: the language model's prior is missing; what it finds absurd counts fully.",
    )
    expect(
        gap(said, prior * h_now / h_next) > 1e-9,
        "turned over: a letter that raises hope must become more likely, so h_next goes above the line.",
    )
    expect(
        gap(said, (prior * h_next).softmax(-1)) > 1e-9,
        "softmax of probabilities is no Bayes' rule: it makes them nearly equal. Multiply and divide, no more.",
    )
    expect(
        gap(said, right) < 1e-9 or gap(said, doubled) > 1e-9,
        f"the result sums to {total:.2f} and does not depend on h_now: you divide by something that does not know the "
        "prefix, as p(c) does not; the denominator is what is known *so far*.",
    )
    expect(
        gap(said, doubled) > 1e-9,
        "right, but h_now is never used: you divide by your own sum, which would hide every mistake above the line.",
    )
    expect(gap(said, right) < 1e-9, f"off by up to {gap(said, right):.3f} from prior · h_next / h_now.")
    worst = max(_distance_to_list(answer, seed) for seed in range(20))
    expect(worst < 1e-9, f"off by up to {worst:.3f} from the list of all texts in a random world.")
    return "is the exact posterior in 20 random worlds, without being normalised."


def _distance_to_list(answer: Answer, seed: int) -> float:
    world = LetterWorld.random("abk", length=3, seed=seed)
    h, exact = world.posterior(world.contains("k")), world.conditional(world.contains("k"))
    said = {x: answer(world.next_log_probs(x).exp(), h.after(x), h(x)) for x in ("", "a", "ba")}
    return max(gap(row, world.next_from(exact, x)) for x, row in said.items())


@exercise(
    "2.3",
    hints=(
        "A new axis: `weights[:, None]` is [L, 1] and multiplies [V] to [L, V].",
        "What is 0 · (−∞) in floating point? Print it.",
        "`torch.where(weights[:, None] == 0, 0.0, …)` before adding the language model.",
    ),
)
def turn_dial(lm_logits: Tensor, aux_logits: Tensor, weights: Tensor) -> Tensor:
    """The λ family of products: ``[V]``, ``[V]`` and ``[L]`` to ``[L, V]`` probabilities."""
    scaled = torch.where(weights[:, None] == 0, 0.0, weights[:, None] * aux_logits)
    return (lm_logits + scaled).softmax(-1)


@turn_dial.examiner
def _(answer: Answer) -> str:
    weights = torch.tensor([0.0, 0.001, 1.0, 3.0], dtype=torch.float64)
    lm, aux = 2 * torch.randn(2, 5, dtype=torch.float64)
    p, column = lm.softmax(-1), weights[:, None]
    probs = expect_tensor(answer(lm, aux, weights), (4, 5), "the λ family")
    family = p * aux.exp() ** column
    family = family / family.sum(-1, keepdim=True)
    known = {
        "λ also multiplies the language model here: that is a temperature. At λ = 0 every letter is equally likely.": (
            (column * (lm + aux)).softmax(-1)
        ),
        "at λ = 1 the language model is gone: λ is what is *added*, it takes nothing away from `lm_logits`.": (
            ((1 - column) * lm + column * aux).softmax(-1)
        ),
        "the rows blend two distributions: that is a mixture. λ multiplies logits.": (
            (1 - column) * p + column * (lm + aux).softmax(-1)
        ),
        "λ multiplies the auxiliary's probabilities; it is meant for its logits.": (
            (lm + column * aux.softmax(-1)).softmax(-1)
        ),
        "the columns sum to one, not the rows: softmax lets the settings of λ compete instead of the letters.": (
            (lm + column * aux).softmax(0)
        ),
    }
    for says, wrong in known.items():
        expect(gap(probs, wrong) > 1e-9, says)
    total = float(probs[2].sum())
    expect(abs(total - 1) < 1e-9, f"the row of λ = 1 sums to {total:.3f}; return probabilities, one row for each λ.")
    expect(gap(probs, family) < 1e-9, f"off by up to {gap(probs, family):.3f} from p · exp(a)^λ on random logits.")
    aux[0] = -math.inf
    vetoed = answer(lm, aux, weights)
    expect(
        not (isinstance(vetoed, Tensor) and bool(vetoed[0].isnan().any())),
        "with a veto the row of λ = 0 is NaN: 0 · (−∞) is no number. A silent expert must say 0.",
    )
    vetoed = expect_tensor(vetoed, (4, 5), "the λ family under a veto")
    expect(gap(vetoed[0], p) < 1e-12, "at λ = 0 a veto is still heard; a silent expert has none.")
    expect(
        gap(vetoed[2:, 0], torch.zeros(2)) == 0, f"at λ = 1 a vetoed letter keeps the probability {vetoed[2, 0]:.3f}."
    )
    faint = float(vetoed[1, 0])
    expect(faint == 0, f"at λ = 0.001 a vetoed letter has {faint:.3f}: a large negative number is no veto, only −∞ is.")
    return "is p · exp(a)^λ at four settings; λ = 0 is the language model, and every other λ keeps a veto."


@exercise(
    "2.4",
    hints=(
        "You know h at the end: it is the score. What is h one letter before, if you know it after each next letter?",
        "An average over the next letters, weighted by the model: a row of the table times a row of h, summed over V.",
        "levels = [score]; for each table, last to first: put `(table * levels[0].view_as(table)).sum(-1)` in front.",
    ),
)
def look_ahead(tables: Sequence[Tensor], score: Tensor) -> list[Tensor]:
    """Expected score after every prefix: T tables ``[V**t, V]`` and ``[V**T]`` to T + 1 levels, ``[V**t]`` each."""
    levels = [score]
    for table in reversed(tables):
        levels.insert(0, (table * levels[0].view_as(table)).sum(-1))
    return levels


@look_ahead.examiner
def _(answer: Answer) -> str:
    world = LetterWorld.random("abk", length=3, seed=1)
    score = torch.rand(27, dtype=torch.float64)  # a rule such as "has a k" is blind to the order of the letters
    kept = score.clone()
    levels = answer(world.tables, score)
    expect(isinstance(levels, (list, tuple)), f"return a list of levels; you returned {type(levels).__name__}.")
    expect(
        len(levels) == 4,
        f"texts of 3 letters have 4 levels, prefixes of 0, 1, 2 and 3 letters; you returned {len(levels)}.",
    )
    expect(
        len(levels[0]) == 1,
        f"the first level has {len(levels[0])} entries; there is one empty prefix, and it comes first.",
    )
    levels = [expect_tensor(level, (3**t,), f"level {t}") for t, level in enumerate(levels)]
    expect(torch.equal(score, kept) and torch.equal(levels[3], kept), "level 3 must be the score itself, untouched.")
    table, rows = world.tables[2], score.view(9, 3)
    known = {
        "an average as if all letters were equally likely; the model's table says how likely each is.": rows.mean(-1),
        "this is the best future, not the expected one: the text is written by the model, not by a friend.": (
            rows.max(-1).values
        ),
        "a sum over futures that nobody weighted: h above 1 cannot be a probability.": rows.sum(-1),
        "the average was taken of log h: what adds up over futures is probability, not its logarithm.": (
            (table * rows.log()).sum(-1).exp()
        ),
        "each prefix is given another prefix's futures: in alphabetical order the last letter runs fastest, so view "
        "the level as [prefixes, V].": (table * score.view(3, 9).T).sum(-1),
    }
    for says, wrong in known.items():
        expect(gap(levels[2], wrong) > 1e-9, f"level 2: {says}")
    for t in (2, 1, 0):
        exact = (world.tables[t] * levels[t + 1].view(-1, 3)).sum(-1)
        expect(
            gap(levels[t], exact) < 1e-9,
            f"level {t} is not the model's average of level {t + 1}: off by {gap(levels[t], exact):.3f}.",
        )
    base = float((world.probs * score).sum())
    expect(
        abs(float(levels[0]) - base) < 1e-9, f"h of the empty prefix must be the mean score of all texts, {base:.3f}."
    )
    return "h never moves on average: every level is the model's mean of the next, down to the mean score of all texts."
