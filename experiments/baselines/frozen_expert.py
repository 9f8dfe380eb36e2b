"""Systems that leave the expert frozen: ours, baselines from their published formulas, and the exact posterior.

The baselines are a prefix classifier (FUDGE), a conditional and an unconditional small model (DExperts), a shift by
word similarity (K2T), and a hard constraint at the end of the sentence. The exact posterior bounds them all.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from auxlib.frozen import Expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.storyland import Storyland
from experiments.baselines.decoding import DecodingContext, Memory, System, part_of, unread
from experiments.baselines.prefix import Prefixed
from experiments.baselines.story_auxiliary import Gate, StoryAuxiliary, StoryAuxiliaryConfig

CERTAIN = 20.0  # log-odds of a certain event


class FrozenExpertSystem(System):
    """The frozen expert alone, and the base class of systems beside it."""

    def __init__(self, expert: Expert) -> None:
        super().__init__()
        self.expert = expert.model

    def states(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return the expert's states ``[B, T, D]`` at the positions not in memory yet, or the context's cached ones."""
        if context.hidden is not None:
            return context.hidden
        new, cache = unread(context, memory)
        with torch.no_grad():
            return self.expert.model(new, past_key_values=cache, use_cache=cache is not None).last_hidden_state

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return the expert's ``lm_logits [B, T, V]``."""
        return self.expert.lm_head(self.states(context, memory))


class AuxiliaryTuned(FrozenExpertSystem):
    """``softmax(lm_logits + λ · aux_logits)`` (Zeldes et al. 2020), the auxiliary reading the expert's states.

    Args:
        conditional: if False every keyword is replaced by none, which measures adaptation alone.
    """

    def __init__(
        self, expert: Expert, auxiliary: StoryAuxiliary, weight: float = 1.0, conditional: bool = True
    ) -> None:
        super().__init__(expert)
        self.auxiliary, self.weight, self.conditional = auxiliary, weight, conditional

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        hidden = self.states(context, memory)
        seen = context.seen[:, -hidden.shape[1] :]
        return self.auxiliary(hidden, context.keyword_ids * self.conditional, seen, self.weight)


class SharedLogits(System):
    """An auxiliary on a language model that is trained with it: the same architecture, and nothing frozen.

    On a model from scratch it separates the effect of the auxiliary's design from that of the frozen expert.
    """

    def __init__(self, lm: Any, config: StoryAuxiliaryConfig) -> None:
        super().__init__()
        self.lm = lm
        self.auxiliary = StoryAuxiliary(lm.lm_head.weight, config)
        self.auxiliary.unembed = lm.lm_head

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        new, cache = unread(context, memory)
        hidden = self.lm.model(new, past_key_values=cache, use_cache=cache is not None).last_hidden_state
        return self.auxiliary(hidden, context.keyword_ids, context.seen[:, -hidden.shape[1] :])


class IndependentAuxiliary(FrozenExpertSystem):
    """An auxiliary that reads keyword and text itself, without the expert's states; its output layer starts at zero."""

    def __init__(self, expert: Expert, auxiliary: Prefixed) -> None:
        super().__init__(expert)
        self.auxiliary, shape = auxiliary, auxiliary.lm.config
        auxiliary.lm.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        nn.init.zeros_(auxiliary.lm.lm_head.weight)

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        return super().forward(context, memory) + self.auxiliary(context, part_of(memory, "auxiliary"))


class DExperts(FrozenExpertSystem):
    """``lm_logits + α (conditional − unconditional)`` with two small models (DExperts, Liu et al. 2021)."""

    def __init__(self, expert: Expert, conditional: Prefixed, unconditional: Prefixed, weight: float = 1.0) -> None:
        super().__init__(expert)
        self.conditional, self.unconditional, self.weight = conditional, unconditional, weight

    def loss(self, context: DecodingContext, token_ids: Tensor) -> Tensor:
        """Return the sum of both models' losses; each is trained without the expert."""
        return self.conditional.loss(context, token_ids) + self.unconditional.loss(context, token_ids)

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return joint logits ``[B, T, V]``."""
        conditional = self.conditional(context, part_of(memory, "conditional"))
        unconditional = self.unconditional(context, part_of(memory, "unconditional"))
        return super().forward(context, memory) + self.weight * (conditional - unconditional)


class Fudge(FrozenExpertSystem):
    """``log p(v | x_<t) + λ log p(c | x_<t v)`` with a classifier of prefixes (FUDGE, Yang and Klein 2021).

    It reads the same frozen states as our auxiliary through the same two layers, but must be evaluated for every
    candidate word, after the expert has read that word. Candidates are the expert's most likely words.

    Args:
        base_rates: ``[V]``, the share of training sentences with each word. Training pairs are balanced, half of them
            positive; the base rates turn the classifier's odds back into those of the language.
    """

    base_rates: Tensor
    scores = False  # a word outside the candidates has no probability

    def __init__(self, expert: Expert, base_rates: Tensor, width: int, candidates: int = 32, weight: float = 1.0):
        super().__init__(expert)
        W = expert.unembedding
        self.gate, self.mix, self.out = Gate(W, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.register_buffer("base_rates", base_rates.clamp(1e-4, 1 - 1e-4))
        self.candidates, self.weight = candidates, weight

    def loss(self, context: DecodingContext, token_ids: Tensor) -> Tensor:
        """Return binary cross-entropy on all prefixes, with each sentence's keyword and with its neighbour's."""
        hidden, foreign = self.states(context), context.keyword_ids.roll(1)
        real, absent = token_ids != BLANK, ~(token_ids == foreign[:, None]).any(1, keepdim=True)
        own = -F.logsigmoid(self.odds(hidden, context.keyword_ids, context.seen))[real]
        other = -F.logsigmoid(-self.odds(hidden, foreign, torch.zeros_like(context.seen)))[real & absent]
        return (own.mean() + other.mean()) / 2

    def odds(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor) -> Tensor:
        """Return balanced log-odds of the keyword in the sentence, ``[B, T]``, from the states after each prefix."""
        u = self.gate(hidden, keyword_ids, seen)
        return self.out(u + F.gelu(self.mix(u)))[..., 0]

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return logits ``[B, 1, V]`` of the next token; words outside the candidates get ``-inf``."""
        memory = {} if memory is None else memory
        lm_log_probs = super().forward(context, memory)[:, -1].log_softmax(-1)
        best, words = lm_log_probs.topk(self.candidates)
        log_h = self._log_h(context, words, memory["cache"])
        return torch.full_like(lm_log_probs, -math.inf).scatter(1, words, best + self.weight * log_h)[:, None]

    def _log_h(self, context: DecodingContext, words: Tensor, cache: DynamicCache) -> Tensor:
        """Return log p(keyword in sentence | prefix, candidate), ``[B, K]``.

        The expert reads all candidates at once, each masked from the others; then they are cropped from the cache.
        """
        B, K = words.shape
        T = cache.get_seq_length()
        alone = torch.cat([torch.ones(K, T, dtype=torch.bool), torch.eye(K, dtype=torch.bool)], 1)
        read = self.expert.model(
            words,
            attention_mask=alone.expand(B, 1, K, T + K),
            position_ids=torch.full((B, K), T),
            past_key_values=cache,
            use_cache=True,
        )
        cache.crop(-K)
        seen = context.seen[:, -1:] | (words == context.keyword_ids[:, None])
        odds = self.odds(read.last_hidden_state, context.keyword_ids, seen)
        odds = odds + self.base_rates[context.keyword_ids].logit()[:, None]
        over = words == self.full_stop
        return F.logsigmoid(odds.masked_fill(seen, CERTAIN).masked_fill(over & ~seen, -CERTAIN))

    @property
    def full_stop(self) -> int:
        """The id of the full stop; after it the condition is known, and the classifier is not needed."""
        return self.expert.config.eos_token_id


class K2T(FrozenExpertSystem):
    """``lm_logits + λ max(0, cos(v, keyword))`` until the word occurs (K2T, Pascual et al. 2021); no training.

    Similarity is that of the expert's word vectors. K2T's guarantee, a λ that grows along the sentence, is left to
    `LexicallyConstrained`.
    """

    similarity: Tensor

    def __init__(self, expert: Expert, weight: float = 1.0) -> None:
        super().__init__(expert)
        self.weight = weight
        rows = F.normalize(expert.unembedding, dim=-1)
        self.register_buffer("similarity", (rows @ rows.T).clamp(min=0), persistent=False)

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return shifted logits ``[B, T, V]``."""
        lm_logits = super().forward(context, memory)
        T = lm_logits.shape[1]
        push = self.weight * self.similarity[context.keyword_ids][:, None]
        return lm_logits + push * ~context.seen[:, -T:, None]


class LexicallyConstrained(FrozenExpertSystem):
    """The expert under a hard constraint: while the keyword is missing, it takes the full stop's probability.

    An upper bound for accuracy, and a baseline for the fluency that a constraint costs.
    """

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return logits ``[B, T, V]`` with the full stop's mass moved to the keyword while that is missing."""
        lm_logits = super().forward(context, memory)
        stop = self.expert.config.eos_token_id
        index = context.keyword_ids[:, None, None].expand(-1, lm_logits.shape[1], 1)
        both = torch.logaddexp(lm_logits.gather(2, index), lm_logits[..., stop : stop + 1])
        forced = lm_logits.scatter(2, index, both).index_fill(2, torch.tensor([stop]), -math.inf)
        return torch.where(context.seen[:, -lm_logits.shape[1] :, None], lm_logits, forced)


class ExactPosterior(System):
    """The exact p(sentence | keyword) of the world."""

    def __init__(self, world: Storyland) -> None:
        super().__init__()
        self.world = world

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return exact log-probabilities, ``[B, T, V]``; with a memory only the last position."""
        read, keyword_ids = context.token_ids, context.keyword_ids
        prior = self.world.next_log_probs(read)[:, 1:]  # <s> conditions on nothing, so position 0 is dropped
        log_probs = prior + self.world.exact_aux_logits(read, keyword_ids)[:, 1:]
        log_probs[..., self.world.ids[FULL_STOP]] = log_probs[..., self.world.ids[FULL_STOP]].nan_to_num(neginf=-1e9)
        return log_probs if memory is None else log_probs[:, -1:]
