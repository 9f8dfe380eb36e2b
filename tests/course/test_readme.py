"""The README's tables are generated, and a stale one is noticed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from auxlib.course.readme import path_of, render
from auxlib.course.table import load_course
from auxlib.errors import CourseError

from .conftest import ROOT


@pytest.fixture
def course(tmp_path: Path):
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    return replace(load_course(), root=tmp_path)


def test_every_notebook_is_on_the_map(course) -> None:
    text = render(course)
    assert all(f"(notebooks/{row.slug}.ipynb)" in text for row in course.notebooks)


def test_what_stands_between_the_marks_is_replaced_and_the_rest_is_kept(course) -> None:
    fresh = render(course)
    path_of(course).write_text(re.sub(r"(<!-- begin map -->\n).*?(<!-- end map -->)", r"\1old\n\2", fresh, flags=re.S))
    assert render(course) == fresh


def test_a_missing_mark_is_an_error(course) -> None:
    path_of(course).write_text("# nothing")
    with pytest.raises(CourseError, match="begin map"):
        render(course)


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    course = load_course()
    assert render(course) == path_of(course).read_text(encoding="utf-8"), "run `python -m auxlib notebooks`"
