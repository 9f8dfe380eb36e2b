"""What is the truth in a language of small stories? A grammar of our own, in which every probability can be computed.

Letters lists all its texts; Storyland has far too many, yet nothing here is estimated. A sentence walks through a
finite automaton, so the next word's distribution, the probability that a keyword is still to come, entropies and
information are look-ups and sums over its states. Axes: ``B`` sentences, ``T`` tokens, ``V`` words, ``S`` states.

A batch of texts is a tensor ``token_ids [B, T]``; token 0, ``<s>``, fills rows up and says nothing wherever it stands.
A row is a whole sentence, which ends in the full stop, or a prefix of one. What does not fit is a `WorldError`.
"""

from __future__ import annotations

from functools import cached_property
from math import log
from pathlib import Path

import torch
from torch import Tensor

from auxlib.data.assets import data_dir
from auxlib.errors import WorldError
from auxlib.worlds.automaton import BLANK, determinise
from auxlib.worlds.grammar import Grammar, read_grammar
from auxlib.worlds.lexicon import NOTHING, Lexicon

LONGEST = 10_000  # words; a sentence drawn from a grammar with loops may be long, but not endless


class Storyland(Lexicon):
    """A true process over sentences, with exact answers about keywords."""

    def __init__(self, grammar: Grammar) -> None:
        """Number the words of a grammar and work out its automaton."""
        super().__init__((arc.word for arc in grammar.arcs), grammar.content)
        self.automaton = determinise(grammar, self.ids)

    @classmethod
    def load(cls, path: Path | None = None) -> Storyland:
        """Read the course's own grammar, or another file of the same format."""
        return cls(read_grammar(path or data_dir() / "storyland" / "grammar.toml"))

    # the process

    def states(self, token_ids: Tensor) -> Tensor:
        """The automaton's state after 0, 1, … T tokens, ``[B, T]`` to ``[B, T + 1]``.

        Raises `WorldError` for a prefix of probability zero, and names the word at which it became so.
        """
        states = self._walk(token_ids)
        if bool((states < 0).any()):
            row, after = (states < 0).nonzero()[0].tolist()
            (text,), word = self.decode(token_ids[row : row + 1, : after - 1]), int(token_ids[row, after - 1])
            said = f"{self.vocabulary[word]!r} cannot follow {text!r}"
            raise WorldError(f"the prefix in row {row} has probability zero: {said} in this language.")
        return states

    def next_log_probs(self, token_ids: Tensor) -> Tensor:
        """log p(next word | first t tokens) for t = 0 … T, ``[B, T + 1, V]``; ``-inf`` is impossible."""
        return self.automaton.log_probs[self.states(token_ids)]

    def log_prob(self, token_ids: Tensor) -> Tensor:
        """log p of each row in nats, ``[B]``; ``-inf`` for what the grammar cannot say. A prefix is read as one."""
        states = self._walk(token_ids)[:, :-1]
        log_probs = self.automaton.log_probs[states, token_ids]  # once impossible, what follows cannot change it
        return log_probs.masked_fill(token_ids == BLANK, 0.0).sum(-1)

    def is_grammatical(self, token_ids: Tensor) -> Tensor:
        """Whether each row is a whole sentence of the language, ``[B]``."""
        return self._walk(token_ids)[:, -1] == self.automaton.end

    def sample(self, n: int, generator: torch.Generator | None = None, keyword_ids: Tensor | None = None) -> Tensor:
        """Draw n sentences, ``[n, T]``; with ``keyword_ids [n]`` each from p(x | its keyword is in x), exactly."""
        if keyword_ids is not None:
            self.check_keywords(keyword_ids, n)
        states, seen, rows = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.bool), []
        while bool((states != self.automaton.end).any()):
            words = self.automaton.choices[states]
            weights = self.automaton.probs[states[:, None], words]
            if keyword_ids is not None:
                weights = weights * self._ahead(states, seen, keyword_ids, words)
            tokens = words.gather(1, _draw(weights, generator))[:, 0]
            states, rows = self.automaton.step[states, tokens], [*rows, tokens]
            seen |= tokens == (BLANK if keyword_ids is None else keyword_ids)
            if len(rows) > LONGEST:
                raise WorldError(f"a sentence has passed {LONGEST} words; the grammar hardly ever ends one.")
        return torch.stack(rows, 1) if rows else NOTHING.expand(n, 0)

    # keywords

    def posterior(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """h = p(the keyword is in the sentence | first t tokens), t = 0 … T; ``[B, T]``, ``[B]`` to ``[B, T + 1]``."""
        states = self.states(token_ids)
        self.check_keywords(keyword_ids, len(token_ids))
        still = self.future_keyword_prob[states, keyword_ids[:, None]]
        return torch.where(_seen(token_ids, keyword_ids), 1.0, still)

    def keyword_log_odds(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """log h / (1 − h) for t = 0 … T, ``[B, T + 1]``: infinite once the keyword is certain or impossible."""
        return self.posterior(token_ids, keyword_ids).logit()

    def exact_aux_logits(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """log h(prefix·v) for t = 0 … T and every word v, ``[B, T + 1, V]``.

        Added to `next_log_probs` it gives p(v | prefix, the keyword is in the sentence); ``-inf`` is impossible.
        """
        states, every = self.states(token_ids), torch.arange(len(self.vocabulary))
        self.check_keywords(keyword_ids, len(token_ids))
        return self._ahead(states, _seen(token_ids, keyword_ids), keyword_ids[:, None], every).log()

    @cached_property
    def future_keyword_prob(self) -> Tensor:
        """P(word is said from here on | state) for every word, ``[S, V]``."""
        blocks = torch.arange(len(self.vocabulary)).split(100)  # each fits a processor's cache: five times faster
        return torch.cat([self.automaton.future_keyword_prob(words) for words in blocks], 1)

    @cached_property
    def words_per_sentence(self) -> int | None:
        """How many content words every sentence has, if it is the same number of different ones in all; else None."""
        source, word, target, _ = self.automaton.arcs
        content = self.is_content(word)
        again = self.future_keyword_prob[target[content], word[content]]
        fewest, most = (self._extreme_count(source, target, content.long(), best) for best in ("amin", "amax"))
        return fewest if fewest == most and float(again.max()) == 0 else None

    @property
    def keyword_probs(self) -> Tensor:
        """p(c = word) when the keyword is drawn evenly from a sentence's content words, ``[V]``; sums to one.

        Raises `WorldError` for a grammar whose sentences differ in their number of content words: there a keyword's
        posterior is size-biased, no longer containment.
        """
        if self.words_per_sentence is None:
            raise WorldError("sentences of this grammar differ in their number of different content words.")
        mask = torch.zeros(len(self.vocabulary), dtype=torch.float64).index_fill(0, self.content_ids, 1.0)
        return self.future_keyword_prob[0] * mask / self.words_per_sentence

    # information, in nats

    @cached_property
    def entropy(self) -> float:
        """Entropy of a sentence: Σ over states of visits × entropy of the next word."""
        probs = self.automaton.probs
        return -float((self.automaton.visits @ torch.special.xlogy(probs, probs)).sum())

    @property
    def mean_length(self) -> float:
        """Tokens of a sentence on average, the full stop included."""
        source, _, _, probs = self.automaton.arcs
        return float((self.automaton.visits[source] * probs).sum())

    @property
    def entropy_rate(self) -> float:
        """Nats per token: no model of this language can have a lower loss."""
        return self.entropy / self.mean_length

    @property
    def mutual_information(self) -> float:
        """I(X; C) of sentence and drawn keyword, nats per sentence: the most that knowing the keyword can save."""
        probs = self.keyword_probs
        return -float(torch.special.xlogy(probs, probs).sum()) - log(self.words_per_sentence or 1)

    def word_shares(self) -> Tensor:
        """How often each word is said among all words, ``[V]``; sums to one. The best model that remembers nothing."""
        source, word, _, probs = self.automaton.arcs
        shares = torch.zeros(len(self.vocabulary), dtype=torch.float64)
        return shares.index_add_(0, word, self.automaton.visits[source] * probs) / self.mean_length

    def bigram_log_probs(self) -> Tensor:
        """The best model that remembers one word: log p(next | last), ``[V, V]``; row 0 stands for the beginning.

        Nothing follows the full stop: its row is ``-inf``.
        """
        source, word, target, probs = self.automaton.arcs
        V = len(self.vocabulary)
        arriving = torch.zeros(len(self.automaton.step), V, dtype=torch.float64)  # visits, by the word that led here
        arriving[0, BLANK] = 1.0
        arriving.index_put_((target, word), self.automaton.visits[source] * probs, accumulate=True)
        counts = arriving.T @ self.automaton.probs
        return (counts / counts.sum(-1, keepdim=True).clamp_min(torch.finfo(counts.dtype).tiny)).log()

    def _ahead(self, states: Tensor, seen: Tensor, keyword_ids: Tensor, words: Tensor) -> Tensor:
        """h after each of the words that may be next, ``[...]`` to ``[..., D]``; 0 for what cannot follow."""
        states, keyword_ids = states[..., None], keyword_ids[..., None]
        still = self.future_keyword_prob[self.automaton.step[states, words], keyword_ids]
        h = still.masked_fill(seen[..., None] | (words == keyword_ids), 1.0)
        return h.masked_fill(self.automaton.probs[states, words] == 0, 0.0)

    def _walk(self, token_ids: Tensor) -> Tensor:
        self.check(token_ids)
        return self.automaton.walk(token_ids)

    def _extreme_count(self, source: Tensor, target: Tensor, says: Tensor, best: str) -> int:
        """The fewest or most content words that a whole sentence may have."""
        worst = len(self.automaton.step) * (1 if best == "amin" else -1)
        counts = torch.full((len(self.automaton.step),), worst)
        counts[self.automaton.end] = 0
        for _ in range(LONGEST):
            fresh = counts.scatter_reduce(0, source, says + counts[target], best)
            if bool((fresh == counts).all()) or int(fresh.max()) > LONGEST:
                break
            counts = fresh
        return int(counts[0])


def _draw(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One index from each row of weights, ``[B, D]`` to ``[B, 1]``, by its cumulative sum; 0 where all are 0."""
    cumulative = weights.cumsum(-1)
    height = 1 - torch.rand(len(weights), 1, generator=generator, dtype=torch.float64)  # in (0, 1]: never a zero weight
    return torch.searchsorted(cumulative, height * cumulative[:, -1:])


def _seen(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Whether the keyword is among the first t tokens, for t = 0 … T, ``[B, T + 1]``."""
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return torch.nn.functional.pad(hits, (1, 0))
