"""Numbers in a notebook's prose, compared with its outputs.

A decimal number in prose carries a key, an HTML comment that readers do not see. ``0.41<!-- sums to -->`` must equal,
at the precision written, the first number after "sums to" in the text output (stdout, or a figure's description) of the
nearest code cell above whose output holds the label, else of the nearest below. ``myopic shift … drift`` searches the
first part, then the second, then the number. ``0.9<!-- label ±0.05 -->`` states a tolerance, for results of training.
``41 %<!-- label -->`` means a printed 0.41, 41 or 41%. Runs of spaces count as one; a label does not match inside a
longer word or number. Another run of the notebook may print what `compare.py` accepts, one unit of the last digit more
or less than the committed run; the prose must still equal the committed number.

A decimal number without a key is an error, and so is a key that follows no number. Exempt are: code, in fences or
backticks; formulas; headings; link targets; hints (they come from `course.exercises`) and the generated header; numbers
that are names, as "Exercise 2.1", "Section 3.2", "Python 3.11", "version 2.0", "1.2.3" and arXiv ids. Whole numbers are
exempt too, also in the answers of a quiz; authors give a key to one that a cell printed.
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
EXEMPT_PATTERNS = (
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
)
EXEMPT = [re.compile(pattern, re.DOTALL | re.MULTILINE) for pattern in EXEMPT_PATTERNS]


@dataclass(frozen=True)
class Claim:
    """A keyed number: its cell, its text, its value, and the label after which the run should print it."""

    cell: int
    written: str
    value: float
    slack: float  # half a unit of the last digit, or the stated tolerance
    is_percent: bool
    label: tuple[str, ...]

    def agrees(self, printed: float, in_percent: bool) -> bool:
        """Return whether the number in the prose agrees with a printed one."""
        if self.is_percent:
            readings = [printed] if in_percent else [printed, 100 * printed]
        else:
            readings = [printed, printed / 100] if in_percent else [printed]
        return any(abs(reading - self.value) <= self.slack + 1e-9 * max(1.0, abs(reading)) for reading in readings)


def claims(notebook: NotebookNode) -> list[Claim]:
    """Return every keyed number, in order."""
    return [_claim(index, match) for index, text in _prose(notebook) for match in KEYED.finditer(text)]


def mismatched_numbers(notebook: NotebookNode, executed: NotebookNode | None = None) -> list[str]:
    """Return where the prose contradicts the notebook's outputs, or those of another run; cells are paired by id."""
    committed = _texts(notebook, notebook)
    texts = _texts(notebook, executed) if executed else committed
    lines = []
    for claim in claims(notebook):
        where = f'cell {claim.cell}: "{claim.written}"'
        label = " … ".join(claim.label)
        printed = _look_up(claim, texts)
        if printed is None:
            lines.append(f'{where}: no output holds "{label}" with a number behind it')
        elif not _supports(claim, printed) and not (executed and _follows(claim, notebook, committed, printed)):
            lines.append(f'{where}: the run printed {printed[1][0]} after "{label}"')
    return lines


def unkeyed(notebook: NotebookNode) -> list[str]:
    """Return the decimal numbers in prose without a key, and the keys without a number."""
    lines = []
    for index, text in _prose(notebook):
        text = KEYED.sub(lambda match: "x" + match["marks"], text)
        lines += [
            f"cell {index}: the key {key!r} follows no number" for key in re.findall(r"<!--.*?-->", text, re.DOTALL)
        ]
        for pattern in EXEMPT:
            text = pattern.sub(" ", text)
        lines += [
            f'cell {index}: "{number[0]}" has no key: …{_around(text, number)}…' for number in DECIMAL.finditer(text)
        ]
    return lines


def _texts(notebook: NotebookNode, run: NotebookNode) -> list[str]:
    """Return the text that a run printed in each cell of the notebook."""
    runs = {cell.id: _printed(cell) for cell in run.cells if cell.cell_type == "code"}
    return [runs.get(cell.id, "") for cell in notebook.cells]


def _supports(claim: Claim, printed: Printed) -> bool:
    return claim.agrees(_value(printed[1]["number"]), bool(printed[1]["percent"]))


def _follows(claim: Claim, notebook: NotebookNode, committed: list[str], printed: Printed) -> bool:
    """Return whether the prose equals the committed number, and the run's number agrees with that by `close`."""
    original = _look_up(claim, committed)
    if original is None or original[0] != printed[0] or original[1]["percent"] != printed[1]["percent"]:
        return False
    tolerance = stated_tolerance(notebook.cells[original[0]])
    return _supports(claim, original) and close(original[1]["number"], printed[1]["number"], tolerance)


def _prose(notebook: NotebookNode) -> list[tuple[int, str]]:
    cells = enumerate(notebook.cells)
    prose = [(index, cell) for index, cell in cells if cell.cell_type == "markdown" and "header" not in tags(cell)]
    return [(index, FENCE.sub("", cell.source)) for index, cell in prose]


def _claim(cell: int, match: re.Match) -> Claim:
    key = " ".join(match["key"].split())
    number, tolerance = match["number"], TOLERANCE.search(key)
    mantissa, _, exponent = number.partition("e")
    digits = len(mantissa.partition(".")[2])
    slack = _value(tolerance[1]) if tolerance else 0.5 * 10.0 ** (int(exponent.replace("−", "-") or 0) - digits)
    label = re.split(r"\s*(?:…|\.\.\.)\s*", TOLERANCE.sub("", key).strip())
    return Claim(cell, number + (match["percent"] or ""), _value(number), slack, bool(match["percent"]), tuple(label))


def _printed(cell: NotebookNode) -> str:
    """Return the text output of a code cell, spaces normalised."""
    texts = []
    for output in cell.outputs:
        if output.get("name") == "stdout":
            texts.append(output.text)
        elif "data" in output:
            texts.append(output.data.get("text/plain", ""))
    return " ".join(" ".join(texts).split())


def _look_up(claim: Claim, texts: list[str]) -> Printed | None:
    if not all(claim.label):
        return None
    for cell in [*reversed(range(claim.cell)), *range(claim.cell, len(texts))]:
        text, position = texts[cell], 0
        for part in claim.label:
            start = r"(?<!\w)" if re.match(r"\w", part) else ""
            end = r"(?!\w|\.\d)" if re.search(r"\w$", part) else ""
            match = re.compile(start + re.escape(part) + end).search(text, position)
            position = match.end() if match else len(text)
        if printed := PRINTED.search(text, position):
            return cell, printed
    return None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _around(text: str, match: re.Match) -> str:
    return " ".join(text[max(0, match.start() - 30) : match.end() + 20].split())
