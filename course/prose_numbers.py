"""Does the prose say what the run printed? A decimal number in prose carries a key, which readers do not see.

``0.41<!-- sums to -->`` must equal, at the precision written, the first number after "sums to" in the text output
(stdout, or a figure's description) of the nearest code cell above whose output holds the label, else of the nearest
below. ``myopic shift … drift`` finds the one, then the other, then the number. ``0.9<!-- label ±0.05 -->`` leaves
room, for results of training. ``41 %<!-- label -->`` means a printed 0.41, 41 or 41%. Spaces count as one; a label does
not match inside a longer word or number. Another run of the notebook may print what `compare.py` lets it print, one
unit of the last digit more or less than the committed run; the prose must still equal the committed number.

A decimal number without a key is an error. Free are: code, in fences or backticks; formulas; headings; the targets of
links; hints (they come from `course.exercises`) and the generated header; numbers that are names, as "Exercise 2.1",
"Section 3.2", "Python 3.11", "version 2.0", "1.2.3" and arXiv ids. Whole numbers are free as well, also in the answers
of a quiz: whoever writes one that a cell printed gives it a key. A key that follows no number is an error too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from nbformat import NotebookNode

from course.compare import close, stated_tolerance
from course.outputs import tags

_NUMBER = r"(?<![A-Za-z\d_.])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-−+]?\d+)?(?!\d|st\b|nd\b|rd\b|th\b)"
PRINTED = re.compile(rf"(?P<number>{_NUMBER})(?P<percent>\s?%)?")
KEYED = re.compile(rf"{PRINTED.pattern}(?P<marks>[*_$`]*)<!--(?P<key>.*?)-->", re.DOTALL)
Printed: TypeAlias = tuple[int, re.Match]  # the cell that printed a number, and the number
TOLERANCE = re.compile(rf"±\s*({_NUMBER})$")
DECIMAL = re.compile(r"(?<![A-Za-z\d_.])\d*(?:,\d{3})*\.\d+")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
FREE = [re.compile(pattern, re.DOTALL | re.MULTILINE) for pattern in (
    r"<details><summary>Hint \d</summary>.*?</details>",
    r"<(code|pre)>.*?</\1>",
    r"(`+)[^`].*?\1",
    r"\$\$.*?\$\$",
    r"(?<!\\)\$(?:[^$\\]|\\.)+\$",
    r"^ *#{1,6} .*?$",
    r"\]\([^)]*\)",
    r"https?://[^\s>]+",
    r"</?[a-z][^>\n]*>",
    r"\d+(?:\.\d+){2,}",
    r"(?i:arxiv)[: ]\s*\d{4}\.\d{4,5}",
    r"(?i:exercises?|sections?|equations?|eq\.|figures?|tables?|chapters?|§)\s*\d+\.\d+(?:(?:,|\s+and|\s+to|–)\s*\d+\.\d+)*",
    r"(?i:versions?|licen[cs]e|python|pytorch|torch|transformers|cuda|wordnet|unicode|gpl|cc by(?:-sa)?)\s+v?\d+\.\d+",
)]  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A keyed number: the cell it stands in, how it is written, what it is, and where the run should print it."""

    cell: int
    written: str
    value: float
    slack: float  # half a unit of the last digit, or the stated tolerance
    is_percent: bool
    label: tuple[str, ...]

    def agrees(self, printed: float, in_percent: bool) -> bool:
        """Whether the prose may say so when the run printed this."""
        if self.is_percent:
            readings = [printed] if in_percent else [printed, 100 * printed]
        else:
            readings = [printed, printed / 100] if in_percent else [printed]
        return any(abs(reading - self.value) <= self.slack + 1e-9 * max(1.0, abs(reading)) for reading in readings)


def claims(notebook: NotebookNode) -> list[Claim]:
    """Every keyed number, in order."""
    return [_claim(index, match) for index, text in _prose(notebook) for match in KEYED.finditer(text)]


def mismatched_numbers(notebook: NotebookNode, executed: NotebookNode | None = None) -> list[str]:
    """Where the notebook's prose contradicts its outputs, or those of another run of it; cells are paired by id."""
    kept = _texts(notebook, notebook)
    texts = _texts(notebook, executed) if executed else kept
    found = []
    for claim in claims(notebook):
        where = f'cell {claim.cell}: "{claim.written}"'
        label = " … ".join(claim.label)
        printed = _look_up(claim, texts)
        if printed is None:
            found.append(f'{where}: no output holds "{label}" with a number behind it')
        elif not _supports(claim, printed) and not (executed and _follows(claim, notebook, kept, printed)):
            found.append(f'{where}: the run printed {printed[1][0]} after "{label}"')
    return found


def unkeyed(notebook: NotebookNode) -> list[str]:
    """Decimal numbers in prose without a key, and keys without a number."""
    found = []
    for index, text in _prose(notebook):
        text = KEYED.sub(lambda match: "x" + match["marks"], text)
        found += [
            f"cell {index}: the key {key!r} follows no number" for key in re.findall(r"<!--.*?-->", text, re.DOTALL)
        ]
        for pattern in FREE:
            text = pattern.sub(" ", text)
        found += [
            f'cell {index}: "{number[0]}" has no key: …{_around(text, number)}…' for number in DECIMAL.finditer(text)
        ]
    return found


def _texts(notebook: NotebookNode, run: NotebookNode) -> list[str]:
    """What the run printed in each cell of the notebook."""
    runs = {cell.id: _printed(cell) for cell in run.cells if cell.cell_type == "code"}
    return [runs.get(cell.id, "") for cell in notebook.cells]


def _supports(claim: Claim, printed: Printed) -> bool:
    return claim.agrees(_value(printed[1]["number"]), bool(printed[1]["percent"]))


def _follows(claim: Claim, notebook: NotebookNode, kept: list[str], printed: Printed) -> bool:
    """Whether the prose equals the committed number, and the run's number may stand in its place."""
    committed = _look_up(claim, kept)
    if committed is None or committed[0] != printed[0] or committed[1]["percent"] != printed[1]["percent"]:
        return False
    tolerance = stated_tolerance(notebook.cells[committed[0]])
    return _supports(claim, committed) and close(committed[1]["number"], printed[1]["number"], tolerance)


def _prose(notebook: NotebookNode) -> list[tuple[int, str]]:
    cells = enumerate(notebook.cells)
    kept = [(index, cell) for index, cell in cells if cell.cell_type == "markdown" and "header" not in tags(cell)]
    return [(index, FENCE.sub("", cell.source)) for index, cell in kept]


def _claim(cell: int, match: re.Match) -> Claim:
    key = " ".join(match["key"].split())
    number, tolerance = match["number"], TOLERANCE.search(key)
    mantissa, _, exponent = number.partition("e")
    digits = len(mantissa.partition(".")[2])
    slack = _value(tolerance[1]) if tolerance else 0.5 * 10.0 ** (int(exponent.replace("−", "-") or 0) - digits)
    label = re.split(r"\s*(?:…|\.\.\.)\s*", TOLERANCE.sub("", key).strip())
    return Claim(cell, number + (match["percent"] or ""), _value(number), slack, bool(match["percent"]), tuple(label))


def _printed(cell: NotebookNode) -> str:
    """What a code cell says in text, spaces normalised."""
    said = []
    for output in cell.outputs:
        if output.get("name") == "stdout":
            said.append(output.text)
        elif "data" in output:
            said.append(output.data.get("text/plain", ""))
    return " ".join(" ".join(said).split())


def _look_up(claim: Claim, texts: list[str]) -> Printed | None:
    if not all(claim.label):
        return None
    for cell in [*reversed(range(claim.cell)), *range(claim.cell, len(texts))]:
        text, place = texts[cell], 0
        for part in claim.label:
            start = r"(?<!\w)" if re.match(r"\w", part) else ""
            end = r"(?!\w|\.\d)" if re.search(r"\w$", part) else ""
            found = re.compile(start + re.escape(part) + end).search(text, place)
            place = found.end() if found else len(text)
        if printed := PRINTED.search(text, place):
            return cell, printed
    return None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _around(text: str, match: re.Match) -> str:
    return " ".join(text[max(0, match.start() - 30) : match.end() + 20].split())
