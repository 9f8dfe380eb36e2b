"""Who judges fluency, when the expert is a party in the comparison?

A trigram model of sentences that no system was trained on. It knows little, but it owes nobody anything: a system that
stays close to SmolLM2 gains nothing by that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log

DISCOUNT, UNSEEN = 0.75, 0.5
Context = tuple[int, ...]


class TrigramJudge:
    """Interpolated absolute discounting (Ney, Essen and Kneser 1994) over token ids.

    Args:
        sequences: token ids of texts, each with its end.
        vocabulary: V; what was never seen shares the mass of half a count a token.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocabulary: int) -> None:
        self.counts: dict[Context, Counter[int]] = defaultdict(Counter)
        for sequence in sequences:
            for context, token in _steps(sequence):
                for length in range(len(context) + 1):
                    self.counts[context[len(context) - length :]][token] += 1
        self.unigram_total = self.counts[()].total() + UNSEEN * vocabulary

    def prob(self, token: int, context: Context) -> float:
        """p(token | up to two tokens before it)."""
        if not context:
            return (self.counts[()][token] + UNSEEN) / self.unigram_total
        lower, found = self.prob(token, context[1:]), self.counts.get(context)
        if found is None:
            return lower
        return (max(found[token] - DISCOUNT, 0.0) + DISCOUNT * len(found) * lower) / found.total()

    def slor(self, sequence: Sequence[int]) -> float:
        """``(log p − log p_unigram) / tokens`` of a text, in nats; without its end, which favours short texts."""
        gained = [log(self.prob(token, context) / self.prob(token, ())) for context, token in _steps(sequence)]
        return sum(gained) / len(gained)


def _steps(sequence: Sequence[int]) -> list[tuple[Context, int]]:
    """Every token with the two before it; before the first there is a mark, which is -1."""
    marked = (-1, -1, *sequence)
    return [(tuple(marked[i : i + 2]), token) for i, token in enumerate(sequence)]
