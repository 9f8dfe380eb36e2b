"""The page on the architecture names files and functions that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.course.docs.reading import ROOT, page

PLACE = re.compile(r"`((?:auxlib|course|experiments)/[\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)")


def defined(path: str) -> set[str]:
    """Return the functions, classes and methods of a file, methods as `Class.method`."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def missing(text: str) -> list[str]:
    """Return every place that the page names and that does not exist."""
    wrong = []
    for path, listed in PLACE.findall(text):
        if not (ROOT / path).is_file():
            wrong.append(path)
            continue
        wrong += [f"{path}: {name}" for name in re.findall(r"`([\w.]+)`", listed) if name not in defined(path)]
    return wrong


def test_what_the_page_names_exists() -> None:
    text = page("architecture.md")
    assert len(PLACE.findall(text)) > 20
    assert missing(text) == []
    assert [path for path in re.findall(r"`([\w/]+\.py)`", text) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("`auxlib/keywords.py`: `check_keyword`", "`auxlib/words.py`: `check_keyword`", "auxlib/words.py"),
        ("`AuxiliaryModel.forward`", "`AuxiliaryModel.speak`", "auxlib/auxiliary.py: AuxiliaryModel.speak"),
    ],
)
def test_a_name_that_is_gone_is_found(old: str, new: str, wrong: str) -> None:
    assert missing(page("architecture.md").replace(old, new)) == [wrong]
