"""The code that README and library page show: it runs, or at least imports and calls what exists."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.course.docs.reading import ROOT

PAGES = ("README.md", "docs/library.md")


def python_blocks(path: Path) -> list[str]:
    """Return the fenced Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def wrong_calls(code: str) -> Iterator[str]:
    """Yield every call of an imported function or class with a keyword argument that it does not take."""
    tree = ast.parse(code)
    scope: dict[str, object] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            exec(ast.unparse(statement), scope)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(scope.get(node.func.id)):
            known = inspect.signature(scope[node.func.id]).parameters  # type: ignore[arg-type]
            free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
            given = [word.arg for word in node.keywords if word.arg not in known]
            yield from () if free else (f"{node.func.id}({name}=…)" for name in given)


def test_the_code_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = python_blocks(ROOT / "README.md")
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    one_each, guaranteed, beams, short = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert [len(one_each), len(guaranteed), len(beams), len(short)] == [2, 1, 2, 1]
    assert "lantern" in guaranteed[0].lower()


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_imports_and_calls_what_exists(page: str) -> None:
    blocks = python_blocks(ROOT / page)
    assert blocks
    assert [wrong for code in blocks for wrong in wrong_calls(code)] == []


def test_an_argument_that_does_not_exist_is_found() -> None:
    code = "from auxlib.recipes import load_pretrained\nload_pretrained(several=True)\n"
    assert list(wrong_calls(code)) == ["load_pretrained(several=…)"]
    with pytest.raises(ImportError):
        list(wrong_calls("from auxlib.recipes import shipped"))
