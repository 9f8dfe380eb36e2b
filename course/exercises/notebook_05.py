"""The exercises of notebook 05, the keyword auxiliary. No model is loaded: small random tensors stand in for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course.exercises.exercise import Answer, exercise, expect, expect_number, expect_tensor, gap

SENTENCES = torch.tensor([[5, 3, 4, 3, 1, 0], [3, 6, 2, 1, 0, 0], [4, 2, 6, 7, 5, 1], [2, 7, 1, 0, 0, 0]])
KEYWORDS = torch.tensor([3, 3, 1, 0])  # twice in its row, the first word, the last token, nothing asked


@exercise(
    "5.1",
    hints=(
        "Which tokens have been read when token t is about to be said? Is token t one of them?",
        "`(token_ids == keyword_ids[:, None]).cumsum(1) > 0` also knows about token t. Move it on by one.",
        "F.pad(hits, (1, 0))[:, :-1] moves every column one to the right; then | (keyword_ids == 0)[:, None].",
    ),
)
def already_seen(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Whether the keyword stands before each token: ``[B, T]`` and ``[B]`` to ``[B, T]``, True and False."""
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return F.pad(hits, (1, 0))[:, :-1] | (keyword_ids == 0)[:, None]


@already_seen.examiner
def _(answer: Answer) -> str:
    asked = KEYWORDS != 0
    raw = answer(SENTENCES.clone(), KEYWORDS.clone())
    seen = expect_tensor(raw, (4, 6), "the flag")
    expect(raw.dtype == torch.bool, f"the flag must say True or False; yours has the type {raw.dtype}.")
    seen, is_keyword = seen.bool(), KEYWORDS[:, None] == SENTENCES
    hits = is_keyword.cumsum(1) > 0
    right = F.pad(hits, (1, 0))[:, :-1]
    known = {
        "True at the keyword itself: there the flag looks at the very token that is to be predicted, and gives the "
        "answer away.": hits,
        "True from the first token on wherever the keyword comes later: the flag has read the future.": (
            is_keyword.any(1, keepdim=True).expand_as(hits)
        ),
        "True only right after the keyword: what was seen stays seen.": F.pad(is_keyword, (1, 0))[:, :-1],
        "turned over: this says where the keyword is still missing.": ~right,
        "the first token's flag comes from the end of the row: `roll` carries the last column round to the front.": (
            hits.roll(1, 1)
        ),
    }
    for says, wrong in known.items():
        expect(not torch.equal(seen[asked], wrong[asked]), says)
    expect(
        torch.equal(seen[asked], right[asked]), "a keyword at place t must be seen from place t + 1 on, and only so."
    )
    expect(
        bool(seen[~asked].all()),
        "a row with keyword 0 is asked for nothing: nothing is missing there, so True everywhere.",
    )
    for size in ((1, 3), (9, 17)):
        tokens, keys = torch.randint(1, 8, size), torch.randint(1, 8, size[:1])
        before = torch.stack([(tokens[:, :t] == keys[:, None]).any(1) for t in range(size[1])], 1)
        flag = expect_tensor(answer(tokens, keys), size, "the flag").bool()
        expect(torch.equal(flag, before), f"wrong for some of {size[0]} random sentences of {size[1]} tokens.")
    return "knows every token before the one to be said, and none after; nothing asked means nothing missing."


@exercise(
    "5.2",
    hints=(
        "Only one column of each row changes, and another one in each sentence. Which tensor says which?",
        "`scatter_add` adds values at chosen places along an axis; index and values have the same shape, [B, T, 1].",
        "keyword_ids[:, None, None].expand(-1, T, 1) is the index, (boost * ~seen)[..., None] are the values.",
    ),
)
def boost_keyword(aux_logits: Tensor, boost: Tensor, keyword_ids: Tensor, seen: Tensor) -> Tensor:
    """Add ``boost [B, T]`` to each sentence's keyword while it is missing; ``[B, T, V]`` to ``[B, T, V]``."""
    index = keyword_ids[:, None, None].expand(-1, aux_logits.shape[1], 1)
    return aux_logits.scatter_add(-1, index, (boost * ~seen)[..., None])


@boost_keyword.examiner
def _(answer: Answer) -> str:
    logits, boost = torch.randn(3, 4, 6, dtype=torch.float64), 1 + torch.rand(3, 4, dtype=torch.float64)
    keys = torch.tensor([2, 5, 1])
    seen = torch.tensor([[False] * 4, [False, True, True, True], [False, False, False, True]])
    kept = logits.clone()
    said = expect_tensor(answer(logits, boost, keys, seen), (3, 4, 6), "the boosted logits")
    expect(
        torch.equal(logits, kept), "your function changed aux_logits itself: whoever still needs the old ones is lost."
    )
    mine = F.one_hot(keys, 6)[:, None].double()  # [B, 1, V]
    added, missing = said - kept, (~seen)[..., None].double()
    known = {
        "all words of the vocabulary were boosted: one constant for a whole row, which softmax does not see.": (
            (boost[..., None] * missing).expand(3, 4, 6)
        ),
        "the boost goes on after the keyword was said: the pair would say it again and again.": boost[..., None] * mine,
        "boosted where it was seen, silent where it is missing: the flag is turned over.": (
            boost[..., None] * mine * (1 - missing)
        ),
        "every sentence got the boosts of *all* keywords in the batch; each row has one of its own.": (
            boost[..., None] * missing * mine.sum(0)
        ),
        "the keyword's logit was replaced by the boost; what the auxiliary said before is lost, so add.": (
            (boost[..., None] - kept) * mine * missing
        ),
        "the keyword's logit is the bare boost, and 0 after it was seen: `scatter` replaces, `scatter_add` adds.": (
            (boost[..., None] * missing - kept) * mine
        ),
        "the keyword is pushed down: the boost was subtracted.": -boost[..., None] * mine * missing,
    }
    for says, wrong in known.items():
        expect(gap(added, wrong) > 1e-9, says)
    right = boost[..., None] * mine * missing
    expect(gap(added, right) < 1e-9, f"off by up to {gap(added, right):.3f}; one logit a row may move, by its boost.")
    raw = answer(kept.requires_grad_(), boost.requires_grad_(), keys, seen)
    expect(raw.requires_grad, "no gradient passes: `detach` or `torch.no_grad` cuts off both the logits and the boost.")
    grads = torch.autograd.grad(raw.sum(), (kept, boost), allow_unused=True)
    expect(grads[1] is not None, "no gradient reaches the boost, and it is a part that must learn.")
    return "moves one logit a row, the keyword's, while it is missing, and leaves its input alone."


@exercise(
    "5.3",
    hints=(
        "Which entries of token_ids are no words? They must not be in the sum, nor in the number you divide by.",
        "The states were shifted when they were made: row t already predicts token t.",
        "F.cross_entropy(joint_logits.flatten(0, 1), token_ids.flatten(), ignore_index=0) does both.",
    ),
)
def loss_on_words(joint_logits: Tensor, token_ids: Tensor) -> Tensor:
    """Mean loss in nats over the real tokens: ``[B, T, V]`` and ``[B, T]`` to one number."""
    return F.cross_entropy(joint_logits.flatten(0, 1), token_ids.flatten(), ignore_index=0)


@loss_on_words.examiner
def _(answer: Answer) -> str:
    logits = (2 * torch.randn(4, 6, 9, dtype=torch.float64)).requires_grad_()
    raw = answer(logits, SENTENCES.clone())
    loss = expect_number(raw.detach() if isinstance(raw, Tensor) else raw, "the loss")
    log_probs, real = logits.detach().log_softmax(-1), SENTENCES != 0
    nats = -log_probs.gather(-1, SENTENCES[..., None])[..., 0]
    right = float(nats[real].mean())
    shifted = -log_probs[:, :-1].gather(-1, SENTENCES[:, 1:, None])[..., 0]
    known = {
        "blanks are counted as words: the pair would be trained to say nothing.": nats.mean(),
        "the blanks are out of the sum but still in the number that you divide by: long rows dilute the loss.": (
            nats[real].sum() / nats.numel()
        ),
        "first a mean for each sentence, then a mean of means: words of short sentences weigh more.": (
            torch.stack([row[ok].mean() for row, ok in zip(nats, real, strict=True)]).mean()
        ),
        "this is nats per sentence; asked for is the mean over words.": nats[real].sum() / len(nats),
        "this is the sum over all words; a mean does not depend on how many rows a batch has.": nats[real].sum(),
        "shifted twice: row t of the states already predicts token t.": shifted[real[:, 1:]].mean(),
        "these logits are softmaxed twice: cross_entropy takes logits, not probabilities.": (
            -log_probs.exp().log_softmax(-1).gather(-1, SENTENCES[..., None])[..., 0][real].mean()
        ),
    }
    for says, wrong in known.items():
        expect(abs(loss - float(wrong)) > 1e-9, f"{loss:.3f}: {says}")
    expect(abs(loss - right) < 1e-9, f"{loss:.3f} nats, expected {right:.3f}: the mean of −log p over the real tokens.")
    expect(
        isinstance(raw, Tensor) and raw.requires_grad, "no gradient reaches the logits; return a tensor, not a float."
    )
    (grad,) = torch.autograd.grad(raw, logits)
    expect(gap(grad[~real], torch.zeros(int((~real).sum()), 9)) == 0, "a blank's logits still get a gradient.")
    return "is the mean of −log p over words, and blanks have no part in it."


@exercise(
    "5.4",
    hints=(
        "What did the told auxiliary gain *because it was told*? Against whom must it be compared?",
        "The most that could be gained on one sentence is −log of its keyword's base rate. Average before you divide.",
        "(untold_nll - told_nll).mean() / -base_rate.log().mean()",
    ),
)
def share_of_ceiling(lm_nll: Tensor, untold_nll: Tensor, told_nll: Tensor, base_rate: Tensor) -> Tensor:
    """What part of the possible gain by conditioning was reached: four ``[B]`` to one number."""
    return (untold_nll - told_nll).mean() / -base_rate.log().mean()


@share_of_ceiling.examiner
def _(answer: Answer) -> str:
    rate = torch.tensor([0.5, 0.01, 0.05, 0.1, 0.2, 0.02], dtype=torch.float64)
    lm = 20 + 3 * torch.randn(6, dtype=torch.float64)
    untold = lm - 0.4 - 0.2 * torch.rand(6, dtype=torch.float64)
    told = untold + 0.8 * rate.log() + 0.3 * torch.randn(6, dtype=torch.float64)
    share = expect_number(answer(lm, untold, told, rate), "the share")
    gain, ceiling = untold - told, -rate.log()
    known = {
        "adaptation is counted as control: compare with the untold auxiliary, not with the language model.": (
            (lm - told).mean() / ceiling.mean()
        ),
        "this is adaptation, what can be had without being told.": (lm - untold).mean() / ceiling.mean(),
        "a mean of ratios: one frequent keyword, with little to gain, decides it. Average above and below the line.": (
            (gain / ceiling).mean()
        ),
        "the log of the average rate is not the average of the logs; each keyword has a ceiling of its own.": (
            gain.mean() / -rate.mean().log()
        ),
        "each ceiling was weighted by its rate once more; the sentences are already drawn as often as they come.": (
            gain.mean() / -(rate * rate.log()).sum()
        ),
        "the ceiling is in bits, the losses are in nats.": gain.mean() / -(rate.log() / math.log(2)).mean(),
        "these are per cent; asked for is a share, 1 where all was reached.": 100 * gain.mean() / ceiling.mean(),
        "the sign is turned: a loss that falls is a gain.": -gain.mean() / ceiling.mean(),
        "this is the gain in nats; divide it by the most that could be gained.": gain.mean(),
    }
    for says, wrong in known.items():
        expect(abs(share - float(wrong)) > 1e-9, f"{share:.3f}: {says}")
    right = float(gain.mean() / ceiling.mean())
    expect(abs(share - right) < 1e-9, f"{share:.3f}, expected {right:.3f}: mean gain over mean ceiling.")
    perfect = expect_number(answer(lm, untold, untold + rate.log(), rate), "the share")
    expect(abs(perfect - 1) < 1e-9, f"an auxiliary that gains all there is to gain gets {perfect:.3f}, not 1.")
    return "is 1 where every keyword gained all it could, and adaptation has no part in it."
