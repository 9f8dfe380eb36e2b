"""The interface of all systems in Storyland, with the loss, the score and the sampler that they share.

A system maps a `DecodingContext` to the logits of the next token. Loss, score and sampler are the same code for all of
them, so that a difference between two figures is a difference between two systems.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from auxlib.worlds.automaton import BLANK

LONGEST = 24  # tokens; the longest sentence of Storyland has 17
Memory: TypeAlias = dict[str, Any]  # kept between two decoding steps: a key-value cache for each model of a system


@dataclass(frozen=True)
class DecodingContext:
    """The prefix and the condition before each token.

    Attributes:
        token_ids: ``[B, T]``, ``<s>`` and the words so far.
        keyword_ids: ``[B]``, the condition; 0 is none.
        seen: ``[B, T]``, whether the keyword is among the words so far.
        hidden: ``[B, T, D]``, cached states of the frozen expert at these positions.
    """

    token_ids: Tensor
    keyword_ids: Tensor
    seen: Tensor
    hidden: Tensor | None = None

    @classmethod
    def before(cls, token_ids: Tensor, keyword_ids: Tensor, hidden: Tensor | None = None) -> DecodingContext:
        """Return the context of every token of complete sentences ``[B, T]``; the only place that shifts by one."""
        read = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        return cls(read, keyword_ids, _seen(read, keyword_ids), hidden)

    def then(self, token_ids: Tensor) -> DecodingContext:
        """Return the context extended by one token ``[B, 1]``."""
        read = torch.cat([self.token_ids, token_ids], 1)
        return DecodingContext(read, self.keyword_ids, _seen(read, self.keyword_ids))


def _seen(read: Tensor, keyword_ids: Tensor) -> Tensor:
    """Return whether each keyword ``[B]`` occurs up to each token, ``[B, T]``."""
    return ((read == keyword_ids[:, None]) & (read != BLANK)).cumsum(1) > 0


class System(nn.Module):
    """A model of p(sentence | keyword), given by the logits of the next token.

    ``weight`` is λ, where the system has one; ``scores`` is False if it cannot compute a given sentence's likelihood.
    """

    weight: float = 1.0
    scores: bool = True

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return logits ``[B, T, V]`` at the positions of ``context`` that are not in memory yet."""
        raise NotImplementedError

    def loss(self, context: DecodingContext, token_ids: Tensor) -> Tensor:
        """Return the training loss: mean cross-entropy in nats over the non-padding tokens of ``token_ids [B, T]``."""
        return F.cross_entropy(self(context).flatten(0, 1), token_ids.flatten(), ignore_index=BLANK)


def unread(context: DecodingContext, memory: Memory | None, front: int = 0) -> tuple[Tensor, DynamicCache | None]:
    """Return the tokens that a system's model has not read yet, and its key-value cache; without memory all, and None.

    The cache holds ``front`` positions before the first token as well.
    """
    cache = None if memory is None else memory.setdefault("cache", DynamicCache())
    return context.token_ids[:, 0 if cache is None else max(0, cache.get_seq_length() - front) :], cache


def part_of(memory: Memory | None, name: str) -> Memory | None:
    """Return the memory of one of a system's models."""
    return None if memory is None else memory.setdefault(name, {})


@torch.no_grad()
def sequence_nll(system: System, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Return −log q(sentence | keyword) of complete sentences ``[B, T]``, in nats, ``[B]``."""
    logits = _words_only(system(DecodingContext.before(token_ids, keyword_ids)))
    return F.cross_entropy(logits.transpose(1, 2), token_ids, ignore_index=BLANK, reduction="none").sum(1)


@torch.no_grad()
def write(
    system: System, keyword_ids: Tensor, full_stop: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample one sentence for each keyword ``[B]``: token ids ``[B, T]`` and their log q in nats, ``[B]``.

    At temperature 1 and without truncation, so that mass on impossible words shows.
    """
    B = len(keyword_ids)
    memory: Memory = {}
    rows: list[Tensor] = []
    log_q = torch.zeros(B)
    done = torch.zeros(B, 1, dtype=torch.bool)
    context = DecodingContext(torch.full((B, 1), BLANK), keyword_ids, torch.zeros(B, 1, dtype=torch.bool))
    while len(rows) < LONGEST and not bool(done.all()):
        log_probs = _words_only(system(context, memory)[:, -1:]).float().log_softmax(-1)[:, 0]
        tokens = torch.multinomial(log_probs.exp(), 1, generator=generator)
        log_q += log_probs.gather(1, tokens).masked_fill(done, 0.0)[:, 0]
        rows.append(tokens.masked_fill(done, BLANK))
        done |= tokens == full_stop
        context = context.then(rows[-1])
    return torch.cat(rows, 1), log_q


def _words_only(logits: Tensor) -> Tensor:
    """Mask ``<s>``, which no sentence contains, so that a system is a distribution over sentences."""
    return logits.index_fill(-1, torch.tensor([BLANK]), -torch.inf)
