"""An independent judge of fluency: a trigram model of sentences that no compared system was trained on.

A language model rates its own samples highly. Under this judge a system gains nothing by staying close to SmolLM2.
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
        sequences: token ids of texts, each with its end token.
        vocabulary: V; every token gets half a count more than it has.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocabulary: int) -> None:
        self.counts: dict[Context, Counter[int]] = defaultdict(Counter)
        for sequence in sequences:
            for context, token in _steps(sequence):
                for length in range(len(context) + 1):
                    self.counts[context[len(context) - length :]][token] += 1
        self.unigram_total = self.counts[()].total() + UNSEEN * vocabulary

    def prob(self, token: int, context: Context) -> float:
        """Return p(token | up to two tokens before it)."""
        if not context:
            return (self.counts[()][token] + UNSEEN) / self.unigram_total
        lower, counts = self.prob(token, context[1:]), self.counts.get(context)
        if counts is None:
            return lower
        return (max(counts[token] - DISCOUNT, 0.0) + DISCOUNT * len(counts) * lower) / counts.total()

    def slor(self, sequence: Sequence[int]) -> float:
        """Return ``(log p − log p_unigram) / tokens`` of a text in nats.

        The text comes without its end token, whose gain favours short texts.
        """
        gained = [log(self.prob(token, context) / self.prob(token, ())) for context, token in _steps(sequence)]
        return sum(gained) / len(gained)


def _steps(sequence: Sequence[int]) -> list[tuple[Context, int]]:
    """Return every token with the two before it; -1 pads the beginning."""
    marked = (-1, -1, *sequence)
    return [(tuple(marked[i : i + 2]), token) for i, token in enumerate(sequence)]
