"""Against what? Systems that leave the expert frozen and put something beside it.

Ours is one of them, `AuxiliaryTuned`. The others are rebuilt from their published formulas: a prefix classifier as in
FUDGE, a pair of a steered and an unsteered model as in DExperts, a shift by word similarity as in K2T, and a rule that
forces the word when the sentence is about to end. Last, the truth, which no model can beat.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from auxlib.frozen import Expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.storyland import Storyland
from experiments.baselines.prefix import Prefixed
from experiments.baselines.reading import DecodingContext, Memory, System, part_of, unread
from experiments.baselines.story_auxiliary import Gate, StoryAuxiliary, StoryAuxiliaryConfig

CERTAIN = 20.0  # log-odds of what is known for sure


class FrozenExpertSystem(System):
    """A frozen expert, and room for something beside it."""

    def __init__(self, expert: Expert) -> None:
        super().__init__()
        self.expert = expert.model

    def states(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """The expert's hidden states ``[B, T, D]`` at the places not in memory yet; cached features are taken."""
        if reading.hidden is not None:
            return reading.hidden
        new, cache = unread(reading, memory)
        with torch.no_grad():
            return self.expert.model(new, past_key_values=cache, use_cache=cache is not None).last_hidden_state

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """The expert alone: ``lm_logits [B, T, V]``."""
        return self.expert.lm_head(self.states(reading, memory))


class AuxiliaryTuned(FrozenExpertSystem):
    """``softmax(lm_logits + λ · aux_logits)`` (Zeldes et al. 2020), the auxiliary reading the expert's states.

    Args:
        told: without it every keyword reads as "nothing": the control that measures adaptation.
    """

    def __init__(self, expert: Expert, auxiliary: StoryAuxiliary, weight: float = 1.0, told: bool = True) -> None:
        super().__init__(expert)
        self.auxiliary, self.weight, self.told = auxiliary, weight, told

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        hidden = self.states(reading, memory)
        seen = reading.seen[:, -hidden.shape[1] :]
        return self.auxiliary(hidden, reading.keyword_ids * self.told, seen, self.weight)


class SharedLogits(System):
    """The auxiliary on top of a language model that learns with it: the same aids, and nothing frozen.

    Built on a model from scratch it tells how much of an advantage comes from the auxiliary's design, and how much from
    the frozen expert.
    """

    def __init__(self, lm: nn.Module, config: StoryAuxiliaryConfig) -> None:
        super().__init__()
        self.lm, self.auxiliary = lm, StoryAuxiliary(lm.lm_head.weight, config)
        self.auxiliary.unembed = lm.lm_head

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        new, cache = unread(reading, memory)
        hidden = self.lm.model(new, past_key_values=cache, use_cache=cache is not None).last_hidden_state
        return self.auxiliary(hidden, reading.keyword_ids, reading.seen[:, -hidden.shape[1] :])


class OwnTrunk(FrozenExpertSystem):
    """An independent network reads keyword and text itself, and no state of the expert; its own head starts at zero."""

    def __init__(self, expert: Expert, auxiliary: Prefixed) -> None:
        super().__init__(expert)
        self.auxiliary, shape = auxiliary, auxiliary.lm.config
        auxiliary.lm.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        nn.init.zeros_(auxiliary.lm.lm_head.weight)

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        return super().forward(reading, memory) + self.auxiliary(reading, part_of(memory, "auxiliary"))


class DExperts(FrozenExpertSystem):
    """``lm_logits + α (told − untold)``: two small models, one of them told the keyword (DExperts, Liu et al. 2021)."""

    def __init__(self, expert: Expert, conditional: Prefixed, unconditional: Prefixed, weight: float = 1.0) -> None:
        super().__init__(expert)
        self.given, self.withheld, self.weight = conditional, unconditional, weight

    def loss(self, reading: DecodingContext, token_ids: Tensor) -> Tensor:
        """Each of the two learns by itself, as if there were no expert: the sum of their losses."""
        return self.given.loss(reading, token_ids) + self.withheld.loss(reading, token_ids)

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Joint logits ``[B, T, V]``."""
        conditional = self.given(reading, part_of(memory, "told"))
        unconditional = self.withheld(reading, part_of(memory, "untold"))
        return super().forward(reading, memory) + self.weight * (conditional - unconditional)


class Fudge(FrozenExpertSystem):
    """``log p(v | x_<t) + λ log p(c | x_<t v)`` with a classifier of prefixes (FUDGE, Yang and Klein 2021).

    It reads the same frozen states as our auxiliary, through the same two layers, but it must be asked about every
    candidate word, after the expert has read that word. Only the expert's ``candidates`` most likely words are.

    Args:
        base_rates: ``[V]``, how often each word is in a training sentence. Training pairs are balanced, half of them
            right; these turn its odds back into those of the language.
    """

    base_rates: Tensor
    scores = False  # a word that is no candidate has no probability

    def __init__(self, expert: Expert, base_rates: Tensor, width: int, candidates: int = 32, weight: float = 1.0):
        super().__init__(expert)
        W = expert.unembedding
        self.gate, self.mix, self.out = Gate(W, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.register_buffer("base_rates", base_rates.clamp(1e-4, 1 - 1e-4))
        self.candidates, self.weight = candidates, weight

    def loss(self, reading: DecodingContext, token_ids: Tensor) -> Tensor:
        """Binary cross-entropy on all prefixes, with each sentence's own keyword and with its neighbour's."""
        hidden, foreign = self.states(reading), reading.keyword_ids.roll(1)
        real, absent = token_ids != BLANK, ~(token_ids == foreign[:, None]).any(1, keepdim=True)
        own = -F.logsigmoid(self.odds(hidden, reading.keyword_ids, reading.seen))[real]
        other = -F.logsigmoid(-self.odds(hidden, foreign, torch.zeros_like(reading.seen)))[real & absent]
        return (own.mean() + other.mean()) / 2

    def odds(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor) -> Tensor:
        """Balanced log-odds that the sentence will hold the keyword, ``[B, T]``; states are those after the prefix."""
        u = self.gate(hidden, keyword_ids, seen)
        return self.out(u + F.gelu(self.mix(u)))[..., 0]

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Logits ``[B, 1, V]`` of the next token; the words that are not candidates get ``-inf``."""
        memory = {} if memory is None else memory
        lm_log_probs = super().forward(reading, memory)[:, -1].log_softmax(-1)
        best, words = lm_log_probs.topk(self.candidates)
        log_h = self._log_h(reading, words, memory["cache"])
        return torch.full_like(lm_log_probs, -math.inf).scatter(1, words, best + self.weight * log_h)[:, None]

    def _log_h(self, reading: DecodingContext, words: Tensor, cache: DynamicCache) -> Tensor:
        """log p(keyword in sentence | prefix and candidate), ``[B, K]``.

        The expert reads all candidates at once, each after the prefix and blind to the others, and forgets them again.
        """
        B, K = words.shape
        T = cache.get_seq_length()
        alone = torch.cat([torch.ones(K, T, dtype=torch.bool), torch.eye(K, dtype=torch.bool)], 1)
        read = self.expert.model(
            words, attention_mask=alone.expand(B, 1, K, T + K), position_ids=torch.full((B, K), T),
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        cache.crop(-K)
        seen = reading.seen[:, -1:] | (words == reading.keyword_ids[:, None])
        odds = self.odds(read.last_hidden_state, reading.keyword_ids, seen)
        odds = odds + self.base_rates[reading.keyword_ids].logit()[:, None]
        over = words == self.full_stop
        return F.logsigmoid(odds.masked_fill(seen, CERTAIN).masked_fill(over & ~seen, -CERTAIN))

    @property
    def full_stop(self) -> int:
        """A sentence that is over holds its keyword or does not; nobody needs to ask a classifier."""
        return self.expert.config.eos_token_id


class K2T(FrozenExpertSystem):
    """``lm_logits + λ max(0, cos(v, keyword))`` until the word is said (K2T, Pascual et al. 2021). Nothing learns.

    Similarity is that of the expert's own word vectors. K2T's guarantee, a λ that grows until the word must come, is
    left to `Forced`.
    """

    def __init__(self, expert: Expert, weight: float = 1.0) -> None:
        super().__init__(expert)
        self.weight = weight
        rows = F.normalize(expert.unembedding, dim=-1)
        self.register_buffer("similarity", (rows @ rows.T).clamp(min=0), persistent=False)

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Shifted logits ``[B, T, V]``."""
        lm_logits = super().forward(reading, memory)
        T = lm_logits.shape[1]
        push = self.weight * self.similarity[reading.keyword_ids][:, None]
        return lm_logits + push * ~reading.seen[:, -T:, None]


class Forced(FrozenExpertSystem):
    """The expert until it would end the sentence without the keyword; then the keyword takes the full stop's place.

    An upper bound for accuracy, and a lower one for what force does to a sentence.
    """

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Logits ``[B, T, V]``, the full stop's mass on the keyword as long as that is missing."""
        lm_logits = super().forward(reading, memory)
        stop = self.expert.config.eos_token_id
        index = reading.keyword_ids[:, None, None].expand(-1, lm_logits.shape[1], 1)
        both = torch.logaddexp(lm_logits.gather(2, index), lm_logits[..., stop : stop + 1])
        forced = lm_logits.scatter(2, index, both).index_fill(2, torch.tensor([stop]), -math.inf)
        return torch.where(reading.seen[:, -lm_logits.shape[1] :, None], lm_logits, forced)


class Truth(System):
    """The exact p(sentence | keyword) of the world."""

    def __init__(self, world: Storyland) -> None:
        super().__init__()
        self.world = world

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Exact log-probabilities, ``[B, T, V]``; with a memory only the last place."""
        read, keyword_ids = reading.token_ids, reading.keyword_ids
        prior = self.world.next_log_probs(read)[:, 1:]  # what can be said after nothing, of which <s> says nothing
        log_probs = prior + self.world.exact_aux_logits(read, keyword_ids)[:, 1:]
        log_probs[..., self.world.ids[FULL_STOP]] = log_probs[..., self.world.ids[FULL_STOP]].nan_to_num(neginf=-1e9)
        return log_probs if memory is None else log_probs[:, -1:]
