"""The exercises of notebook 07, a real expert. No model is loaded: small random tensors stand in for its states."""

from __future__ import annotations

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_number, expect_tensor, gap


@exercise(
    "7.1",
    hints=(
        "Both are tokens × (bytes per token).",
        "The first has 2 · width + 12 bytes per token.",
        "The second has 2 · vocabulary + 4; return a pair.",
    ),
)
def bytes_to_keep(tokens: int, width: int, vocabulary: int) -> tuple[int, int]:
    """Bytes for caching hidden states, and for caching logits."""
    return tokens * (2 * width + 12), tokens * (2 * vocabulary + 4)


@bytes_to_keep.examiner
def _(answer: Answer) -> str:
    tokens, width, vocabulary = 1000, 576, 49152
    pair = answer(tokens, width, vocabulary)
    expect(isinstance(pair, (tuple, list)) and len(pair) == 2, "return two numbers, first for states, then for logits.")
    states, logits = (expect_number(part, "a number of bytes") / tokens for part in pair)
    right = 2 * width + 12, 2 * vocabulary + 4
    expect(states <= logits, f"states take {states:,.0f} bytes a token, logits {logits:,.0f}: are the two exchanged?")
    known = {
        "these are numbers, not bytes: in half precision each of them takes 2.": (width + 3, vocabulary + 1),
        "that is full precision; vectors and logits are kept in half precision, 2 bytes a number.": (
            (4 * width + 12, 4 * vocabulary + 4)
        ),
        "`rest`, `log_z` and the token's id are missing, 4 bytes each.": (2 * width, 2 * vocabulary),
        "that is how many bits there are; a byte has eight of them.": (8 * right[0], 8 * right[1]),
        "`rest`, `log_z` and the id were counted in half precision; they take 4 bytes each.": (
            (2 * width + 6, 2 * vocabulary + 2)
        ),
    }
    for says, wrong in known.items():
        expect((states, logits) != wrong, f"a token's state takes {states:,.6g} bytes: {says}")
    expect(
        logits != 2 * vocabulary + 12,
        "whoever keeps all logits needs no `rest` and no `log_z`: both can be computed from them.",
    )
    expect(
        states == right[0],
        f"a token's state takes {right[0]:,} bytes with all that goes with it, you say {states:,.6g}.",
    )
    expect(logits == right[1], f"a token's logits take {right[1]:,} bytes with its id, you say {logits:,.6g}.")
    expect(
        tuple(answer(7, 3, 11)) == (126, 182),
        "right for 1,000 tokens of SmolLM2, wrong for another width or vocabulary.",
    )
    return f"{right[0]:,} bytes for a token's state in SmolLM2, {right[1]:,} for its logits."


@exercise(
    "7.2",
    hints=(
        "Z' = Z − (the token's old part) + (its new part). What are they in terms of Z and `share`?",
        "Z' = Z · (1 + share · (e^b − 1)). Take the log.",
        "`torch.log1p(x)` is log(1 + x) and `torch.expm1(b)` is e^b − 1; neither loses digits when x or b is small.",
    ),
)
def log_z_after_boost(log_z: Tensor, share: Tensor, boost: Tensor) -> Tensor:
    """The normaliser after adding ``boost`` to the logit of a token with probability ``share``; all ``[N]``."""
    return log_z + torch.log1p(share * torch.expm1(boost))


@log_z_after_boost.examiner
def _(answer: Answer) -> str:
    logits = 3 * torch.randn(200, 20, dtype=torch.float64)
    boost = torch.linspace(-6, 14, 200, dtype=torch.float64)
    boosted = logits.clone()
    boosted[:, 0] += boost
    before, after, share = logits.logsumexp(-1), boosted.logsumexp(-1), logits.softmax(-1)[:, 0]
    said = expect_tensor(answer(before, share, boost), (200,), "the new normaliser")
    known = {
        "the token's old part is still in the sum: it must leave when the new one comes.": (
            before + (share * boost.exp()).log1p()
        ),
        "this would be right if *all* logits had been boosted; only the share of one token grows.": before + boost,
        "that is the average boost; log-sum-exp is no average of logits.": before + share * boost,
        "this is the new sum divided by the old one, in logs; what was there before is missing.": after - before,
        "the sum itself, not its logarithm.": after.exp(),
        "log_z is a logarithm, and was multiplied like the sum itself.": before * (1 + share * boost.expm1()),
    }
    for says, wrong in known.items():
        expect(gap(said, wrong) > 1e-6, says)
    unmoved = gap(answer(before, share, 0 * boost).double(), before)
    expect(
        unmoved < 1e-9, f"a boost of 0 moves the normaliser by {unmoved:.3f} nats; nothing was added, nothing may move."
    )
    expect(
        gap(said, after) < 1e-6, f"off by up to {gap(said, after):.3f} nats from the log-sum-exp of the boosted logits."
    )
    none, tiny = torch.zeros(1, dtype=torch.float64), torch.full((1,), 1e-12, dtype=torch.float64)
    rare = float(answer(none, tiny, none + 2.0))
    expect(
        abs(rare / 6.38905609893065e-12 - 1) < 1e-9,
        f"a share of 1e-12 boosted by 2 adds {rare:.6e} nats, not 6.389056e-12: 1 + x has lost the digits of a tiny x.",
    )
    faint = float(answer(none, none + 0.5, tiny))
    expect(
        abs(faint / 5e-13 - 1) < 1e-9,
        f"a boost of 1e-12 on a share of a half adds {faint:.5e} nats, not 5e-13: exp(b) - 1 has lost its digits.",
    )
    return "is the log-sum-exp of the boosted logits on 200 rows, to the last digit for tiny shares and boosts."


@exercise(
    "7.3",
    hints=(
        "Outside the support: `hidden @ unembedding.T`, as always.",
        "Inside: the same rows of W, on `hidden + shift`.",
        "`logits[:, support] = …` assigns to chosen columns.",
    ),
)
def shifted_logits(hidden: Tensor, shift: Tensor, unembedding: Tensor, support: Tensor) -> Tensor:
    """Joint logits ``[N, V]``: the shift ``[N, D]`` moves the tokens of ``support [S]`` and no others."""
    logits = hidden @ unembedding.T
    logits[:, support] = (hidden + shift) @ unembedding[support].T
    return logits


@shifted_logits.examiner
def _(answer: Answer) -> str:
    hidden, shift = torch.randn(2, 6, 8, dtype=torch.float64)
    W, support = torch.randn(30, 8, dtype=torch.float64), torch.tensor([3, 28, 11, 7])
    kept = [part.clone() for part in (hidden, shift, W)]
    logits = answer(hidden, shift, W, support)
    expect(
        not isinstance(logits, Tensor) or logits.shape != (6, 4),
        "you return the logits of the support alone; the others are not gone, they keep the expert's.",
    )
    logits = expect_tensor(logits, (6, 30), "the joint logits")
    same = all(torch.equal(ours, before) for ours, before in zip((hidden, shift, W), kept, strict=True))
    expect(same, "your function changed one of its inputs: the cache and the frozen expert are written to by nobody.")
    frozen, moved = hidden @ W.T, (hidden + shift) @ W.T
    outside = torch.ones(30, dtype=torch.bool).index_fill(0, support, False)
    expect(
        gap(logits, moved) > 1e-9, "all 30 tokens have moved; those outside the support must keep the expert's logit."
    )
    expect(gap(logits, frozen) > 1e-9, "no token has moved. `logits[support]` picks rows; tokens are columns.")
    left = logits[:, outside]
    expect(
        gap(left, torch.zeros(6, 26)) > 0,
        "outside the support you say 0; silence of the shift is the expert's logit there.",
    )
    expect(
        not bool(left.isneginf().all()),
        "a token outside the support is forbidden here; there the shift is silent, and the expert still speaks.",
    )
    inside, right = logits[:, support], moved[:, support]
    expect(
        gap(inside, right - frozen[:, support]) > 1e-9,
        "in the support stands only what the shift adds; the expert's own logit belongs to the sum.",
    )
    expect(
        gap(logits[:, support.sort().values], right) > 1e-9,
        "each value landed on another token of the support: column i of the product belongs to token support[i].",
    )
    expect(
        gap(left, frozen[:, outside]) < 1e-9, "a token outside the support has moved; it must keep the expert's logit."
    )
    expect(gap(inside, right) < 1e-9, f"inside the support you are off by up to {gap(inside, right):.3f}.")
    return "4 of 30 tokens moved, as the sum of logits says; 26 kept the expert's logit."
