"""The exercises of notebook 08, generation as control. No model is loaded: small random tensors stand in for one."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.product import nucleus
from course.exercises.exercise import Answer, Wrong, exercise, expect, expect_number, expect_tensor, gap


@exercise(
    "8.1",
    hints=(
        "Add, temperature, softmax, nucleus, renormalise: which of these see logits, and which see probabilities?",
        "Sort. A token stays while the mass *before* it is below top_p. Weights [B] are a column: `.view(-1, 1)`.",
        "torch.zeros_like(probs).scatter(-1, order, ranked * (ranked.cumsum(-1) - ranked < top_p)), over its row sum.",
    ),
)
def steered(lm_logits: Tensor, aux_logits: Tensor, weight: float | Tensor, temperature: float, top_p: float) -> Tensor:
    """Add, divide by the temperature, softmax, cut to the nucleus: ``[B, V]`` twice to ``[B, V]`` probabilities."""
    weight = torch.as_tensor(weight).to(lm_logits).view(-1, 1)
    probs = ((lm_logits + weight * aux_logits) / temperature).softmax(-1)
    ranked, order = probs.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    kept = torch.zeros_like(probs).scatter(-1, order, ranked * (before < top_p))
    return kept / kept.sum(-1, keepdim=True)


@steered.examiner
def _(answer: Answer) -> str:
    lm, aux = torch.randn(2, 12, 12, dtype=torch.float64)  # as many rows as tokens: wrong axes do not crash
    weight, kept = torch.linspace(0.2, 1.3, 12, dtype=torch.float64), torch.stack([lm, aux])
    said = expect_tensor(answer(lm, aux, weight, 1.2, 0.8), (12, 12), "the result")
    expect(torch.equal(torch.stack([lm, aux]), kept), "your function writes into its input, as `+=` and `/=` do.")
    joint = lm + weight[:, None] * aux
    hot, right = (joint / 1.2).softmax(-1), _cut(joint, 1.2)
    inside, above = right > 0, right > right.where(right > 0, torch.inf).amin(-1, keepdim=True)
    known = {
        "the temperature divides the expert only, not the sum.": _cut(lm / 1.2 + joint - lm),
        "the nucleus is the expert's: what only the auxiliary wants cannot come in.": _cut(joint, 1.2, lm),
        "the nucleus is the expert's at its temperature, not the sum's.": _cut(joint, 1.2, lm / 1.2),
        "the nucleus was chosen before the temperature, in another distribution.": _cut(joint, 1.2, joint),
        "the temperature has no effect: it cancels when probabilities are renormalised.": _cut(joint),
        "probabilities were divided by the temperature: only the threshold moves.": _cut(joint, top_p=0.8 * 1.2),
        "top_p plays no part: all 12 tokens are left.": hot,
        "the token that crosses the threshold is gone: less than top_p is left.": F.normalize(hot * above, 1, -1),
        "the rows do not sum to one: divide what stays by its sum.": hot * inside,
        "sorted by size, and never put back to their tokens.": right.sort(-1, True).values,
        "the mask is in sorted order, the tokens are not.": F.normalize(hot * inside.sort(-1, True).values, 1, -1),
        "row i's weight went to token i of every row: make `[B]` a column, `[B, 1]`.": _cut(lm + weight * aux, 1.2),
    }
    for says, wrong in known.items():
        expect(gap(said, wrong) > 1e-6, says)
    expect(gap(said, right) < 1e-6, f"off by up to {gap(said, right):.3f} at temperature 1.2 and top_p 0.8.")
    lm, aux = lm[:3, :7].index_fill(1, torch.tensor([2]), -torch.inf), aux[:3, :7]
    for temperature, top_p in ((0.6, 0.9), (1.3, 0.3), (1.0, 1.0), (1.0, 1e-9)):
        said = expect_tensor(answer(lm, aux, 1.7, temperature, top_p), (3, 7), f"the result at top_p {top_p}")
        same = gap(said, _cut(lm + 1.7 * aux, temperature, top_p=top_p)) < 1e-6
        expect(same, f"wrong at weight 1.7, temperature {temperature} and top_p {top_p}, with a token vetoed.")
    return "adds, divides, then cuts: one weight or one a row, a nucleus of one token or of all."


def _cut(logits: Tensor, temperature: float = 1.0, by: Tensor | None = None, top_p: float = 0.8) -> Tensor:
    """The nucleus of ``by``, by default of these logits at their temperature, renormalised."""
    logits = logits / temperature
    return F.normalize(logits.softmax(-1) * nucleus(logits if by is None else by, top_p), 1, -1)


@exercise(
    "8.2",
    hints=(
        "What must be added to the sum of the two to get the joint one? Which part of it does softmax not see?",
        "pmi = joint_aux - (aux_1 + aux_2) is NaN or infinite wherever one of the three is −∞: leave those tokens out.",
        "torch.where(pmi.isfinite(), pmi, -torch.inf).amax(-1) is the highest; lowest likewise; 0 if none is finite.",
    ),
)
def pmi_spread(joint_aux: Tensor, aux_1: Tensor, aux_2: Tensor) -> Tensor:
    """Largest error of a logit difference when two auxiliaries are added: ``[T, V]`` three times to ``[T]`` nats."""
    pmi = joint_aux - (aux_1 + aux_2)
    finite = pmi.isfinite()
    highest = torch.where(finite, pmi, -torch.inf).amax(-1)
    lowest = torch.where(finite, pmi, torch.inf).amin(-1)
    return torch.where(finite.any(-1), highest - lowest, 0.0)


@pmi_spread.examiner
def _(answer: Answer) -> str:
    three = joint, aux_1, aux_2 = -2 - 2 * torch.rand(3, 40, 9, dtype=torch.float64)  # so that every pmi is above 0
    total, given = aux_1 + aux_2, three.clone()
    pmi, raw = joint - total, answer(*given)
    expect(torch.equal(given, three), "your function writes into its input, as `-=` does.")
    expect(not isinstance(raw, Tensor) or raw.shape != (9,), "the spread is over places, but softmax compares tokens.")
    said = expect_tensor(raw, (40,), "the error")
    known = {
        "max |pmi| also counts what all tokens share, a constant that softmax drops.": pmi.amax(-1),
        "a standard deviation is a typical error; asked for is the largest.": pmi.std(-1),
        "the mean over tokens is the very constant that softmax drops.": pmi.mean(-1),
        "the second auxiliary is not in the sum.": _spread(joint - aux_1),
        "the second auxiliary was added, not subtracted: brackets are missing.": _spread(joint - aux_1 + aux_2),
    }
    for says, wrong in known.items():
        expect(gap(said, wrong) > 1e-6, says)
    expect(gap(said, _spread(pmi)) < 1e-6, f"off by up to {gap(said, _spread(pmi)):.3f} nats from max − min.")
    ends, few = torch.zeros(9), torch.zeros(40, 9)
    ends[::8] = few[0, 1:] = few[1] = -torch.inf  # 7 tokens are left; in the first rows 1 and 0
    for i, who in enumerate(("all three", "joint_aux alone", "aux_1 alone", "aux_2 alone")):
        raw = answer(*(part + ends if i in (0, n) else part for n, part in enumerate(three, 1)))
        blind = isinstance(raw, Tensor) and raw.isnan().any()
        expect(not blind, f"NaN where a token is vetoed by {who}: −∞ − (−∞) is no number; leave such a token out.")
        said = expect_tensor(raw, (40,), "the error")
        expect(gap(said, pmi[:, 1:8].amax(-1)) > 1e-6, f"a token vetoed by {who} was given a pmi of 0; it has none.")
        expect(gap(said, _spread(pmi[:, 1:8])) < 1e-6, f"a token vetoed by {who} still counts: you say {said[0]:.3g}.")
    none = expect_tensor(answer(total - 1.5 + few, aux_1 + few, aux_2 + few), (40,), "the error").round(decimals=3)
    expect(not none.any(), f"{none[:3].tolist()} where one token is left, none, or only a constant is missing: say 0.")
    return "is 0 where adding is exact, blind to constants and vetoes, and else the worst that adding does."


def _spread(logits: Tensor) -> Tensor:
    return (logits[:, :, None] - logits[:, None, :]).amax((1, 2))  # over all pairs of tokens


@exercise(
    "8.3",
    hints=(
        "Each of the N says keyword + style. How often is the style in their sum? How often do you want it?",
        "none_aux is the style. It is in the sum N times and must stay in it once.",
        "each_aux.sum(0) - (len(each_aux) - 1) * none_aux",
    ),
)
def style_once(each_aux: Tensor, none_aux: Tensor) -> Tensor:
    """The sum of N keywords' auxiliary logits with the style counted once: ``[N, V]`` and ``[V]`` to ``[V]``."""
    return each_aux.sum(0) - (len(each_aux) - 1) * none_aux


@style_once.examiner
def _(answer: Answer) -> str:
    each, none = torch.randn(4, 9, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    total, kept = each.sum(0), each.clone()
    said = expect_tensor(answer(each, none), (9,), "the sum").log_softmax(-1)  # no constant per row matters
    expect(torch.equal(each, kept), "your function writes into each_aux, as `-=` does.")
    known = {
        "this is the plain sum: 4 keywords bring the style 4 times.": total,
        "a mean has the style once, but of each keyword only a quarter.": total / 4,
        "the style was taken out 4 times of 4: none is left.": total - 4 * none,
        "the style was taken out once, whatever N: of 4 times 3 are left.": total - none,
        "the style was taken out 8 times: N counts rows, not tokens.": total - 8 * none,
    }
    for says, wrong in known.items():
        expect(gap(said, wrong.log_softmax(-1)) > 1e-6, says)
    for count in (4, 1, 2, 7):
        content = torch.randn(count, 9, dtype=torch.float64)
        said = expect_tensor(answer(content + none, none), (9,), f"the sum for N = {count}").log_softmax(-1)
        same = gap(said, (content.sum(0) + none).log_softmax(-1)) < 1e-6
        expect(same, f"for N = {count} it is not every keyword whole and the style once.")
    return "has every keyword whole and the style once, for 1, 2, 4 and 7 keywords."


@exercise(
    "8.4",
    hints=(
        "At place i, what do you know? Everything in fits[:i + 1], and nothing else.",
        "From place n // 3 on: return i as soon as fits[i] is better than all of fits[:i]. And if it never is?",
        "all(fits[i] > fit for fit in fits[:i]) is also True when nothing came before; after the loop return the last.",
    ),
)
def place(fits: Sequence[float]) -> int:
    """The place that the secretary rule takes: n numbers, seen one after another, to an index."""
    for index in range(len(fits) // 3, len(fits)):
        if all(fits[index] > fit for fit in fits[:index]):
            return index
    return len(fits) - 1


@place.examiner
def _(answer: Answer) -> str:
    _taken(answer, [-0.5, -2.1, -1.3, -4.0], "nothing is better than in the look, so the last place must be taken")
    cases = [[-random.randint(1, 999) for _ in range(n)] for n in [*range(3, 13)] * 12] + [[-2, -3, -2, -1]]
    got = [_taken(answer, fits) for fits in cases]

    def by(better=lambda f, i: f[i] > max(f[:i]), look=lambda n: n // 3, last=lambda f: len(f) - 1) -> list[int]:
        return [next((i for i in range(look(len(f)), len(f)) if better(f, i)), last(f)) for f in cases]

    right, ends = by(), [len(f) - 1 for f in cases]
    known = {
        "the best of all places is known only when all have gone by.": [f.index(max(f)) for f in cases],
        "better than the place just before is not better than all before.": by(lambda f, i: f[i] > f[i - 1]),
        "you look at half of the places; the rule looks at a third.": by(look=lambda n: n // 2),
        "the first place is taken: nobody has looked.": by(look=lambda n: 0, better=lambda f, i: True),
        "the last place of the look is taken, and there one only looks.": [len(f) // 3 - 1 for f in cases],
        "nothing better came, and you go back to a place that is gone.": by(last=lambda f: f.index(max(f))),
        "an equal fit was taken for a better one.": by(lambda f, i: f[i] >= max(f[:i])),
        "always the last: fits here are below 0, so a best that starts at 0 is never beaten.": ends,
    }
    for says, wrong in known.items():
        expect(got != wrong, says)
    back = [min(i + len(f) // 3, len(f) - 1) for f, i in zip(cases, got, strict=True)]
    expect(back != right, "counted from the end of the look, not from the first place.")
    later = [_taken(answer, f[: i + 1] + [-1e-4] * (len(f) - i - 1)) for f, i in zip(cases, got, strict=True)]
    expect(later == got, "what comes *later* changes your choice: nobody knows the future.")
    for fits, mine, wanted in zip(cases, got, right, strict=True):
        expect(mine == wanted, f"place {mine} for {fits}; the rule takes {wanted}.")
    for short in ([-1.5], [-1.5, -0.2], [-0.2, -1.5]):
        expect(_taken(answer, short, "n < 3: nobody looks") == 0, "n < 3: nobody looks, and the first place is taken.")
    return "takes what the rule takes on 121 lists, knows no future, and is never left without a place."


def _taken(answer: Answer, fits: Sequence[float], why: str = "each list has its place") -> int:
    """The index that was answered; ``why`` is what a mishap with this list breaks."""
    try:
        index = expect_number(answer(list(fits)), "the index")
    except Wrong as wrong:
        raise Wrong(f"{why}: {wrong}") from wrong
    expect(index not in fits, f"{index} is how well the word fits; asked for is where, an index.")
    expect(index in range(len(fits)), f"{why}: {index:g} is none of the places 0 to {len(fits) - 1}.")
    return int(index)
