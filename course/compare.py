"""Do two runs of a cell print the same? Numbers are compared as numbers, everything else to the letter.

The last digit of a printed number depends on the processor: 0.3125 with three digits is 0.313 here and 0.312 there. So
two numbers agree when they differ by at most **one unit of the last printed digit**; of 0.3 and 0.301, which formats
that drop zeros print side by side, the finer digit counts. Only a decimal point gives this room: whole numbers (counts,
ids, shapes, percentages without decimals) and 1e-3 must have the same value. Numbers inside words and names such as
1.2.3 are letters. Where a number became longer or shorter, 9.99 and 10.00, the spaces beside it are padding.

A cell that may print more differently states how much, in the unit of its numbers, as a tag: ``tolerance:0.02``. This
holds for each number of the cell, whole ones included. Rounding noise has no last digit that repeats: print
``error < 1e-12``, not the error.
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
            how the kinds alternate depends on timing.
        tolerance: what the cell states, see ``stated_tolerance``.
        sanitize: what replaces the parts of a text that may differ, such as addresses in memory.
    """
    old, new = _texts(committed, sanitize), _texts(fresh, sanitize)
    found = []
    for kind in {**old, **new}:
        ours, theirs = old.get(kind, []), new.get(kind, [])
        if len(ours) != len(theirs):
            found.append(f"{kind}: {len(ours)} outputs committed, {len(theirs)} now")
        else:
            pairs = zip(ours, theirs, strict=True)
            found += [f"{kind}: {line}" for one, other in pairs for line in _moved(one, other, tolerance)]
    return found


def stated_tolerance(cell: NotebookNode) -> Decimal:
    """Return the tolerance in a cell's tags, 0 without one. Anything but one positive number is a CourseError."""
    stated = [tag.removeprefix(TAG) for tag in tags(cell) if tag.startswith(TAG)]
    if not stated:
        return Decimal(0)
    try:
        (tolerance,) = map(Decimal, stated)
        good = tolerance.is_finite() and tolerance > 0
    except (ValueError, InvalidOperation):
        good = False
    if not good:
        raise CourseError(
            f"cell {cell.get('id')}: the tags state the tolerance {', '.join(stated)!r}; expected one positive number. "
            f"Write one tag such as {TAG}0.02, or none for one unit of the last digit."
        )
    return tolerance


def sanitizer(path: Path) -> Sanitize:
    """Read the replacements of a file in nbval's format: lines ``regex: …``, each followed by ``replace: …``."""
    text = path.read_text(encoding="utf-8")
    rules = re.findall(r"^regex: (.*)\nreplace: (.*)$", text, re.MULTILINE)
    return lambda said: reduce(lambda text, rule: re.sub(*rule, text), rules, said)


def same_line(committed: str, fresh: str, tolerance: Decimal = Decimal(0)) -> bool:
    """Compare two lines: their numbers by ``close``, what stands between them to the letter."""
    ours, theirs = NUMBER.split(committed), NUMBER.split(fresh)
    if len(ours) != len(theirs):
        return False
    numbers = list(zip(ours[1::2], theirs[1::2], strict=True))
    if not all(close(one, other, tolerance) for one, other in numbers):
        return False
    resized = [False, *(len(one) != len(other) for one, other in numbers), False]
    texts = zip(ours[::2], theirs[::2], resized, resized[1:], strict=False)
    return all(_trimmed(one, before, after) == _trimmed(other, before, after) for one, other, before, after in texts)


def close(committed: str, fresh: str, tolerance: Decimal = Decimal(0)) -> bool:
    """Compare two printed numbers: at most one unit of the last digit apart, or the tolerance if that is more."""
    room = min(_unit(committed), _unit(fresh)) if "." in committed + fresh else Decimal(0)
    return abs(_value(committed) - _value(fresh)) <= max(room, tolerance)


def _texts(outputs: Iterable[NotebookNode], sanitize: Sanitize) -> dict[str, list[Any]]:
    """What each kind of output says: a text for each stream, and one for every rich output of a MIME type."""
    found: dict[str, list[Any]] = {}
    for output in outputs:
        if output.output_type == "stream":
            before = found.get(output.name, [""])
            found[output.name] = [before[0] + output.text]
        elif output.output_type == "error":
            found.setdefault("error", []).append(f"{output.ename}: {output.evalue}")
        else:
            for kind, content in output.data.items():
                if kind not in NOT_COMPARED:
                    found.setdefault(kind, []).append(content)
    return {kind: [sanitize(text) if isinstance(text, str) else text for text in said] for kind, said in found.items()}


def _moved(committed: Any, fresh: Any, tolerance: Decimal) -> list[str]:
    if not (isinstance(committed, str) and isinstance(fresh, str)):  # JSON
        return [] if committed == fresh else [f"committed {committed!r}, now {fresh!r}"]
    pairs = zip_longest(committed.split("\n"), fresh.split("\n"))
    return [
        f"committed {_shown(one)}, now {_shown(other)}"
        for one, other in pairs
        if one is None or other is None or not same_line(one, other, tolerance)
    ]


def _shown(line: str | None) -> str:
    return "no such line" if line is None else repr(line)


def _trimmed(text: str, before: bool, after: bool) -> str:
    """The text between two numbers, without the padding beside those that changed their length."""
    text = text.lstrip(" ") if before else text
    return text.rstrip(" ") if after else text


def _unit(number: str) -> Decimal:
    """One unit of the last digit that is printed."""
    mantissa, _, exponent = number.lower().replace("−", "-").partition("e")
    return Decimal(1).scaleb(int(exponent or 0) - len(mantissa.partition(".")[2]))


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", "").replace("−", "-"))
