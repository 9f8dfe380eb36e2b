"""Every notebook has speaker notes with all their parts, neither a line nor an essay."""

from __future__ import annotations

import re

import pytest

from course.config import Notebook
from tests.course.docs.reading import COURSE, page

PARTS = ("The one idea", "On the board", "Ask before", "Where they get lost", "Short of time", "Bridge")
every_notebook = pytest.mark.parametrize("row", COURSE.notebooks, ids=lambda row: row.slug)


def notes(text: str) -> dict[str, str]:
    """The sections of the page by their headings."""
    return dict(zip(*[iter(re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:])] * 2, strict=True))


def lacking(text: str, row: Notebook) -> list[str]:
    """What the notes on a notebook lack."""
    note = notes(text).get(f"{row.number:02d} · {row.title}")
    if note is None:
        return [f"no section `## {row.number:02d} · {row.title}`"]
    words, parts = len(note.split()), re.findall(r"^\*\*(.+?)\.\*\*", note, re.MULTILINE)
    found = [] if 150 <= words <= 250 else [f"{words} words, expected 150 to 250"]
    return found + [f"no part {part!r}" for part in PARTS if not any(said.startswith(part) for said in parts)]


@every_notebook
def test_the_notes_are_whole(row: Notebook) -> None:
    assert lacking(page("notes.md"), row) == []


def test_what_is_lacking_is_named() -> None:
    row, text = COURSE.notebooks[0], page("notes.md")
    assert lacking(text.replace("Start here", "Begin here"), row) == ["no section `## 00 · Start here`"]
    assert lacking(text.replace("**Bridge.**", "Bridge:", 1), row) == ["no part 'Bridge'"]
    (said,) = lacking(text.replace("**On the board.**", "**On the board.**" + " words" * 100, 1), row)
    assert said.endswith("words, expected 150 to 250")


def test_the_exercises_that_are_named_exist() -> None:
    known = {exercise.id for row in COURSE.notebooks for exercise in row.exercises}
    named = set(re.findall(r"\b(\d{1,2}\.\d)\b", page("notes.md")))
    assert named <= known, named - known
