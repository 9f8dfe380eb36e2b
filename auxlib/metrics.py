"""How good, and at what cost?

Keyword control is judged by accuracy beside its base rate, fluency by SLOR under a judge that reads every sample in a
context of its own, drift by the divergence from the frozen model. Nothing is clipped and no sample is left out.
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
    """Wilson's 95 % interval of a rate (Wilson 1927): honest near 0 and 1, where the normal one is not."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"need 0 ≤ hits ≤ n and n > 0, got {hits} of {n}.")
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Control:
    """How often samples hold their keyword: strictly (whole word), by stem, and by chance."""

    accuracy: float
    interval: tuple[float, float]
    stem_accuracy: float
    base_rate: float
    n: int


def keyword_control(samples: Sequence[str], keywords: Sequence[str], unsteered: Sequence[str]) -> Control:
    """Score continuations against the keyword of each, and the frozen model's own against the same keywords.

    Args:
        samples, keywords: one each; continuations only, without what the model was given.
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

    P_M is a language model, P_u a unigram model with the same tokens: what a sentence is worth beyond its words.

    Args:
        judge: the language model. Judging with the very expert that is steered favours staying close to it: say so.
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
        """One value a text, in nats per token; NaN for an empty text, which has none.

        Each text is read after the end-of-text mark alone and nothing else. The first token counts as well.
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
    """The least KL(q‖p) in nats at which any q can fulfil requests with rate ``success``: the frontier of control.

    Args:
        success: the wanted rate over all requests.
        base_rates: ``[C]``, how often p fulfils each request by chance.
        shares: ``[C]``, how often each is made.

    One request costs at least ``kl_bernoulli(success‖base rate)``; over many, the cheapest way raises all log-odds by
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
    """The mean of the values that exist (an empty sample has no SLOR, but does count as a miss in accuracy)."""
    real = [value for value in values if not math.isnan(value)]
    return sum(real) / len(real) if real else math.nan


def distinct(texts: Sequence[str], n: int) -> float:
    """Share of different n-grams of words among all: 1 when nothing is ever said twice."""
    grams = [
        tuple(words[i : i + n]) for words in (text.lower().split() for text in texts) for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def repeats_keyword(text: str, keyword: str) -> bool:
    """Whether the keyword occurs twice or more: the sign of pressing too hard."""
    return count_keyword(text, keyword) > 1
