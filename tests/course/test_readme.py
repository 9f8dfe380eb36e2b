"""The README's tables are generated, and a stale one is noticed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from auxlib.errors import CourseError
from course.config import load_course
from course.readme import COUNTED, path_of, render
from tests.course.conftest import ROOT


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


def test_what_the_tests_counted_is_shown(course) -> None:
    assert "No run of the tests has been recorded yet." in render(course)
    counted = dict.fromkeys(("notebooks", "exercises", "planted", "killed", "compared_cells", "prose_numbers"), 7)
    counted |= {"images": 9, "images_with_alt": 8, "quick_seconds": 231, "machine": "Linux, 2 cores"}
    (course.root / COUNTED).parent.mkdir(parents=True)
    (course.root / COUNTED).write_text(json.dumps(counted))
    assert "| 7 of 7 |" in render(course)
    assert "| images described in words | 8 of 9 |" in render(course)
    assert "| 231 s on Linux, 2 cores |" in render(course)


def test_a_missing_mark_is_an_error(course) -> None:
    path_of(course).write_text("# nothing")
    with pytest.raises(CourseError, match="begin map"):
        render(course)


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    course = load_course()
    assert render(course) == path_of(course).read_text(encoding="utf-8"), "run `python -m auxlib notebooks`"
