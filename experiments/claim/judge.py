"""Control and fluency of Storyland's sentences, judged by the true process.

Whether a sentence is possible, and how likely it is, is known exactly; no model judges.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.worlds.automaton import BLANK
from auxlib.worlds.storyland import Storyland

DOUBT = 0.01  # prior of a sentence that does not follow the grammar
UNIGRAM_SHARE = 0.1  # of the mixture for such sentences, so that no word is impossible


def holds_keyword(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Return whether each sentence ``[B, T]`` contains its keyword ``[B]``, as a whole word; ``[B]``."""
    return (token_ids == keyword_ids[:, None]).any(1)


def distinct_pairs(token_ids: Tensor) -> float:
    """Return the share of distinct pairs of adjacent words (distinct-2)."""
    pairs = torch.stack([token_ids[:, :-1], token_ids[:, 1:]], -1)[token_ids[:, 1:] != BLANK]
    return len(pairs.unique(dim=0)) / max(1, len(pairs))


class StoryJudge:
    """Fluency of sentences under the true process of a world."""

    def __init__(self, world: Storyland) -> None:
        self.world = world
        self.bigram = world.bigram_log_probs().exp().nan_to_num()
        self.unigram = world.unigram_probs()

    def slor(self, token_ids: Tensor) -> Tensor:
        """Return ``(log P(s) − log P_u(s)) / |s|`` in nats per token, ``[B]`` (Kann et al. 2018), P_u the word shares.

        P mixes the true process (0.99) with nine parts of the world's best bigram and one of its word shares (0.01). So
        an ungrammatical sentence has finite SLOR, but loses what the grammar knows beyond pairs of words.
        """
        real = token_ids != BLANK
        before = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        loose = (1 - UNIGRAM_SHARE) * self.bigram[before, token_ids] + UNIGRAM_SHARE * self.unigram[token_ids]
        second = torch.where(real, loose.log(), 0.0).sum(1)
        log_p = torch.logaddexp(self.world.log_prob(token_ids) + log(1 - DOUBT), second + log(DOUBT))
        log_unigram = torch.where(real, self.unigram[token_ids].log(), 0.0).sum(1)
        return (log_p - log_unigram) / real.sum(1)
