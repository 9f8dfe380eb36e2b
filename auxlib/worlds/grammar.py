"""What does a grammar mean? From readable rules to a weighted automaton: arcs from place to place that say a word."""

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
    """Where a sentence stands: what is still to say before the next state, and what of the past that depends on."""

    to_say: Phrase
    target: str
    known: tuple[tuple[str, str], ...]


class Arc(NamedTuple):
    """One step: at ``source``, with probability ``prob``, say ``word`` and stand at ``target``."""

    source: Place
    word: str
    prob: float
    target: Place


@dataclass(frozen=True)
class Grammar:
    """A weighted automaton over words. Arcs of one place may share a word: what was meant then shows later."""

    name: str
    arcs: tuple[Arc, ...]
    content: tuple[str, ...]  # the words that can become keywords


FIRST, LAST = Place((), START, ()), Place((), "", ())


def read_grammar(path: Path) -> Grammar:
    """Read and check a grammar file, and follow its rules.

    Raises `WorldError`, naming the file and the rule: unreadable TOML, a value of the wrong type, a malformed rule,
    probabilities that do not sum to one, an unknown class, variable or state, a state that cannot be reached or that
    never comes to an end.
    """
    rules = Rules(path)
    return Grammar(path.name, tuple(_Walk(rules).arcs()), tuple(sorted(rules.content)))


class _Walk:
    """Follows every rule from the start; each state must be entered, and each must come to an end."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.entered = rules, set[str]()

    def arcs(self) -> list[Arc]:
        """All steps between the places that a sentence can come to."""
        arcs: list[Arc] = []
        todo, seen = [FIRST], {FIRST, LAST}
        while todo:
            source = todo.pop()
            steps = [Arc(source, *step) for step in self._steps(source)]
            fresh = {arc.target for arc in steps} - seen
            arcs += steps
            seen |= fresh
            todo += sorted(fresh)
        self._check(arcs, seen)
        return arcs

    def _check(self, arcs: list[Arc], places: set[Place]) -> None:
        if unused := set(self.rules.states) - self.entered:
            self.rules.fail(f"[states] {min(unused)}: no rule leads there from {START!r}")
        if stuck := places - _ending(arcs):
            self.rules.fail(f"[states] {min(place.target for place in stuck)}: a sentence that comes here never ends")
        if not self.rules.content & {arc.word for arc in arcs}:
            self.rules.fail("no sentence says a word of [content], so nothing could become a keyword")

    def _steps(self, place: Place) -> Iterator[tuple[str, float, Place]]:
        """Every word that may come next, with its probability and the place after it."""
        if place.to_say:
            yield from self._say(place)
        elif place.target == END:
            yield FULL_STOP, 1.0, LAST
        else:
            known = dict(place.known)
            for values, prob in self._decide(place.target, known):
                state, kept = self.rules.find_state(_fill(place.target, known | values))
                self.entered.add(state)
                for rule in self.rules.states[state]:
                    inside = Place(rule.phrase, rule.target, tuple(kept.items()))
                    yield from ((word, prob * rule.prob * p, after) for word, p, after in self._say(inside))

    def _say(self, place: Place) -> Iterator[tuple[str, float, Place]]:
        """The first word of what is still to say; the rest of its phrase, and what was decided, wait in the place."""
        symbol, rest, known = place.to_say[0], place.to_say[1:], dict(place.known)
        for values, prob in self._decide(symbol, known):
            for phrase, share in self.rules.phrases(_fill(symbol, known | values)):
                yield phrase[0], prob * share, _remember(phrase[1:] + rest, place.target, known | values)

    def _decide(self, text: str, known: Values) -> Iterator[tuple[Values, float]]:
        """The variables that a symbol or a state's name mentions for the first time, with every value they may take."""
        fresh = sorted({name for name in SLOT.findall(text) if name not in known})
        for values in product(*(self.rules.odds(name, text).items() for name in fresh)):
            yield {name: value for name, (value, _) in zip(fresh, values, strict=True)}, prod(p for _, p in values)


def _remember(to_say: Phrase, target: str, values: Values) -> Place:
    """The place, forgetting what nothing that follows depends on: places that differ only in that are the same."""
    needed = set(SLOT.findall(" ".join((*to_say, target))))
    return Place(to_say, target, tuple(sorted((name, value) for name, value in values.items() if name in needed)))


def _fill(text: str, values: Values) -> str:
    return SLOT.sub(lambda slot: values[slot[1]], text)


def _ending(arcs: list[Arc]) -> set[Place]:
    """The places from which the end can be reached."""
    before: dict[Place, set[Place]] = {}
    for arc in arcs:
        before.setdefault(arc.target, set()).add(arc.source)
    todo, found = [LAST], {LAST}
    while todo:
        fresh = before.get(todo.pop(), set()) - found
        found |= fresh
        todo += fresh
    return found
