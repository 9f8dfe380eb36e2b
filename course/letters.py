"""A world small enough to enumerate every text.

A `LetterWorld` has a few letters, texts of one fixed length T, and a language model given as a table with a row of
probabilities for every prefix. All texts are enumerated in float64: posteriors, entropies and the quality of any policy
are sums, not estimates. Axes: ``V`` letters, ``N = V**T`` texts in alphabetical order, ``V**t`` prefixes of length t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TypeAlias

import torch
from torch import Tensor

from auxlib.errors import WorldError

# p(c | complete text): 0 or 1 for a rule, between them for a noisy observation. A `Posterior` is a `Condition` as well.
Condition: TypeAlias = Callable[[str], float]
Policy: TypeAlias = Callable[[str], Tensor]  # prefix -> logits [V] of the next letter


@dataclass(frozen=True)
class Posterior:
    """The probability of a condition given a prefix, ``h(prefix) = p(c | prefix)``; on complete texts p(c | text)."""

    letters: str
    levels: tuple[Tensor, ...]

    def __call__(self, prefix: str) -> float:
        """Return h(prefix); ``h("")`` is the base rate p(c)."""
        row = index_of(prefix, self.letters, len(self.levels) - 1)
        return float(self.levels[len(prefix)][row])

    def after(self, prefix: str) -> Tensor:
        """Return h(prefix·v) for every next letter v, ``[V]``."""
        row = index_of(prefix, self.letters, len(self.levels) - 2)
        return self.levels[len(prefix) + 1].view(-1, len(self.letters))[row]


class LetterWorld:
    """An arbitrary autoregressive language model over a few letters, fully enumerated."""

    def __init__(self, letters: str, tables: Sequence[Tensor]) -> None:
        """Build the world from next-letter probabilities: ``tables[t]`` is ``[V**t, V]``, a row for each prefix.

        Raises:
            WorldError: not 3 to 8 different letters, not length 1 to 6, a wrong shape, or a row not summing to 1.
        """
        if not (3 <= len(letters) <= 8 and len(set(letters)) == len(letters) and 1 <= len(tables) <= 6):
            raise WorldError(f"need 3 to 8 different letters and length 1 to 6; got {letters!r}, length {len(tables)}.")
        self.letters, self.V, self.T = letters, len(letters), len(tables)
        self.tables = tuple(_checked(table, t, self.V) for t, table in enumerate(tables))
        levels = [torch.zeros(1, dtype=torch.float64)]
        for table in self.tables:
            levels.append((levels[-1].unsqueeze(1) + table.log()).reshape(-1))
        self._log_probs = tuple(levels)

    @classmethod
    def random(cls, letters: str = "abc", length: int = 4, seed: int = 0, spread: float = 1.5) -> LetterWorld:
        """Return a model with an independent row for each prefix, the softmax of ``spread · N(0, 1)``."""
        generator = torch.Generator().manual_seed(seed)
        rows = [len(letters) ** t for t in range(length)]
        logits = [torch.randn(n, len(letters), generator=generator, dtype=torch.float64) * spread for n in rows]
        return cls(letters, [row.softmax(-1) for row in logits])

    @classmethod
    def markov(cls, letters: str, length: int, start: Tensor, transition: Tensor) -> LetterWorld:
        """Return a first-order Markov model: ``start [V]``, then rows of ``transition [V, V]`` by the last letter."""
        return cls(letters, [start[None]] + [transition.repeat(len(letters) ** (t - 1), 1) for t in range(1, length)])

    @classmethod
    def iid(cls, letters: str, length: int, probs: Tensor) -> LetterWorld:
        """Return a model of independent letters, each with ``probs [V]``."""
        return cls(letters, [probs.expand(len(letters) ** t, -1) for t in range(length)])

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All N texts in alphabetical order, the order of every ``[N]`` tensor here."""
        return self._strings(self.T)

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """All prefixes shorter than a text, shortest first, beginning with the empty one."""
        return tuple(prefix for t in range(self.T) for prefix in self._strings(t))

    @property
    def probs(self) -> Tensor:
        """p(x) for every text, ``[N]``; sums to 1."""
        return self._log_probs[-1].exp()

    def log_prob(self, texts: Sequence[str]) -> Tensor:
        """Return log p of each text in nats, ``[len(texts)]``; a shorter string counts as a prefix."""
        if isinstance(texts, str):
            raise WorldError(f"log_prob takes a list of texts; for one text write log_prob([{texts!r}]).")
        rows = [index_of(text, self.letters, self.T) for text in texts]
        return torch.stack([self._log_probs[len(text)][row] for text, row in zip(texts, rows, strict=True)])

    def next_log_probs(self, prefix: str) -> Tensor:
        """Return log p(v | prefix) for every letter v, ``[V]``: the language model's logits, already normalised."""
        row = self._index_of_possible(prefix)
        return self.tables[len(prefix)][row].log()

    def posterior(self, condition: Condition) -> Posterior:
        """Return h(prefix) = p(c | prefix) for all prefixes: expectations of p(c | text), computed backwards."""
        if isinstance(condition, Posterior):
            return condition
        h = torch.tensor([float(condition(text)) for text in self.texts], dtype=torch.float64)
        if not bool(((h >= 0) & (h <= 1)).all()):
            raise WorldError(f"p(c | text) must lie between 0 and 1, got {float(h.min())} to {float(h.max())}.")
        levels = [h]
        for table in reversed(self.tables):
            levels.append((table * levels[-1].view(-1, self.V)).sum(-1))
        return Posterior(self.letters, tuple(reversed(levels)))

    def exact_aux_logits(self, prefix: str, condition: Condition) -> Tensor:
        """Return log h(prefix·v), ``[V]``; added to the model's logits, their softmax is p(v | prefix, c)."""
        self._index_of_possible(prefix)
        return self.posterior(condition).after(prefix).log()

    def conditional(self, condition: Condition) -> Tensor:
        """Return p(x | c) by Bayes' rule on complete texts, ``[N]``: a reference that needs no per-step algebra."""
        joint = self.probs * self.posterior(condition).levels[-1]
        if float(joint.sum()) == 0:
            raise WorldError("no text of this world fulfils the condition, so p(x | c) does not exist.")
        return joint / joint.sum()

    def next_from(self, text_probs: Tensor, prefix: str) -> Tensor:
        """Return p(v | prefix) under any distribution over texts, ``[N]`` to ``[V]``, by summation over texts."""
        row = index_of(prefix, self.letters, self.T - 1)
        mass = text_probs.view(self.V ** len(prefix), self.V, -1)[row].sum(-1)
        if float(mass.sum()) == 0:
            raise WorldError(f"the prefix {prefix!r} has probability zero here, so nothing can follow it.")
        return mass / mass.sum()

    def distribution_of(self, policy: Policy) -> Tensor:
        """Return the probability of each text, ``[N]``, if letters are drawn from ``softmax(policy(prefix))``."""
        probs, unreachable = self.probs.new_ones(1), self.probs.new_zeros(self.V)
        for t in range(self.T):
            prefixes = zip(self._strings(t), probs.tolist(), strict=True)
            rows = [self._policy_probs(policy, prefix) if p > 0 else unreachable for prefix, p in prefixes]
            probs = (probs.unsqueeze(1) * torch.stack(rows)).reshape(-1)
        return probs

    def sample(self, n: int, generator: torch.Generator | None = None) -> list[str]:
        """Draw n texts."""
        row = torch.zeros(n, dtype=torch.long)
        for table in self.tables:
            row = row * self.V + torch.multinomial(table[row], 1, generator=generator).squeeze(1)
        return [self.texts[i] for i in row.tolist()]

    @property
    def entropy_rate(self) -> float:
        """Entropy of the texts in nats per letter: no model of this world can have a lower loss."""
        return -float(torch.special.xlogy(self.probs, self.probs).sum()) / self.T

    def mutual_information(self, conditions: Sequence[Condition]) -> float:
        """Return I(X; C) in nats per text, for exhaustive, exclusive conditions: Σ_c p(c | x) = 1 on every text."""
        likelihood = torch.stack([self.posterior(condition).levels[-1] for condition in conditions])
        if not torch.allclose(likelihood.sum(0), torch.ones_like(self.probs), atol=1e-9):
            raise WorldError("the conditions' probabilities must sum to one on every text; one is missing or twice.")
        marginal = likelihood @ self.probs
        log_ratio = torch.special.xlogy(likelihood, likelihood) - torch.special.xlogy(likelihood, marginal[:, None])
        return float((log_ratio * self.probs).sum())

    def contains(self, letter: str) -> Condition:
        """Return the rule "the text contains this letter"."""
        index_of(letter, self.letters, 1)
        return lambda text: float(letter in text)

    def drawn(self, letter: str) -> Condition:
        """Return the condition "a letter drawn from a random position is this one": p = count / length."""
        index_of(letter, self.letters, 1)
        return lambda text: text.count(letter) / len(text)

    def _strings(self, length: int) -> tuple[str, ...]:
        return tuple("".join(letters) for letters in product(self.letters, repeat=length))

    def _index_of_possible(self, prefix: str) -> int:
        """Return a prefix's row; raise a `WorldError` if its probability is 0."""
        row = index_of(prefix, self.letters, self.T - 1)
        if float(self._log_probs[len(prefix)][row]) == -torch.inf:
            raise WorldError(f"the prefix {prefix!r} has probability zero in this world, so nothing can follow it.")
        return row

    def _policy_probs(self, policy: Policy, prefix: str) -> Tensor:
        probs = policy(prefix).double().softmax(-1)
        if probs.shape != (self.V,) or bool(probs.isnan().any()):
            raise WorldError(f"after {prefix!r} the policy must give {self.V} logits, none NaN and not all -inf.")
        return probs


def noisy(condition: Condition, error: float) -> Condition:
    """Return a noisy observation of a condition, wrong with probability ``error``."""
    return lambda text: (1 - error) * condition(text) + error * (1 - condition(text))


def index_of(text: str, letters: str, longest: int) -> int:
    """Return a text's index among all texts of its length.

    Raises:
        WorldError: it is longer than ``longest``, or has a letter outside the alphabet.
    """
    if len(text) > longest:
        raise WorldError(f"{text!r} has {len(text)} letters; here at most {longest} make sense.")
    index = 0
    for letter in text:
        if letter not in letters:
            raise WorldError(f"the letter {letter!r} of {text!r} is outside the alphabet {letters!r}.")
        index = index * len(letters) + letters.index(letter)
    return index


def _checked(table: Tensor, t: int, V: int) -> Tensor:
    """Return a level of the model in float64, after checking its shape and rows."""
    table = torch.as_tensor(table, dtype=torch.float64)
    if table.shape != (V**t, V):
        raise WorldError(f"the table for prefixes of length {t} must be {(V**t, V)}, got {tuple(table.shape)}.")
    wrong = (table < 0).any(-1) | ((table.sum(-1) - 1).abs() > 1e-6) | table.isnan().any(-1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise WorldError(f"a row must be probabilities that sum to one; level {t}, row {row} is {table[row].tolist()}.")
    return table / table.sum(-1, keepdim=True)
