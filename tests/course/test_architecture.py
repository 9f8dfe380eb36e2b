"""Imports point down and never in a circle, and the check that says so bites."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.architecture import Arrow, find_arrows, find_circles, find_modules, report
from tests.course.conftest import ROOT

CLEAN = {
    "auxlib/__init__.py": "",
    "auxlib/product.py": "import math\n",
    "auxlib/modeling.py": "from auxlib.product import combine\n",
    "experiments/claim/trial.py": "from auxlib import modeling\n",
    "course/config.py": "import experiments.claim.trial\n",
}


def tree(root: Path, **changes: str) -> Path:
    """Write the clean tree with some files replaced; `__` in a name stands for a slash."""
    files = CLEAN | {f"{name.replace('__', '/')}.py": text for name, text in changes.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def arrows() -> list[Arrow]:
    return find_arrows(find_modules(ROOT))


def test_the_library_imports_neither_sibling_and_the_experiments_import_no_course(arrows: list[Arrow]) -> None:
    assert [str(arrow) for arrow in arrows if arrow.upward] == []


def test_no_eager_imports_form_a_circle(arrows: list[Arrow]) -> None:
    assert find_circles(arrow for arrow in arrows if not arrow.lazy) == []


def test_the_arrows_of_the_real_tree_are_found(arrows: list[Arrow]) -> None:
    pairs = {(arrow.source, arrow.target): arrow.lazy for arrow in arrows}
    assert pairs["auxlib.modeling", "auxlib.auxiliary"] is False
    assert pairs["course.commands", "course.build"] is True, "the command line imports inside functions"
    assert ("auxlib.commands", "auxlib.modeling") in pairs


def test_a_clean_tree_passes(tmp_path: Path) -> None:
    text, clean = report(tree(tmp_path))
    assert clean
    assert "auxlib         3 files       2 lines" in text
    assert "course → experiments: 1 imports" in text
    assert "experiments → auxlib: 1 imports" in text
    assert "upward: none" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"auxlib__product": "from experiments.claim import trial\n"}, "auxlib.product → experiments.claim.trial"),
        ({"auxlib__product": "def f():\n    import course.config\n"}, "auxlib.product → course.config (lazy)"),
        ({"experiments__claim__trial": "from course import config\n"}, "experiments.claim.trial → course.config"),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, changes: dict[str, str], line: str) -> None:
    text, clean = report(tree(tmp_path, **changes))
    assert not clean
    assert "upward: 1\n" in text
    assert f"    {line}\n" in text


def test_a_circle_is_found(tmp_path: Path) -> None:
    circle = {"auxlib__product": "from auxlib.keywords import k\n", "auxlib__keywords": "import auxlib.modeling\n"}
    text, clean = report(tree(tmp_path, **circle))
    assert not clean
    assert "circles, eager imports: 1\n    auxlib.keywords ↔ auxlib.modeling ↔ auxlib.product\n" in text


def test_a_lazy_circle_is_told_from_an_eager_one(tmp_path: Path) -> None:
    text, clean = report(tree(tmp_path, auxlib__product="def f():\n    from auxlib.modeling import g\n"))
    assert not clean
    assert "circles, eager imports: none\ncircles, lazy ones too: 1\n" in text


def test_an_import_for_type_checkers_does_not_count(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from auxlib.modeling import Model\n"
    _, clean = report(tree(tmp_path, auxlib__product=text))
    assert clean
    _, clean = report(tree(tmp_path, auxlib__product=text + "else:\n    from auxlib.modeling import Model\n"))
    assert not clean
