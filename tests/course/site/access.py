"""Accessibility rules for a page of the site, a page of Markdown and a notebook.

Headings form a table of contents, links name their target, and every picture has an alternative text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from markdown_it.token import Token

VAGUE = {"here", "this", "that", "link", "this link", "click here", "more", "read more", "page", "this page", "see"}
FEW = 4  # words: fewer do not describe a picture
HEADING = re.compile(r"h([1-6])")


@dataclass(frozen=True)
class Item:
    """A heading, a link or a picture. ``level`` is a heading's, ``where`` a link's target or the place in a source."""

    kind: str
    words: str
    where: str = ""
    level: int = 0


def faults(items: Sequence[Item]) -> list[str]:
    """Return every fault of a page, one sentence each."""
    headings = [item for item in items if item.kind == "heading"]
    found = [f"{item.where}: {item.kind} {item.words!r}: {wrong}" for item in items if (wrong := _wrong(item))]
    tops = [item for item in headings if item.level == 1]
    if len(tops) != 1:
        found.append(f"{len(tops)} headings of the first level, expected one: {[item.words for item in tops]}")
    for before, after in zip([Item("heading", "", level=0), *headings], headings, strict=False):
        if after.level > before.level + 1:
            found.append(f"{after.where}: heading {after.words!r}: level {after.level} follows level {before.level}")
    return found


def _wrong(item: Item) -> str:
    words = " ".join(item.words.split())
    if not words:
        return "has no words"
    if item.kind == "link" and words.lower().strip(".→ ") in VAGUE:
        return "does not say where it leads"
    if item.kind == "link" and re.match(r"https?://|www\.", words):
        return "is an address; say what is there"
    if item.kind == "picture" and len(words.split()) < FEW:
        return f"is described in fewer than {FEW} words"
    return ""


def of_html(html: str) -> list[Item]:
    """Return the items of a page of the site, without anchors beside headings and decorative pictures."""
    soup = BeautifulSoup(html, "html.parser")
    items = []
    for tag in soup.find_all([*(f"h{n}" for n in range(1, 7)), "a", "img"]):
        if "headerlink" in tag.get("class", ()) or (tag.name == "img" and tag.get("alt") == ""):
            continue
        level = HEADING.fullmatch(tag.name)
        words = tag.get("alt", "") if tag.name == "img" else tag.get("aria-label") or _words(tag)
        kind = "heading" if level else "picture" if tag.name == "img" else "link"
        items.append(Item(kind, words, tag.get("href") or tag.get("src") or "", int(level[1]) if level else 0))
    return items


def _words(tag: BeautifulSoup) -> str:
    """Return the text for a screen reader: without the anchor behind a heading, with alternative texts of pictures."""
    marks = [str(mark.get_text()) for mark in tag.find_all("a", class_="headerlink")]
    said = tag.get_text() + " ".join(image.get("alt", "") for image in tag.find_all("img"))
    return said.removesuffix(marks[0]) if marks else said


def of_markdown(text: str, name: str, line: int = 1) -> list[Item]:
    """Return the items of a text in Markdown; ``line`` is the number of its first line."""
    items: list[Item] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "inline":
            continue
        where = f"{name}:{line + (token.map or [0])[0]}"
        if before and (level := HEADING.fullmatch(before.tag)):
            items.append(Item("heading", token.content, where, int(level[1])))
        items += _inline(token.children or [], where)
    return items


def _inline(tokens: Sequence[Token], where: str) -> Iterator[Item]:
    inside = False
    words = ""
    for token in tokens:
        if token.type == "image":
            yield Item("picture", token.content, where)
        words += token.content if inside else ""
        if token.type == "link_open":
            inside, words = True, ""
        elif token.type == "link_close":
            inside = False
            yield Item("link", words, where)


def of_notebook(path: Path, source: Path | None = None) -> list[Item]:
    """Return the items of a notebook. Places are lines of ``source`` where they can be found there, else cells."""
    lines = source.read_text(encoding="utf-8").splitlines() if source and source.is_file() else []
    items: list[Item] = []
    for number, cell in enumerate(nbformat.read(path, 4).cells):
        if cell.cell_type == "markdown":
            first = f"# {cell.source.splitlines()[0]}" if cell.source.strip() else ""
            name, line = (source.name, lines.index(first) + 1) if first in lines else (f"{path.name} cell {number}", 1)
            items += of_markdown(cell.source, name, line)
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                words = output.metadata.get(kind, {}).get("alt", "")
                items.append(Item("picture", words, f"{path.name} cell {number}"))
    return items
