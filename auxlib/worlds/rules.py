"""Parser of grammar files: rules in TOML, checked before they are compiled.

The format is explained at the top of ``data/storyland/grammar.toml``. Every fault of a file is a `WorldError` that
names the file and the rule.
"""

from __future__ import annotations

import re
import tomllib
from itertools import product
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from auxlib.errors import WorldError

START = "start"
RULE = re.compile(r"(\d*\.?\d+):\s*(\S.*?)\s*->\s*(\S.*)")
SYMBOL = re.compile(r"<[^<>]+>|[^<>\s]+")
SLOT = re.compile(r"\{(\w+)\}")
ITEM = re.compile(r"\s*([^\s*][^*]*?)(?:\*([1-9]\d*))?\s*")
Phrase: TypeAlias = tuple[str, ...]


def _is_odds(value: Any) -> bool:
    return isinstance(value, dict) and all(type(prob) in (int, float) for prob in value.values())


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


WORDS = (lambda value: isinstance(value, str), 'words, `"word, word*3, two words"`')
TABLES = {  # of a grammar file: the type of their values, and its description
    "remember": (_is_odds, "values with probabilities, `{ farm = 0.5, castle = 0.5 }`"),
    "states": (_is_lines, 'rules, `["PROBABILITY: PHRASE -> STATE", ...]`'),
    "function": WORDS,
    "content": WORDS,
}


class Rule(NamedTuple):
    """An alternative of a state: with probability ``prob`` emit ``phrase`` and go to the state ``target``."""

    prob: float
    phrase: Phrase
    target: str


class Rules:
    """The parsed content of a grammar file.

    Attributes:
        variables: variables that a sentence remembers, with the probability of each value.
        classes: by name, phrases with their probabilities.
        content: the words that can become keywords.
        states: the alternatives of each state, by its name as written in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = self._read()
        self.variables: dict[str, dict[str, float]] = raw["remember"]
        for name, values in self.variables.items():
            self._check_odds(list(values.values()), f"[remember] {name}")
        self.classes: dict[str, list[tuple[Phrase, float]]] = {}
        function, self.content = (self._read_classes(raw[table]) for table in ("function", "content"))
        if ambiguous := function & self.content:
            self._fail_ambiguous(min(ambiguous))
        self.states = {name: [self._rule(line, name) for line in lines] for name, lines in raw["states"].items()}
        for name, rules in self.states.items():
            self._check_odds([rule.prob for rule in rules], f"[states] {name}")
        self._patterns = {name: self._pattern(name) for name in self.states}

    def phrases(self, symbol: str) -> list[tuple[Phrase, float]]:
        """Return the phrases, with probabilities, of a symbol without open variables: those of a class, or a word."""
        if not symbol.startswith("<"):
            return [((symbol,), 1.0)]
        if symbol[1:-1] not in self.classes:
            self.fail(f"there is no class {symbol}; [function] and [content] hold {len(self.classes)} others")
        return self.classes[symbol[1:-1]]

    def odds(self, variable: str, where: str) -> dict[str, float]:
        """Return the values of a variable that occurs in ``where``, with their probabilities."""
        if variable not in self.variables:
            self.fail(f"{where!r} mentions {{{variable}}}, which [remember] does not list")
        return self.variables[variable]

    def find_state(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the state that matches a name, as written in the file, and the values of its variables."""
        for state, pattern in self._patterns.items():
            if match := pattern.fullmatch(name):
                return state, dict(zip(SLOT.findall(state), match.groups(), strict=True))
        self.fail(f"[states]: a rule leads to {name!r}, and there is no such state")

    def fail(self, what: str) -> NoReturn:
        """Raise a `WorldError` that begins with the file's name."""
        raise WorldError(f"{self.path}: {what}.")

    def _read(self) -> dict[str, Any]:
        try:
            raw = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise WorldError(f"{self.path}: not readable as a grammar: {error}.") from error
        for table, (is_valid, expected) in TABLES.items():
            if not isinstance(raw.get(table), dict):
                self.fail(f"the table [{table}] is missing")
            for name, value in raw[table].items():
                if not is_valid(value):
                    self.fail(f"[{table}] {name}: expected {expected}, found {value!r}")
        if START not in raw["states"]:
            self.fail(f"[states] {START} is missing; every sentence begins there")
        return raw

    def _read_classes(self, table: dict[str, str]) -> set[str]:
        """Add a table's classes (``"a she|he"`` names two of them) and return the words in their phrases."""
        words: set[str] = set()
        for key, text in table.items():
            items = [ITEM.fullmatch(item) for item in text.split(",")]
            if not all(items):
                self.fail(f"class {key!r}: expected `word, word*3, two words`, found {text!r}")
            weighted = [(tuple(item[1].split()), int(item[2] or 1)) for item in items if item]
            total = sum(weight for _, weight in weighted)
            for name in map(" ".join, product(*(part.split("|") for part in key.split(" ")))):
                if name in self.classes:
                    self.fail(f"class <{name}> is listed twice")
                self.classes[name] = [(phrase, weight / total) for phrase, weight in weighted]
            words |= {self._word(word, f"class {key!r}") for phrase, _ in weighted for word in phrase}
        return words

    def _rule(self, line: str, state: str) -> Rule:
        match = RULE.fullmatch(line.strip())
        if not match or SYMBOL.sub("", match[2]).strip():
            self.fail(f"[states] {state}: expected `PROBABILITY: PHRASE -> STATE`, found {line!r}")
        rule = Rule(float(match[1]), tuple(SYMBOL.findall(match[2])), match[3])
        for symbol in rule.phrase:
            slot = SLOT.fullmatch(symbol)
            words = self.odds(slot[1], state) if slot else [] if symbol.startswith("<") else [symbol]
            if ambiguous := {self._word(word, f"[states] {state}") for word in words} & self.content:
                self._fail_ambiguous(min(ambiguous))
        return rule

    def _pattern(self, state: str) -> re.Pattern[str]:
        """Return the pattern of a state's name, in which a variable matches any of its values."""
        pattern = ""
        for i, part in enumerate(SLOT.split(state)):  # text, variable, text, variable, … text
            pattern += f"({'|'.join(map(re.escape, self.odds(part, state)))})" if i % 2 else re.escape(part)
        return re.compile(pattern)

    def _check_odds(self, probs: list[float], rule: str) -> None:
        if not all(prob > 0 for prob in probs):
            self.fail(f"{rule}: every probability must be a number above zero, found {probs}")
        if not isclose(sum(probs), 1.0, rel_tol=1e-12):
            self.fail(f"{rule}: the probabilities sum to {sum(probs):.12g}, not to one")

    def _word(self, word: str, where: str) -> str:
        if not word.isalpha() or word != word.lower():
            self.fail(f"{where} contains {word!r}; words consist of lower-case letters only")
        return word

    def _fail_ambiguous(self, word: str) -> NoReturn:
        self.fail(f"{word!r} is a function word and stands under [content]; a word is one or the other")
