"""How good are sentences of Storyland, judged by its own truth?

No model judges here. Whether a sentence can be said at all, and how likely it is, is known exactly; nothing is clipped
and no sample is left out. Axes: ``B`` sentences, ``T`` tokens, ``V`` words.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.worlds.automaton import BLANK
from auxlib.worlds.storyland import Storyland

DOUBT = 0.01  # how sure the judge is that a sentence follows the grammar: all but this
LOOSE = 0.1  # share of the unigram in the judge's second opinion, so that no word is impossible


def holds_keyword(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Whether each sentence ``[B, T]`` says its keyword ``[B]``, as a whole word; ``[B]``."""
    return (token_ids == keyword_ids[:, None]).any(1)


def distinct_pairs(token_ids: Tensor) -> float:
    """Share of different pairs of neighbouring words among all pairs (distinct-2)."""
    pairs = torch.stack([token_ids[:, :-1], token_ids[:, 1:]], -1)[token_ids[:, 1:] != BLANK]
    return len(pairs.unique(dim=0)) / max(1, len(pairs))


class StoryJudge:
    """Fluency of sentences under the true process of a world."""

    def __init__(self, world: Storyland) -> None:
        self.world = world
        self.bigram = world.bigram_log_probs().exp().nan_to_num()
        self.unigram = world.unigram_probs()

    def slor(self, token_ids: Tensor) -> Tensor:
        """``(log P(s) − log P_u(s)) / |s|`` in nats per token, ``[B]`` (Kann et al. 2018), P_u the world's word shares.

        P is the truth of a judge with a doubt: with 0.99 the sentence follows the grammar, with 0.01 only the world's
        best bigram (nine parts) and its word shares (one part). So a sentence that the grammar cannot say is not
        infinitely bad, but it does lose all that the grammar knows beyond pairs of words.
        """
        real = token_ids != BLANK
        before = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        loose = (1 - LOOSE) * self.bigram[before, token_ids] + LOOSE * self.unigram[token_ids]
        second = torch.where(real, loose.log(), 0.0).sum(1)
        log_p = torch.logaddexp(self.world.log_prob(token_ids) + log(1 - DOUBT), second + log(DOUBT))
        log_unigram = torch.where(real, self.unigram[token_ids].log(), 0.0).sum(1)
        return (log_p - log_unigram) / real.sum(1)
