"""Storyland: a language of small stories in which every probability is computed exactly.

The sentences are far too many to list, but each is a walk through a finite automaton: next-word distributions, the
probability that a keyword is still to come, entropies and information are look-ups and sums over its states.

Texts are ``token_ids [B, T]``: token 0, ``<s>``, is the blank, which pads rows and means nothing wherever it stands;
token 1 is the full stop. A row is a complete sentence, which ends in the full stop, or a prefix of one. Arguments that
do not fit the language raise a `WorldError`.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words including the blank, ``S`` states of the automaton.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from math import log
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from auxlib.data.assets import data_dir
from auxlib.errors import WorldError
from auxlib.worlds.automaton import BLANK, determinise
from auxlib.worlds.grammar import FULL_STOP, Grammar, read_grammar

MAX_WORDS = 10_000  # of a sampled sentence: a grammar with loops has no longest sentence
EMPTY = torch.zeros(0, dtype=torch.long)


class Lexicon:
    """The numbered words of a language; some of them, the content words, can become keywords."""

    def __init__(self, words: Iterable[str], content: Iterable[str]) -> None:
        self.vocabulary: tuple[str, ...] = ("<s>", FULL_STOP, *sorted(set(words) - {FULL_STOP}))
        self.ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.content_ids = torch.tensor(sorted(self.ids[word] for word in content if word in self.ids))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return sentences or prefixes as ``token_ids [B, T]``."""
        _check_list(texts)
        rows = [self.keyword_ids(text.lower().replace(FULL_STOP, f" {FULL_STOP}").split()) for text in texts]
        return pad_sequence(rows or [EMPTY], batch_first=True, padding_value=BLANK)[: len(rows)]

    def decode(self, token_ids: Tensor) -> list[str]:
        """Return ``[B, T]`` as readable sentences: a capital at the start, no space before the full stop."""
        self.check(token_ids)
        rows = [" ".join(self.vocabulary[token] for token in row if token != BLANK) for row in token_ids.tolist()]
        return [row[:1].upper() + row[1:].replace(f" {FULL_STOP}", FULL_STOP) for row in rows]

    def keyword_ids(self, words: Sequence[str]) -> Tensor:
        """Return the token of each word, ``[len(words)]``."""
        _check_list(words)
        if unknown := [word for word in words if word not in self.ids or word == self.vocabulary[BLANK]]:
            raise WorldError(f"{unknown[0]!r} is not one of the {len(self.ids) - 1} words of this language.")
        return torch.tensor([self.ids[word] for word in words], dtype=torch.long)

    def is_content(self, token_ids: Tensor) -> Tensor:
        """Return which tokens are content words, in the shape of ``token_ids``."""
        return torch.isin(token_ids, self.content_ids)

    def draw_keywords(self, token_ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a keyword for each sentence, ``[B]``, uniformly from the positions of its content words."""
        self.check(token_ids)
        content = self.is_content(token_ids)
        if bool((empty := ~content.any(1)).any()):
            raise WorldError(f"row {int(empty.nonzero()[0])} holds no content word that could be drawn.")
        return token_ids.gather(1, torch.multinomial(content.double(), 1, generator=generator))[:, 0]

    def check(self, token_ids: Tensor) -> None:
        """Raise a `WorldError` unless these are ``[B, T]`` tokens of this vocabulary."""
        _check_ids("token_ids [B, T]", token_ids, 2, range(len(self.vocabulary)))

    def check_keywords(self, keyword_ids: Tensor, rows: int) -> None:
        """Raise a `WorldError` unless these are words of this vocabulary, one for each row."""
        _check_ids("keyword_ids [B]", keyword_ids, 1, range(BLANK + 1, len(self.vocabulary)))
        if len(keyword_ids) != rows:
            raise WorldError(f"expected one keyword for each of {rows} rows, found {len(keyword_ids)}.")


class Storyland(Lexicon):
    """A distribution over sentences, with exact probabilities of words and of keywords."""

    def __init__(self, grammar: Grammar) -> None:
        super().__init__((arc.word for arc in grammar.arcs), grammar.content)
        self.automaton = determinise(grammar, self.ids)

    @classmethod
    def load(cls, path: Path | None = None) -> Storyland:
        """Load the course's grammar, or another file of the same format."""
        return cls(read_grammar(path or data_dir() / "storyland" / "grammar.toml"))

    # sentences

    def states(self, token_ids: Tensor) -> Tensor:
        """Return the automaton's state after 0, 1, … T tokens, ``[B, T]`` to ``[B, T + 1]``.

        Raises:
            WorldError: a prefix has probability 0; the message names its first impossible word.
        """
        states = self._walk(token_ids)
        if bool((states < 0).any()):
            row, after = (states < 0).nonzero()[0].tolist()
            (text,), word = self.decode(token_ids[row : row + 1, : after - 1]), int(token_ids[row, after - 1])
            reason = f"{self.vocabulary[word]!r} cannot follow {text!r}"
            raise WorldError(f"the prefix in row {row} has probability zero: {reason} in this language.")
        return states

    def next_log_probs(self, token_ids: Tensor) -> Tensor:
        """Return log p(next word | first t tokens) for t = 0 … T, ``[B, T + 1, V]``; ``-inf`` is impossible."""
        return self.automaton.log_probs[self.states(token_ids)]

    def log_prob(self, token_ids: Tensor) -> Tensor:
        """Return log p of each row in nats, as a prefix, ``[B]``; ``-inf`` is impossible."""
        states = self._walk(token_ids)[:, :-1]
        log_probs = self.automaton.log_probs[states, token_ids]  # once impossible, what follows cannot change it
        return log_probs.masked_fill(token_ids == BLANK, 0.0).sum(-1)

    def is_grammatical(self, token_ids: Tensor) -> Tensor:
        """Return whether each row is a complete sentence of the language, ``[B]``."""
        return self._walk(token_ids)[:, -1] == self.automaton.end

    def sample(self, n: int, generator: torch.Generator | None = None, keyword_ids: Tensor | None = None) -> Tensor:
        """Draw n sentences, ``[n, T]``; with ``keyword_ids [n]`` each exactly from p(x | its keyword is in x)."""
        if keyword_ids is not None:
            self.check_keywords(keyword_ids, n)
        states, seen = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.bool)
        columns: list[Tensor] = []
        while bool((states != self.automaton.end).any()):
            words = self.automaton.choices[states]
            weights = self.automaton.probs[states[:, None], words]
            if keyword_ids is not None:
                weights = weights * self._next_posterior(states, seen, keyword_ids, words)
            tokens = words.gather(1, _draw(weights, generator))[:, 0]
            states = self.automaton.step[states, tokens]
            columns.append(tokens)
            seen |= tokens == (BLANK if keyword_ids is None else keyword_ids)
            if len(columns) > MAX_WORDS:
                raise WorldError(f"a sentence has passed {MAX_WORDS} words; the grammar hardly ever ends one.")
        return torch.stack(columns, 1) if columns else EMPTY.expand(n, 0)

    # keywords

    def posterior(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """Return h = p(the keyword is in the sentence | first t tokens) for t = 0 … T, ``[B, T + 1]``."""
        states = self.states(token_ids)
        self.check_keywords(keyword_ids, len(token_ids))
        future = self.future_keyword_prob[states, keyword_ids[:, None]]
        return torch.where(_seen(token_ids, keyword_ids), 1.0, future)

    def keyword_log_odds(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """Return log h / (1 − h) for t = 0 … T, ``[B, T + 1]``: infinite once the keyword is certain or impossible."""
        return self.posterior(token_ids, keyword_ids).logit()

    def exact_aux_logits(self, token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
        """Return log h(prefix·v) for t = 0 … T and every word v, ``[B, T + 1, V]``; ``-inf`` is impossible.

        The softmax of its sum with `next_log_probs` is p(v | prefix, the keyword is in the sentence).
        """
        states, words = self.states(token_ids), torch.arange(len(self.vocabulary))
        self.check_keywords(keyword_ids, len(token_ids))
        return self._next_posterior(states, _seen(token_ids, keyword_ids), keyword_ids[:, None], words).log()

    @cached_property
    def future_keyword_prob(self) -> Tensor:
        """P(word occurs from here on | state) for every word, ``[S, V]``."""
        blocks = torch.arange(len(self.vocabulary)).split(100)  # blocks that fit the processor's cache: 5 times faster
        return torch.cat([self.automaton.future_keyword_prob(words) for words in blocks], 1)

    @cached_property
    def words_per_sentence(self) -> int | None:
        """The number of content words, if all sentences have the same number of different ones; else None."""
        source, word, target, _ = self.automaton.arcs
        content = self.is_content(word)
        again = self.future_keyword_prob[target[content], word[content]]
        fewest, most = (self._extreme_count(source, target, content.long(), reduce) for reduce in ("amin", "amax"))
        return fewest if fewest == most and float(again.max()) == 0 else None

    @property
    def keyword_probs(self) -> Tensor:
        """p(c = word) if the keyword is drawn uniformly from a sentence's content words, ``[V]``; sums to 1.

        Raises:
            WorldError: sentences differ in their number of content words, so that the posterior of a drawn keyword is
                not that of containment.
        """
        if self.words_per_sentence is None:
            raise WorldError("sentences of this grammar differ in their number of different content words.")
        mask = torch.zeros(len(self.vocabulary), dtype=torch.float64).index_fill(0, self.content_ids, 1.0)
        return self.future_keyword_prob[0] * mask / self.words_per_sentence

    # information, in nats

    @cached_property
    def entropy(self) -> float:
        """Entropy of a sentence in nats: Σ over states of visits × entropy of the next word."""
        probs = self.automaton.probs
        return -float((self.automaton.visits @ torch.special.xlogy(probs, probs)).sum())

    @property
    def mean_length(self) -> float:
        """Expected number of tokens in a sentence, including the full stop."""
        source, _, _, probs = self.automaton.arcs
        return float((self.automaton.visits[source] * probs).sum())

    @property
    def entropy_rate(self) -> float:
        """Entropy in nats per token: no model of this language has a lower loss."""
        return self.entropy / self.mean_length

    @property
    def mutual_information(self) -> float:
        """I(X; C) of a sentence and its drawn keyword, in nats per sentence: the largest gain from the keyword."""
        probs = self.keyword_probs
        return -float(torch.special.xlogy(probs, probs).sum()) - log(self.words_per_sentence or 1)

    def unigram_probs(self) -> Tensor:
        """Return the relative frequency of each word, ``[V]``: the best unigram model; sums to 1."""
        source, word, _, probs = self.automaton.arcs
        counts = torch.zeros(len(self.vocabulary), dtype=torch.float64)
        return counts.index_add_(0, word, self.automaton.visits[source] * probs) / self.mean_length

    def bigram_log_probs(self) -> Tensor:
        """Return the best bigram model, log p(next | last), ``[V, V]``: row 0 is the start, the full stop's is -inf."""
        source, word, target, probs = self.automaton.arcs
        V = len(self.vocabulary)
        arriving = torch.zeros(len(self.automaton.step), V, dtype=torch.float64)  # visits, by the word that led here
        arriving[0, BLANK] = 1.0
        arriving.index_put_((target, word), self.automaton.visits[source] * probs, accumulate=True)
        counts = arriving.T @ self.automaton.probs
        return (counts / counts.sum(-1, keepdim=True).clamp_min(torch.finfo(counts.dtype).tiny)).log()

    def _next_posterior(self, states: Tensor, seen: Tensor, keyword_ids: Tensor, words: Tensor) -> Tensor:
        """Return h after each of D next words, ``[...]`` to ``[..., D]``; 0 for impossible words."""
        states, keyword_ids = states[..., None], keyword_ids[..., None]
        future = self.future_keyword_prob[self.automaton.step[states, words], keyword_ids]
        h = future.masked_fill(seen[..., None] | (words == keyword_ids), 1.0)
        return h.masked_fill(self.automaton.probs[states, words] == 0, 0.0)

    def _walk(self, token_ids: Tensor) -> Tensor:
        self.check(token_ids)
        return self.automaton.walk(token_ids)

    def _extreme_count(self, source: Tensor, target: Tensor, content: Tensor, reduce: str) -> int:
        """Return the smallest ("amin") or largest ("amax") number of content words in a sentence."""
        worst = len(self.automaton.step) * (1 if reduce == "amin" else -1)
        counts = torch.full((len(self.automaton.step),), worst)
        counts[self.automaton.end] = 0
        for _ in range(MAX_WORDS):
            fresh = counts.scatter_reduce(0, source, content + counts[target], reduce)
            if bool((fresh == counts).all()) or int(fresh.max()) > MAX_WORDS:
                break
            counts = fresh
        return int(counts[0])


def _draw(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw an index from each row of weights, ``[B, D]`` to ``[B, 1]``; 0 if all are 0."""
    cumulative = weights.cumsum(-1)
    # in (0, 1], so that an index of weight 0 is never drawn
    height = 1 - torch.rand(len(weights), 1, generator=generator, dtype=torch.float64)
    return torch.searchsorted(cumulative, height * cumulative[:, -1:])


def _seen(token_ids: Tensor, keyword_ids: Tensor) -> Tensor:
    """Return whether the keyword is among the first t tokens, for t = 0 … T, ``[B, T + 1]``."""
    return pad((token_ids == keyword_ids[:, None]).cumsum(1) > 0, (1, 0))


def _check_ids(name: str, ids: Tensor, axes: int, allowed: range) -> None:
    if not isinstance(ids, Tensor) or ids.ndim != axes or ids.dtype != torch.long:
        actual = f"{list(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
        raise WorldError(f"expected {name} of torch.int64, found {actual}.")
    if ids.numel() and not (int(ids.min()) in allowed and int(ids.max()) in allowed):
        raise WorldError(f"{name} must lie in {allowed[0]} … {allowed[-1]}, found {ids.min()} … {ids.max()}.")


def _check_list(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise WorldError(f"expected a list of texts, found the text {texts!r}.")
