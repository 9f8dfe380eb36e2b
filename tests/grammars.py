"""Small grammars, and a slow referee that lists every sentence they can say and sums over the list."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from auxlib.worlds.grammar import FIRST, LAST, Grammar, Place, read_grammar
from auxlib.worlds.storyland import Storyland

EXACT = 1e-10
Words = tuple[str, ...]
Arcs = dict[Place, list[tuple[str, float, Place]]]

PLAIN = """
[remember]
[states]
start = ["0.6: the <trait> <pet> <does> -> end", "0.4: a <pet> who <does> is -> more"]
more = ["0.7: <trait> -> end", "0.3: very <trait> indeed -> end"]
[function]
does = "sings*2, is heard"
[content]
trait = "old*3, red"
pet = "cat*2, dog, owl"
"""

# where the story plays, and how its hero feels, is often not clear until the last word
AMBIGUOUS = """
[remember]
place = { farm = 0.6, town = 0.4 }
mood = { glad = 0.7, sad = 0.3 }
[states]
start = [
  "0.5: the <pet {place}> <does {mood}> in the <spot {place}> -> end",
  "0.3: the <pet {place}> -> rest {place} {mood}",
  "0.2: in the <spot {place}> a <pet {place}> <does glad> -> end",
]
"rest {place} {mood}" = ["0.5: <does {mood}> in the <spot {place}> -> end", "0.5: who <does {mood}> likes {place} <spot {place}> -> end"]
[function]
"does glad" = "sings*2, runs"
"does sad" = "runs*3, sighs"
[content]
"pet farm" = "cat*2, hen, dog"
"pet town" = "cat, dog*3"
"spot farm" = "barn*2, garden"
"spot town" = "market, garden*2, park"
"""  # noqa: E501

LOOP = """
[remember]
mood = { glad = 0.6, sad = 0.4 }
[states]
start = ["1: the -> noun {mood}"]
"noun {mood}" = ["0.01: <trait {mood}> -> noun {mood}", "0.99: <pet> <does {mood}> -> end"]
[function]
"does glad" = "sings*2, runs"
"does sad" = "sleeps, runs"
[content]
"trait glad" = "old, red*2"
"trait sad" = "old*2, red"
pet = "cat*2, dog"
"""

# every sentence has two content words, and they may be the same
TWICE = """
[remember]
[states]
start = ["1: the <pet> sees the <pet> -> end"]
[function]
[content]
pet = "cat*3, dog*2, owl"
"""

# one content word or two
UNEVEN = """
[remember]
[states]
start = ["0.5: the <pet> sleeps -> end", "0.5: the <pet> and the <bird> sleep -> end"]
[function]
[content]
pet = "cat*3, dog"
bird = "owl, hen"
"""

TEXTS = {"plain": PLAIN, "ambiguous": AMBIGUOUS, "loop": LOOP, "twice": TWICE, "uneven": UNEVEN}


def grammar_of(text: str, folder: Path) -> Grammar:
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return read_grammar(path)


def arcs_of(grammar: Grammar) -> Arcs:
    """Word, probability and target of every arc, by the place it leaves."""
    arcs: Arcs = {LAST: []}
    for source, word, prob, target in grammar.arcs:
        arcs.setdefault(source, []).append((word, prob, target))
    return arcs


def believe(arcs: Arcs, prefix: Words) -> dict[Place, float]:
    """The forward filter: p(place | prefix)."""
    belief = {FIRST: 1.0}
    for word in prefix:
        after: dict[Place, float] = defaultdict(float)
        for place, p in belief.items():
            for said, prob, target in arcs[place]:
                if said == word:
                    after[target] += p * prob
        whole = math.fsum(after.values())
        belief = {place: p / whole for place, p in after.items()}
    return belief


def look_ahead(arcs: Arcs, word: str) -> Callable[[Place], float]:
    """P(the word is said from a place on), for a language without loops: backward over place and seen-flag."""

    @cache
    def ahead(place: Place) -> float:
        return math.fsum(p * (1.0 if said == word else ahead(target)) for said, p, target in arcs[place])

    return ahead


class Listed:
    """Every sentence of a grammar with its probability, found by following its arcs; those below 1e-20 are left out."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar, self.world = grammar, Storyland(grammar)
        self.arcs = arcs_of(grammar)
        self.p: dict[Words, float] = defaultdict(float)
        self._follow(FIRST, (), 1.0)

    def _follow(self, place: Place, said: Words, prob: float) -> None:
        if place == LAST:
            self.p[said] += prob
        elif prob > 1e-20:
            for word, share, target in self.arcs[place]:
                self._follow(target, (*said, word), prob * share)

    @cached_property
    def prefixes(self) -> list[Words]:
        """The empty one, whole sentences and all between, of up to ten words and not too rare to be summed over."""
        found = {x[:t] for x in self.p for t in range(min(len(x), 10) + 1)}
        return sorted(prefix for prefix in found if self.mass(prefix) > 1e-8)

    @cached_property
    def _starting(self) -> dict[Words, list[Words]]:
        found = defaultdict(list)
        for x in self.p:
            for t in range(len(x) + 1):
                found[x[:t]].append(x)
        return found

    def mass(self, prefix: Words, word: str | None = None) -> float:
        """P(a sentence begins so, and holds the word)."""
        return math.fsum(self.p[x] for x in self._starting[prefix] if word is None or word in x)

    def next_probs(self, prefix: Words, word: str | None = None) -> Tensor:
        """p(next word | prefix, the word is in the sentence), ``[V]``; zeros after the end."""
        row, whole = torch.zeros(len(self.world.vocabulary), dtype=torch.float64), self.mass(prefix, word)
        for follows in {x[len(prefix)] for x in self._starting[prefix] if len(x) > len(prefix)}:
            row[self.world.ids[follows]] = self.mass((*prefix, follows), word) / whole
        return row

    def content(self, x: Words) -> list[str]:
        return [word for word in x if word in self.grammar.content]

    def pairs(self) -> Iterator[tuple[Words, str, float]]:
        """Every sentence with every keyword that can be drawn from it, and the probability of both."""
        for x, p in self.p.items():
            for word in self.content(x):
                yield x, word, p / len(self.content(x))

    def encode(self, rows: Sequence[Words]) -> Tensor:
        return self.world.encode([" ".join(row) for row in rows])


def entropy_of(probs: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in probs if p > 0)


def close(actual: Tensor | float, expected: Tensor | float) -> bool:
    actual, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (actual, expected))
    same = (actual == expected) | ((actual - expected).abs() < EXACT)  # the first for infinities
    return actual.shape == expected.shape and bool(same.all())
