"""The prose of the notebooks, without code and without the keys behind numbers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from course.build import source_cells
from course.config import Notebook, load_course

ROOT = Path(__file__).resolve().parents[3]
COURSE = load_course(ROOT)
DOCS = ROOT / "docs"
CODE = re.compile(r"```.*?```|`[^`]*`|<code>.*?</code>", re.DOTALL)


def prose(row: Notebook) -> str:
    """Return the Markdown cells of a notebook's source, which hold neither the hints nor the generated header."""
    return _prose(row.slug)


@cache
def _prose(slug: str) -> str:
    texts = [cell.source for cell in source_cells(COURSE.source(slug)) if cell.cell_type == "markdown"]
    return re.sub(r"<!--.*?-->", "", "\n\n".join(texts), flags=re.DOTALL)


def formulas(text: str) -> list[str]:
    """Return the formulas between dollars, displayed or inline."""
    found = re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", CODE.sub("", text), flags=re.DOTALL)
    return [shown or inline for shown, inline in found]


def bold(text: str) -> list[str]:
    """Return the text between double asterisks, spaces normalised."""
    return [" ".join(found.split()) for found in re.findall(r"\*\*(.+?)\*\*", CODE.sub("", text), flags=re.DOTALL)]


def page(name: str) -> str:
    """Read a page of the documentation."""
    return (DOCS / name).read_text(encoding="utf-8")


def notebooks_linked(text: str) -> list[str]:
    """Return the slugs of the notebooks that a text links to, in order."""
    return re.findall(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", text)
