"""The whole site, built once, and tiny ones to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
from selenium.webdriver import Chrome

from course.build import METADATA
from course.config import Course, load_course
from course.site import build_site
from tests.course.browser.chromium import chromium, served
from tests.course.conftest import ROOT, ROW

MakeSite = Callable[..., Course]


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the whole site, built as `make site` does, where every warning is an error."""
    return build_site(load_course(ROOT), tmp_path_factory.mktemp("built") / "site").parent


@pytest.fixture(scope="package")
def address(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.fixture(scope="package")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def make_site(tmp_path: Path) -> MakeSite:
    """A course of one notebook with these cells, and these pages in Markdown beside it."""

    def make(pages: Mapping[str, str], *cells: nbformat.NotebookNode) -> Course:
        root = tmp_path / "tiny"
        shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("*.md"))
        (root / "notebooks").mkdir()
        row = ROW.format(slug="01_tiny", number=1, exercises="")
        (root / "notebooks" / "course.toml").write_text(f'title = "Tiny"\nlead = "For tests."\n{row}')
        head = nbformat.v4.new_markdown_cell("# Tiny notebook", metadata={"tags": ["header"]})
        nbformat.write(
            nbformat.v4.new_notebook(cells=[head, *cells], metadata=METADATA), root / "notebooks" / "01_tiny.ipynb"
        )
        for name, text in pages.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return load_course(root)

    return make
