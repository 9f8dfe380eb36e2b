"""Referees that share no code with the library: a language model as a dictionary, and every quantity a plain sum."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from course.letters import LetterWorld

EXACT = 1e-10
Condition = Callable[[str], float]


def always(text: str) -> float:
    return 1.0


class ByHand:
    """A random table of next-letter probabilities, and sums over all texts."""

    def __init__(
        self, letters: str = "abc", length: int = 4, seed: int = 0, rows: dict[str, list[float]] | None = None
    ):
        draw = random.Random(seed)
        self.letters, self.length = letters, length
        self.prefixes = [prefix for t in range(length) for prefix in spell(letters, t)]
        self.texts = spell(letters, length)
        self.rows = rows or {prefix: distribution(len(letters), draw) for prefix in self.prefixes}

    @cached_property
    def p(self) -> dict[str, float]:
        """p(x) of every text: the chain rule."""
        return {
            x: math.prod(self.rows[x[:t]][self.letters.index(x[t])] for t in range(self.length)) for x in self.texts
        }

    def mass(self, prefix: str, condition: Condition = always) -> float:
        """p(prefix, c), summed over the texts that begin so."""
        return math.fsum(p * condition(x) for x, p in self.p.items() if x.startswith(prefix))

    def h(self, prefix: str, condition: Condition) -> float:
        """p(c | prefix)."""
        return self.mass(prefix, condition) / self.mass(prefix)

    def next_given(self, prefix: str, condition: Condition = always) -> Tensor:
        """p(v | prefix, c), ``[V]``."""
        return tensor([self.mass(prefix + v, condition) for v in self.letters]) / self.mass(prefix, condition)

    @cached_property
    def world(self) -> LetterWorld:
        """The same model as the library's."""
        return LetterWorld(
            self.letters, [tensor([self.rows[x] for x in spell(self.letters, t)]) for t in range(self.length)]
        )


def spell(letters: str, length: int) -> list[str]:
    return ["".join(chosen) for chosen in itertools.product(letters, repeat=length)]


def distribution(n: int, draw: random.Random, spread: float = 1.2) -> list[float]:
    weights = [math.exp(spread * draw.gauss(0, 1)) for _ in range(n)]
    return [weight / sum(weights) for weight in weights]


def tensor(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gap(actual: Tensor | float, expected: Tensor | float) -> float:
    """The largest difference."""
    actual, expected = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (actual, expected))
    return float((actual - expected).abs().max())


def same(actual: Tensor | float, expected: Tensor | float) -> bool:
    return gap(actual, expected) < EXACT


def centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(-1, keepdim=True)


def soft(hand: ByHand, seed: int) -> Condition:
    """A witness with an arbitrary probability for each text."""
    draw = random.Random(seed)
    return {x: draw.uniform(0.05, 0.95) for x in hand.texts}.__getitem__


def holds(letter: str) -> Condition:
    return lambda text: float(letter in text)


def drawn(letter: str) -> Condition:
    """The keyword is a letter drawn from a random place of the text."""
    return lambda text: text.count(letter) / len(text)
