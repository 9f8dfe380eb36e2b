"""Compilation of grammar rules into a weighted automaton: arcs between places, each of which emits a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeAlias

from auxlib.worlds.rules import SLOT, START, Phrase, Rules

END, FULL_STOP = "end", "."
Values: TypeAlias = dict[str, str]  # remembered variable → its value in this sentence


class Place(NamedTuple):
    """A position in a derivation: symbols still to be emitted, the next state, and the variables that these need."""

    pending: Phrase
    target: str
    known: tuple[tuple[str, str], ...]


class Arc(NamedTuple):
    """A step from ``source`` to ``target`` that emits ``word`` with probability ``prob``."""

    source: Place
    word: str
    prob: float
    target: Place


@dataclass(frozen=True)
class Grammar:
    """A nondeterministic weighted automaton over words: arcs from the same place may emit the same word."""

    name: str
    arcs: tuple[Arc, ...]
    content: tuple[str, ...]  # the words that can become keywords


FIRST, LAST = Place((), START, ()), Place((), "", ())


def read_grammar(path: Path) -> Grammar:
    """Read, check and compile a grammar file.

    Raises:
        WorldError: names the file and the rule of unreadable TOML, a value of the wrong type, a malformed rule,
            probabilities that do not sum to 1, an unknown class, variable or state, a state that cannot be reached, or
            one from which no sentence ends.
    """
    rules = Rules(path)
    return Grammar(path.name, tuple(_Compiler(rules).arcs()), tuple(sorted(rules.content)))


class _Compiler:
    """Expands the rules from the start; every state must be reachable, and the end from every state."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.entered = rules, set[str]()

    def arcs(self) -> list[Arc]:
        """Return all arcs between reachable places."""
        arcs: list[Arc] = []
        todo, places = [FIRST], {FIRST, LAST}
        while todo:
            source = todo.pop()
            steps = [Arc(source, *step) for step in self._steps(source)]
            fresh = {arc.target for arc in steps} - places
            arcs += steps
            places |= fresh
            todo += sorted(fresh)
        self._check(arcs, places)
        return arcs

    def _check(self, arcs: list[Arc], places: set[Place]) -> None:
        if unused := set(self.rules.states) - self.entered:
            self.rules.fail(f"[states] {min(unused)}: no rule leads there from {START!r}")
        if stuck := places - _co_reachable(arcs):
            self.rules.fail(f"[states] {min(place.target for place in stuck)}: a sentence that comes here never ends")
        if not self.rules.content & {arc.word for arc in arcs}:
            self.rules.fail("no sentence contains a word of [content], so nothing could become a keyword")

    def _steps(self, place: Place) -> Iterator[tuple[str, float, Place]]:
        """Yield every possible next word, its probability, and the place after it."""
        if place.pending:
            yield from self._emit(place)
        elif place.target == END:
            yield FULL_STOP, 1.0, LAST
        else:
            known = dict(place.known)
            for values, prob in self._bind(place.target, known):
                state, kept = self.rules.find_state(_substitute(place.target, known | values))
                self.entered.add(state)
                for rule in self.rules.states[state]:
                    inside = Place(rule.phrase, rule.target, tuple(kept.items()))
                    yield from ((word, prob * rule.prob * p, after) for word, p, after in self._emit(inside))

    def _emit(self, place: Place) -> Iterator[tuple[str, float, Place]]:
        """Emit the first word of the first pending symbol; the rest of its phrase becomes pending."""
        symbol, rest, known = place.pending[0], place.pending[1:], dict(place.known)
        for values, prob in self._bind(symbol, known):
            for phrase, p in self.rules.phrases(_substitute(symbol, known | values)):
                yield phrase[0], prob * p, _minimal_place(phrase[1:] + rest, place.target, known | values)

    def _bind(self, text: str, known: Values) -> Iterator[tuple[Values, float]]:
        """Yield the values, with probabilities, of the unbound variables in a symbol or in the name of a state."""
        fresh = sorted({name for name in SLOT.findall(text) if name not in known})
        for values in product(*(self.rules.odds(name, text).items() for name in fresh)):
            yield {name: value for name, (value, _) in zip(fresh, values, strict=True)}, prod(p for _, p in values)


def _minimal_place(pending: Phrase, target: str, values: Values) -> Place:
    """Return a place with only the variables that are still needed, so that places with the same future are equal."""
    needed = set(SLOT.findall(" ".join((*pending, target))))
    return Place(pending, target, tuple(sorted((name, value) for name, value in values.items() if name in needed)))


def _substitute(text: str, values: Values) -> str:
    return SLOT.sub(lambda slot: values[slot[1]], text)


def _co_reachable(arcs: list[Arc]) -> set[Place]:
    """Return the places from which the end can be reached."""
    sources: dict[Place, set[Place]] = {}
    for arc in arcs:
        sources.setdefault(arc.target, set()).add(arc.source)
    todo, reached = [LAST], {LAST}
    while todo:
        fresh = sources.get(todo.pop(), set()) - reached
        reached |= fresh
        todo += fresh
    return reached
