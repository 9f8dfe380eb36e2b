"""Comparison of the outputs of two runs of a cell: numbers as numbers, everything else to the letter.

The last digit of a printed number depends on the processor: 0.3125 with three digits is 0.313 on one machine and 0.312
on another. Two numbers therefore agree when they differ by at most **one unit of the last printed digit**; for 0.3 and
0.301, which formats that drop zeros print, the finer digit counts. The tolerance applies only to numbers with a decimal
point: whole numbers (counts, ids, shapes, percentages without decimals) and 1e-3 must have the same value. Numbers
inside words, and names such as 1.2.3, are text. Where the length of a number changes, 9.99 and 10.00, the spaces beside
it are padding.

A cell with a larger tolerance states it in the unit of its numbers as a tag, ``tolerance:0.02``; it holds for each
number of the cell, whole ones included. Rounding errors have no reproducible digit: print ``error < 1e-12``, not the
error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import reduce
from itertools import zip_longest
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from auxlib.errors import CourseError
from course.outputs import tags

NUMBER = re.compile(
    r"(?<![\w.])([-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-−+]\d{1,3})?)(?!\d|\.\d)", re.IGNORECASE
)
TAG = "tolerance:"
# pixels depend on fonts; the description of a picture is its text/plain. Models of widgets have random ids.
NOT_COMPARED = ("image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json")
Sanitize = Callable[[str], str]


def differences(
    committed: Iterable[NotebookNode],
    fresh: Iterable[NotebookNode],
    tolerance: Decimal = Decimal(0),
    sanitize: Sanitize = str,
) -> list[str]:
    """List where the outputs of two runs of a cell differ, line by line; nothing when they agree.

    Args:
        committed, fresh: outputs of the cell. Those of one kind (a stream, a MIME type) are compared in their order;
            the order of different kinds depends on timing.
        tolerance: of the cell, see ``stated_tolerance``.
        sanitize: replaces the parts of a text that may differ, such as memory addresses.
    """
    old, new = _texts(committed, sanitize), _texts(fresh, sanitize)
    lines = []
    for kind in {**old, **new}:
        before, after = old.get(kind, []), new.get(kind, [])
        if len(before) != len(after):
            lines.append(f"{kind}: {len(before)} outputs committed, {len(after)} now")
        else:
            pairs = zip(before, after, strict=True)
            lines += [f"{kind}: {line}" for pair in pairs for line in _differing_lines(*pair, tolerance)]
    return lines


def stated_tolerance(cell: NotebookNode) -> Decimal:
    """Return the tolerance in a cell's tags, 0 without one.

    Raises:
        CourseError: the tags state anything but one positive number.
    """
    stated = [tag.removeprefix(TAG) for tag in tags(cell) if tag.startswith(TAG)]
    if not stated:
        return Decimal(0)
    try:
        (tolerance,) = map(Decimal, stated)
        valid = tolerance.is_finite() and tolerance > 0
    except (ValueError, InvalidOperation):
        valid = False
    if not valid:
        raise CourseError(
            f"cell {cell.get('id')}: the tags state the tolerance {', '.join(stated)!r}; expected one positive number. "
            f"Write one tag such as {TAG}0.02, or none for one unit of the last digit."
        )
    return tolerance


def sanitizer(path: Path) -> Sanitize:
    """Read the replacements of a file in nbval's format: lines ``regex: …``, each followed by ``replace: …``."""
    text = path.read_text(encoding="utf-8")
    rules: list[tuple[str, str]] = re.findall(r"^regex: (.*)\nreplace: (.*)$", text, re.MULTILINE)
    return lambda text: reduce(lambda result, rule: re.sub(rule[0], rule[1], result), rules, text)


def same_line(committed: str, fresh: str, tolerance: Decimal = Decimal(0)) -> bool:
    """Return whether two lines agree: their numbers by ``close``, the text between them to the letter."""
    old, new = NUMBER.split(committed), NUMBER.split(fresh)  # text, number, text, …, text
    if len(old) != len(new):
        return False
    numbers = list(zip(old[1::2], new[1::2], strict=True))
    if not all(close(a, b, tolerance) for a, b in numbers):
        return False
    resized = [False, *(len(a) != len(b) for a, b in numbers), False]
    texts = zip(old[::2], new[::2], resized, resized[1:], strict=False)
    return all(_trimmed(a, before, after) == _trimmed(b, before, after) for a, b, before, after in texts)


def close(committed: str, fresh: str, tolerance: Decimal = Decimal(0)) -> bool:
    """Return whether two printed numbers differ by at most one unit of the last digit, or the tolerance if larger."""
    unit = min(_unit(committed), _unit(fresh)) if "." in committed + fresh else Decimal(0)
    return abs(_value(committed) - _value(fresh)) <= max(unit, tolerance)


def _texts(outputs: Iterable[NotebookNode], sanitize: Sanitize) -> dict[str, list[Any]]:
    """Return the contents by kind: one text for each stream, and one for every rich output of a MIME type."""
    texts: dict[str, list[Any]] = {}
    for output in outputs:
        if output.output_type == "stream":
            before = texts.get(output.name, [""])
            texts[output.name] = [before[0] + output.text]
        elif output.output_type == "error":
            texts.setdefault("error", []).append(f"{output.ename}: {output.evalue}")
        else:
            for kind, content in output.data.items():
                if kind not in NOT_COMPARED:
                    texts.setdefault(kind, []).append(content)
    return {
        kind: [sanitize(item) if isinstance(item, str) else item for item in items] for kind, items in texts.items()
    }


def _differing_lines(committed: Any, fresh: Any, tolerance: Decimal) -> list[str]:
    if not (isinstance(committed, str) and isinstance(fresh, str)):  # JSON
        return [] if committed == fresh else [f"committed {committed!r}, now {fresh!r}"]
    pairs = zip_longest(committed.split("\n"), fresh.split("\n"))
    return [
        f"committed {_shown(old)}, now {_shown(new)}"
        for old, new in pairs
        if old is None or new is None or not same_line(old, new, tolerance)
    ]


def _shown(line: str | None) -> str:
    return "no such line" if line is None else repr(line)


def _trimmed(text: str, before: bool, after: bool) -> str:
    """Return the text between two numbers, without the padding beside those whose length changed."""
    text = text.lstrip(" ") if before else text
    return text.rstrip(" ") if after else text


def _unit(number: str) -> Decimal:
    """Return one unit of the last printed digit."""
    mantissa, _, exponent = number.lower().replace("−", "-").partition("e")
    return Decimal(1).scaleb(int(exponent or 0) - len(mantissa.partition(".")[2]))


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", "").replace("−", "-"))
