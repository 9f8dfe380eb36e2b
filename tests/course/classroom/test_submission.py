"""A function is found by its name, wherever it stands, with what it needs and nothing else."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from auxlib.errors import CourseError
from course.classroom.submission import Submission, bindings, needed, read_cells, read_submission

HERE = Path("handed_in.ipynb")


def handed(*cells: str) -> Submission:
    return read_cells(HERE, [(True, cell) for cell in cells])


def names(source: str) -> list[str]:
    return [name for name, _ in bindings(source)]


@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("def f(x):\n    return x", ["f"]),
        ("f = lambda x: x", ["f"]),
        ("class F:\n    pass", ["F"]),
        ("import torch.nn as nn, math", ["nn", "math"]),
        ("import os.path", ["os"]),
        ("from torch import Tensor as T", ["T"]),
        ("A, B = 1, [2, 'c']", ["A", "B"]),
        ("rate = -1e-3", ["rate"]),
        ("%matplotlib inline\n!ls\nx = 3\nf?", ["x"]),
        ("%%time\nx = 3", []),
        ("model = load()", []),
        ("f = use('2.1', f)", []),
        ("x = y", []),
        ("table[ROW] = 1", []),
        ("cell.text = 'a'", []),
        ("for i in range(3):\n    z = 1", []),
        ("", []),
        ("from course.exercises.exercise import load_exercise", []),
        ("from course.exercises import check, use", []),
    ],
)
def test_what_a_cell_binds(source: str, bound: list[str]) -> None:
    """Definitions, imports and literals; nothing that only does things, and no door to the solutions."""
    assert names(source) == bound


def test_the_last_definition_comes_first_wherever_it_stands() -> None:
    found = handed("def g(): return 1", "x = 1", "def f(): return 1", "def f(): return 2")
    assert [ast.unparse(node) for node in found.answers("f")] == ["def f():\n    return 2", "def f():\n    return 1"]
    assert found.answers("h") == []


def test_a_cell_that_has_become_text_is_read_if_it_is_python_and_code_says_the_last_word() -> None:
    cells = [(True, "def f(): return 1"), (False, "def f(): return 2"), (False, "# Notes\nIt works *sometimes*.")]
    found = read_cells(HERE, cells)
    assert [ast.unparse(node)[-1] for node in found.answers("f")] == ["1", "2"]
    assert found.invalid == []


def test_what_is_missing_is_explained() -> None:
    found = handed("def combine_to(a, b): return a", "def look_ahead(x):\n    return (x")
    assert found.missing("combine_two") == "there is no function `combine_two`; is `combine_to` meant to be it?"
    assert found.missing("look_ahead").startswith("the cell that defines `look_ahead` is no Python: ")
    assert "line 2" in found.missing("look_ahead")
    assert found.missing("entropy") == "there is no function `entropy`."


def test_an_answer_comes_with_what_it_needs() -> None:
    """Through several steps, imports first; a name that the student has given anew is the student's."""
    found = handed("def f(x): return g(x) + B", "def g(x): return torch.exp(x) * A", "A = 2", "B = 3", "C = 4")
    offered = dict(handed("import torch", "import math", "A = 1").bound) | dict(found.bound)
    (answer,) = found.answers("f")
    assert [ast.unparse(node).splitlines()[0] for node in needed(answer, offered)] == [
        "import torch",
        "A = 2",
        "B = 3",
        "def g(x):",
    ]


def test_a_function_that_calls_itself_needs_no_other() -> None:
    found = handed("def f(x): return f(x - 1) if x else 0")
    assert needed(found.answers("f")[0], dict(found.bound)) == []


def test_notebooks_of_older_formats_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cells = [{"cell_type": "code", "input": ["def f():\n", "    return 1"], "language": "python", "outputs": []}]
    path.write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}))
    assert len(read_submission(path).answers("f")) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe\x00", b'"text"', b"%PDF \x80\x81", b"null"])
def test_what_is_no_notebook_is_a_typed_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "thing.ipynb"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=r"thing\.ipynb cannot be read as a notebook"):
        read_submission(path)
