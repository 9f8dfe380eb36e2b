"""Every symbol of the notebooks' formulas is on the notation page, and begins where the page says."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from course.config import Notebook
from tests.course.docs.reading import COURSE, formulas, notebooks_linked, page, prose
from tests.course.docs.symbols import symbols

ORDER = [row.slug for row in COURSE.notebooks]
SHAPE = re.compile(r"\[([A-Za-z][\w\s,+*-]*)\]")


@dataclass(frozen=True)
class Entry:
    """One row of a table: the symbols that it explains, their names in code, and where they begin."""

    symbols: tuple[str, ...]
    names: tuple[str, ...]
    notebook: str


def entries(text: str) -> list[Entry]:
    """The rows of all tables; a formula in the first column explains its first symbol."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| $")]
    return [_entry([cell.strip() for cell in row]) for row in rows]


def _entry(cells: list[str]) -> Entry:
    symbol, names, *_, first = cells
    (notebook,) = notebooks_linked(first)
    explained = tuple(symbols(formula)[0] for formula in formulas(symbol))
    return Entry(explained, tuple(re.findall(r"`([^`]+)`", names)), notebook)


def used(row: Notebook) -> set[str]:
    """The symbols of a notebook's formulas, and the axes of the shapes in its text."""
    shapes = [shape for code in re.findall(r"`[^`]+`", prose(row)) for shape in SHAPE.findall(code)]
    axes = {letter for shape in shapes for letter in re.findall(r"\b[A-Z]\b", shape)}
    return axes | {symbol for formula in formulas(prose(row)) for symbol in symbols(formula)}


def missing(text: str, where: dict[str, set[str]]) -> dict[str, str]:
    """Symbols that a page leaves out, each with the first notebook that uses it."""
    explained = {symbol for entry in entries(text) for symbol in entry.symbols}
    return {symbol: slug for slug in reversed(where) for symbol in where[slug] - explained}


@pytest.fixture(scope="module")
def where() -> dict[str, set[str]]:
    return {row.slug: used(row) for row in COURSE.notebooks}


def test_every_symbol_is_on_the_page(where: dict[str, set[str]]) -> None:
    assert missing(page("notation.md"), where) == {}


def test_a_symbol_that_nobody_explains_is_named_with_its_notebook(where: dict[str, set[str]]) -> None:
    without = "\n".join(line for line in page("notation.md").splitlines() if not line.startswith("| $\\lambda$"))
    assert missing(without, where) == {"\\lambda": ORDER[0]}
    new = where | {ORDER[-1]: {*where[ORDER[-1]], *symbols(r"\kappa + \mathrm{ESS}(w)")}}
    assert missing(page("notation.md"), new) == {"\\kappa": ORDER[-1], "ESS": ORDER[-1]}


def test_each_symbol_begins_where_the_page_says(where: dict[str, set[str]]) -> None:
    found = entries(page("notation.md"))
    for entry in found:
        for symbol in entry.symbols:
            assert symbol in where[entry.notebook], f"{symbol} is not used in {entry.notebook}"
    for symbol in {symbol for entry in found for symbol in entry.symbols}:
        said = min(ORDER.index(entry.notebook) for entry in found if symbol in entry.symbols)
        true = min(ORDER.index(slug) for slug in where if symbol in where[slug])
        assert said == true, f"{symbol} is used in {ORDER[true]} already"


def test_the_names_in_code_are_names_of_the_course() -> None:
    sources = "".join(COURSE.source(row.slug).read_text(encoding="utf-8") for row in COURSE.notebooks)
    library = "".join(path.read_text(encoding="utf-8") for path in (COURSE.root / "auxlib").rglob("*.py"))
    for entry in entries(page("notation.md")):
        for name in entry.names:
            root = re.split(r"[(\[]", name)[0].removeprefix("world.").strip('"')
            assert re.search(rf"(?<!\w){re.escape(root)}(?!\w)", sources + library), f"nothing is called {name}"


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        (r"\mathrm{KL}(q \,\|\, p_{\text{data}})", ["KL", "q", "p"]),
        (r"\texttt{log\_z} = \log Z", ["log_z", "Z"]),
        (r"\frac{d}{d\lambda}\, \mathbb{E}_\lambda[a]", [r"\lambda", "E", r"\lambda", "a"]),
        (r"A^{\text{with}}_{ss'}\cdot 1", ["A", "s", "s"]),
        (r"g_{dev} + \textit{found}_k", ["g", "found", "k"]),
        (r"(q - y)\,u^\top, \quad q\,q^{\mathsf T}", ["q", "y", "u", "q", "q"]),
        (r"\ln 20{,}000 = 9.9", []),
    ],
)
def test_what_counts_as_a_symbol(formula: str, found: list[str]) -> None:
    assert symbols(formula) == found
