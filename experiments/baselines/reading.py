"""What may a system look at before it speaks, and how does it write?

Every system of the comparison, ours or another's, answers one question: given `Reading`, what are the logits of the
next token? Loss, score and sampler are then the same lines for all of them, and a difference between two figures is a
difference between two systems.

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
Memory: TypeAlias = dict[str, Any]  # what a system keeps between two steps of writing: a cache for each of its models


@dataclass(frozen=True)
class DecodingContext:
    """What is known before each token is said.

    Attributes:
        token_ids: ``[B, T]``, ``<s>`` and the words read so far.
        keyword_ids: ``[B]``, the condition; 0 asks for nothing.
        seen: ``[B, T]``, whether the keyword is among the words read.
        hidden: ``[B, T, D]``, the frozen expert's states there, if they are known already.
    """

    token_ids: Tensor
    keyword_ids: Tensor
    seen: Tensor
    hidden: Tensor | None = None

    @classmethod
    def before(cls, token_ids: Tensor, keyword_ids: Tensor, hidden: Tensor | None = None) -> DecodingContext:
        """What is known before each token of whole sentences ``[B, T]``: the shift by one, made only here."""
        read = F.pad(token_ids, (1, 0), value=BLANK)[:, :-1]
        return cls(read, keyword_ids, _seen(read, keyword_ids), hidden)

    def then(self, token_ids: Tensor) -> DecodingContext:
        """The same with one more token ``[B, 1]`` read."""
        read = torch.cat([self.token_ids, token_ids], 1)
        return DecodingContext(read, self.keyword_ids, _seen(read, self.keyword_ids))


def _seen(read: Tensor, keyword_ids: Tensor) -> Tensor:
    return ((read == keyword_ids[:, None]) & (read != BLANK)).cumsum(1) > 0


class System(nn.Module):
    """A model of p(sentence | keyword): anything that says logits of the next token.

    ``weight`` is its dial, if it has one; ``scores`` is False where it cannot give the likelihood of a given sentence.
    """

    weight: float = 1.0
    scores: bool = True

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Logits ``[B, T, V]`` at the places of ``reading`` that are not in memory yet (all of them without one)."""
        raise NotImplementedError

    def loss(self, reading: DecodingContext, token_ids: Tensor) -> Tensor:
        """What training lowers: mean nats over the real tokens of ``token_ids [B, T]``."""
        return F.cross_entropy(self(reading).flatten(0, 1), token_ids.flatten(), ignore_index=BLANK)


def unread(reading: DecodingContext, memory: Memory | None, front: int = 0) -> tuple[Tensor, DynamicCache | None]:
    """The tokens that a system's one model has not read, and its key-value cache: none when nothing is to be kept.

    ``front`` places before the first token are in the cache as well.
    """
    cache = None if memory is None else memory.setdefault("cache", DynamicCache())
    return reading.token_ids[:, 0 if cache is None else max(0, cache.get_seq_length() - front) :], cache


def part_of(memory: Memory | None, name: str) -> Memory | None:
    """The memory of one of a system's several models."""
    return None if memory is None else memory.setdefault(name, {})


@torch.no_grad()
def sequence_nll(system: System, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """−log q(sentence | keyword) of whole sentences ``[B, T]``, in nats, ``[B]``."""
    logits = _words_only(system(DecodingContext.before(token_ids, keyword_ids)))
    return F.cross_entropy(logits.transpose(1, 2), token_ids, ignore_index=BLANK, reduction="none").sum(1)


@torch.no_grad()
def write(
    system: System, keyword_ids: Tensor, full_stop: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one sentence for each keyword ``[B]``: token ids ``[B, T]`` and their log q in nats, ``[B]``.

    Plain sampling: temperature 1, no nucleus. What a system gives to impossible words shows.
    """
    B = len(keyword_ids)
    memory, rows, log_q = {}, [], torch.zeros(B)
    done = torch.zeros(B, 1, dtype=torch.bool)
    reading = DecodingContext(torch.full((B, 1), BLANK), keyword_ids, torch.zeros(B, 1, dtype=torch.bool))
    while len(rows) < LONGEST and not bool(done.all()):
        log_probs = _words_only(system(reading, memory)[:, -1:]).float().log_softmax(-1)[:, 0]
        tokens = torch.multinomial(log_probs.exp(), 1, generator=generator)
        log_q += log_probs.gather(1, tokens).masked_fill(done, 0.0)[:, 0]
        rows.append(tokens.masked_fill(done, BLANK))
        done |= tokens == full_stop
        reading = reading.then(rows[-1])
    return torch.cat(rows, 1), log_q


def _words_only(logits: Tensor) -> Tensor:
    """``<s>`` is never said: without it, a system's distribution is one over sentences."""
    return logits.index_fill(-1, torch.tensor([BLANK]), -torch.inf)
