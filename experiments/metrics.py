"""Metrics of controlled generation: keyword accuracy, SLOR, drift and diversity.

Keyword control is measured by accuracy beside its base rate, fluency by SLOR under a language model that reads every
sample in a context of its own, drift by the divergence from the frozen model. Nothing is clipped, no sample left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auxlib.features import TextTemplate, read_preamble, read_texts
from auxlib.frozen import Expert
from auxlib.keywords import contains_keyword, contains_stem, count_keyword
from auxlib.product import kl


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate (Wilson 1927), which is accurate near 0 and 1 as well."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"need 0 ≤ hits ≤ n and n > 0, got {hits} of {n}.")
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Control:
    """The rate of samples that hold their keyword: strictly (whole word), by stem, and by chance."""

    accuracy: float
    interval: tuple[float, float]
    stem_accuracy: float
    base_rate: float
    n: int


def keyword_control(samples: Sequence[str], keywords: Sequence[str], unsteered: Sequence[str]) -> Control:
    """Return the accuracy of continuations for their keywords, and the frozen model's own as base rate.

    Args:
        samples, keywords: one each; continuations only, without the prompt.
        unsteered: as many samples of the frozen model alone, for the base rate.
    """
    n = len(samples)
    hits = sum(map(contains_keyword, samples, keywords))
    return Control(
        accuracy=hits / n,
        interval=wilson(hits, n),
        stem_accuracy=sum(map(contains_stem, samples, keywords)) / n,
        base_rate=sum(map(contains_keyword, unsteered, keywords)) / n,
        n=n,
    )


class Slor:
    """Syntactic log-odds ratio: ``(log P_M(s) - log P_u(s)) / |s|`` (Pauls and Klein 2012; Kann et al. 2018).

    P_M is a language model, P_u a unigram model with the same tokens: fluency beyond the frequency of the words.

    Args:
        judge: the language model. A steered model's own expert as judge favours samples close to it: report it.
        reference: texts for the unigram counts (+0.5 smoothing).
    """

    def __init__(self, judge: Expert, reference: Sequence[str]) -> None:
        self.judge, self.frame = judge, TextTemplate((judge.end_of_text_id,), judge.end_of_text_id)
        counts: Counter[int] = Counter()
        for text in reference:
            counts.update(self._ids(text))
        table = torch.full((judge.unembedding.shape[0],), 0.5)
        table[list(counts)] += torch.tensor(list(counts.values()), dtype=torch.float32)
        self.log_unigram = (table / table.sum()).log()

    def _ids(self, text: str) -> list[int]:
        return self.judge.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], batch: int = 64) -> list[float]:
        """Return one value a text, in nats per token; NaN for an empty text.

        Each text is read after the end-of-text token alone. The first token counts as well.
        """
        prefix = read_preamble(self.judge, self.frame)
        encoded = [self._ids(text) for text in texts]
        values = [math.nan] * len(texts)
        order = sorted((i for i in range(len(texts)) if encoded[i]), key=lambda i: len(encoded[i]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            hidden = read_texts(self.judge, prefix, [encoded[i] for i in rows], self.frame)
            log_probs = (hidden @ self.judge.unembedding.T).float().log_softmax(-1)
            for i, row in zip(rows, log_probs, strict=True):
                ids = torch.tensor(encoded[i])
                gained = row[torch.arange(len(ids)), ids].cpu() - self.log_unigram[ids]
                values[i] = float(gained.mean())
        return values


def min_kl_for_success(success: float, base_rates: Tensor, shares: Tensor) -> float:
    """Return the least KL(q‖p) in nats at which any q meets conditions with rate ``success``: the control frontier.

    Args:
        success: the rate over all conditions.
        base_rates: ``[C]``, the rate at which p meets each condition by chance.
        shares: ``[C]``, the frequency of each condition.

    One condition costs at least ``kl_bernoulli(success‖base rate)``; over many, the cheapest way raises all log-odds by
    one and the same amount, which bisection finds (identity I21 of the course, with a Lagrange multiplier).
    """
    base_rates, shares = base_rates.double(), (shares / shares.sum()).double()
    odds = base_rates.logit()
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if float(shares @ torch.sigmoid(odds + middle)) > success else (middle, high)
    reached, by_chance = (torch.stack([x, -x], -1).sigmoid().log() for x in (odds + low, odds))
    return float(shares @ kl(reached, by_chance))


def nanmean(values: Sequence[float]) -> float:
    """Return the mean without NaN (an empty sample has no SLOR, but counts as a miss in accuracy)."""
    real = [value for value in values if not math.isnan(value)]
    return sum(real) / len(real) if real else math.nan


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of distinct n-grams of words (distinct-n, Li et al. 2016): 1 without any repetition."""
    grams = [
        tuple(words[i : i + n]) for words in (text.lower().split() for text in texts) for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def repeats_keyword(text: str, keyword: str) -> bool:
    """Return whether the keyword occurs twice or more, a sign of too large a weight."""
    return count_keyword(text, keyword) > 1
