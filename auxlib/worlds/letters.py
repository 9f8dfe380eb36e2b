"""What is the truth in a world small enough to write down every text?

A `LetterWorld` has a few letters, texts of one fixed length T, and a language model given as a table with one row of
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

# p(c | whole text): 0 or 1 for a rule, between them for a witness. A `Posterior` is one too, and already enumerated.
Condition: TypeAlias = Callable[[str], float]
Policy: TypeAlias = Callable[[str], Tensor]  # prefix -> logits [V] of the next letter


@dataclass(frozen=True)
class Posterior:
    """What is known of a condition so far: ``h(prefix) = p(c | prefix)``. On whole texts it is the condition itself."""

    letters: str
    levels: tuple[Tensor, ...]

    def __call__(self, prefix: str) -> float:
        """h(prefix), between 0 and 1; ``h("")`` is the base rate p(c)."""
        row = index_of(prefix, self.letters, len(self.levels) - 1)
        return float(self.levels[len(prefix)][row])

    def after(self, prefix: str) -> Tensor:
        """h(prefix·v) for every next letter v, ``[V]``."""
        row = index_of(prefix, self.letters, len(self.levels) - 2)
        return self.levels[len(prefix) + 1].view(-1, len(self.letters))[row]


class LetterWorld:
    """An arbitrary autoregressive language model over a few letters, with everything enumerated."""

    def __init__(self, letters: str, tables: Sequence[Tensor]) -> None:
        """Take the model as probabilities: ``tables[t]`` is ``[V**t, V]``, one row for each prefix of length t.

        Raises `WorldError` for other than 3 to 8 letters or length 1 to 6, a wrong shape, a row not summing to one.
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
        """A model with a row of its own for each prefix, nothing shared: the softmax of ``spread · N(0, 1)``."""
        generator = torch.Generator().manual_seed(seed)
        rows = [len(letters) ** t for t in range(length)]
        logits = [torch.randn(n, len(letters), generator=generator, dtype=torch.float64) * spread for n in rows]
        return cls(letters, [row.softmax(-1) for row in logits])

    @classmethod
    def markov(cls, letters: str, length: int, start: Tensor, transition: Tensor) -> LetterWorld:
        """A model that remembers one letter: ``start [V]``, then row ``transition[last letter]`` of ``[V, V]``."""
        return cls(letters, [start[None]] + [transition.repeat(len(letters) ** (t - 1), 1) for t in range(1, length)])

    @classmethod
    def iid(cls, letters: str, length: int, probs: Tensor) -> LetterWorld:
        """A model that remembers nothing: every letter is drawn from ``probs [V]``."""
        return cls(letters, [probs.expand(len(letters) ** t, -1) for t in range(length)])

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All N texts in alphabetical order: the order of every ``[N]`` tensor here."""
        return self._spell(self.T)

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """All prefixes that still have a next letter, shortest first, beginning with the empty one."""
        return tuple(prefix for t in range(self.T) for prefix in self._spell(t))

    @property
    def probs(self) -> Tensor:
        """p(x) for every text, ``[N]``; sums to one."""
        return self._log_probs[-1].exp()

    def log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of each text in nats, ``[len(texts)]``; a shorter string is read as a prefix."""
        if isinstance(texts, str):
            raise WorldError(f"log_prob takes a list of texts; for one text write log_prob([{texts!r}]).")
        rows = [index_of(text, self.letters, self.T) for text in texts]
        return torch.stack([self._log_probs[len(text)][row] for text, row in zip(texts, rows, strict=True)])

    def next_log_probs(self, prefix: str) -> Tensor:
        """log p(v | prefix) for every letter v, ``[V]``: the language model's logits, already normalised."""
        row = self._reachable(prefix)
        return self.tables[len(prefix)][row].log()

    def posterior(self, condition: Condition) -> Posterior:
        """h(prefix) = p(c | prefix) for all prefixes: the condition on whole texts, averaged backwards by the model."""
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
        """log h(prefix·v), ``[V]``: added to the model's logits it gives p(v | prefix, c); ``-inf`` is impossible."""
        self._reachable(prefix)
        return self.posterior(condition).after(prefix).log()

    def conditional(self, condition: Condition) -> Tensor:
        """p(x | c) for every text by Bayes' rule on whole texts, ``[N]``: the referee, free of any per-step algebra."""
        joint = self.probs * self.posterior(condition).levels[-1]
        if float(joint.sum()) == 0:
            raise WorldError("no text of this world fulfils the condition, so p(x | c) does not exist.")
        return joint / joint.sum()

    def next_from(self, text_probs: Tensor, prefix: str) -> Tensor:
        """p(v | prefix) under any distribution over texts, ``[N]`` to ``[V]``, by adding up the texts that begin so."""
        row = index_of(prefix, self.letters, self.T - 1)
        mass = text_probs.view(self.V ** len(prefix), self.V, -1)[row].sum(-1)
        if float(mass.sum()) == 0:
            raise WorldError(f"the prefix {prefix!r} has probability zero here, so nothing can follow it.")
        return mass / mass.sum()

    def distribution_of(self, policy: Policy) -> Tensor:
        """The probability of each text, ``[N]``, when letters are drawn one by one from ``softmax(policy(prefix))``."""
        probs, silent = self.probs.new_ones(1), self.probs.new_zeros(self.V)
        for t in range(self.T):
            reach = zip(self._spell(t), probs.tolist(), strict=True)
            rows = [self._step(policy, prefix) if p > 0 else silent for prefix, p in reach]
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
        """I(X; C) in nats per text, for conditions of which exactly one holds: Σ_c p(c | x) = 1 on every text."""
        like = torch.stack([self.posterior(condition).levels[-1] for condition in conditions])
        if not torch.allclose(like.sum(0), torch.ones_like(self.probs), atol=1e-9):
            raise WorldError("the conditions' probabilities must sum to one on every text; one is missing or twice.")
        marginal = like @ self.probs
        log_ratio = torch.special.xlogy(like, like) - torch.special.xlogy(like, marginal[:, None])
        return float((log_ratio * self.probs).sum())

    def contains(self, letter: str) -> Condition:
        """The rule "the text has this letter somewhere"."""
        index_of(letter, self.letters, 1)
        return lambda text: float(letter in text)

    def drawn(self, letter: str) -> Condition:
        """The witness "this letter was drawn from a random place of the text": count / length."""
        index_of(letter, self.letters, 1)
        return lambda text: text.count(letter) / len(text)

    def _spell(self, length: int) -> tuple[str, ...]:
        return tuple("".join(letters) for letters in product(self.letters, repeat=length))

    def _reachable(self, prefix: str) -> int:
        row = index_of(prefix, self.letters, self.T - 1)
        if float(self._log_probs[len(prefix)][row]) == -torch.inf:
            raise WorldError(f"the prefix {prefix!r} has probability zero in this world, so nothing can follow it.")
        return row

    def _step(self, policy: Policy, prefix: str) -> Tensor:
        probs = policy(prefix).double().softmax(-1)
        if probs.shape != (self.V,) or bool(probs.isnan().any()):
            raise WorldError(f"after {prefix!r} the policy must give {self.V} logits, none NaN and not all -inf.")
        return probs


def noisy(condition: Condition, error: float) -> Condition:
    """A witness who reports whether the condition holds and is wrong with probability ``error``."""
    return lambda text: (1 - error) * condition(text) + error * (1 - condition(text))


def index_of(text: str, letters: str, longest: int) -> int:
    """The place of a text among all texts of its length; `WorldError` if it is too long or has a foreign letter."""
    if len(text) > longest:
        raise WorldError(f"{text!r} has {len(text)} letters; here at most {longest} make sense.")
    place = 0
    for letter in text:
        if letter not in letters:
            raise WorldError(f"the letter {letter!r} of {text!r} is outside the alphabet {letters!r}.")
        place = place * len(letters) + letters.index(letter)
    return place


def _checked(table: Tensor, t: int, V: int) -> Tensor:
    """One level of the model in float64, once its shape and its rows are known to be right."""
    table = torch.as_tensor(table, dtype=torch.float64)
    if table.shape != (V**t, V):
        raise WorldError(f"the table for prefixes of length {t} must be {(V**t, V)}, got {tuple(table.shape)}.")
    wrong = (table < 0).any(-1) | ((table.sum(-1) - 1).abs() > 1e-6) | table.isnan().any(-1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise WorldError(f"a row must be probabilities that sum to one; level {t}, row {row} is {table[row].tolist()}.")
    return table / table.sum(-1, keepdim=True)
