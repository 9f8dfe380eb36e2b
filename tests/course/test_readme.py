"""The generated blocks of the README and the docs are fresh, and what the README quotes stands on the linked pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from auxlib.errors import CourseError
from course.config import Course, load_course
from course.readme import COUNTED, PAGES, render_page
from course.reference import LIBRARY
from tests.course.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [(page, block) for page, blocks in PAGES.items() for block in blocks]
BULLET = re.compile(r"^- .*(?:\n  .*)*", re.MULTILINE)
QUOTED = re.compile(r"\d+\.\d+|\d+(?= ?%)")


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """The course in a folder that holds the pages and the code, and no recorded results."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for package in ("auxlib", "experiments", "course"):
        (tmp_path / package).symlink_to(ROOT / package)
    return replace(load_course(), root=tmp_path)


def wrong_quotes(text: str, root: Path = ROOT) -> list[str]:
    """Return the figures in bullets that link to a page of results and do not stand on that page."""
    wrong = []
    for bullet in BULLET.findall(text):
        for page in re.findall(r"\((docs/results/\w+\.md)\)", bullet):
            known = set(QUOTED.findall((root / page).read_text(encoding="utf-8")))
            quoted = QUOTED.findall(re.sub(r"\]\([^)]*\)", "]", bullet))
            wrong += [f"{page}: {figure}" for figure in quoted if figure not in known]
    return wrong


def test_every_notebook_is_on_both_maps(course: Course) -> None:
    short, full = render_page(course, "README.md"), render_page(course, "docs/index.md")
    for row in course.notebooks:
        assert f"(notebooks/{row.slug}.ipynb)" in short
        assert f"(../notebooks/{row.slug}.ipynb)" in full


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{block}" for page, block in BLOCKS])
def test_a_block_is_replaced_and_the_rest_is_kept(course: Course, page: str, block: str) -> None:
    fresh = render_page(course, page)
    pattern = rf"(<!-- begin {block} -->\n).*?(<!-- end {block} -->)"
    stale = re.sub(pattern, r"\1old\n\2", fresh, flags=re.DOTALL)
    (course.root / page).write_text(stale, encoding="utf-8")
    assert stale != fresh
    assert render_page(course, page) == fresh


def test_what_the_tests_counted_is_shown(course: Course) -> None:
    assert "No run of the tests has been recorded yet." in render_page(course, "docs/testing.md")
    names = ("notebooks", "exercises", "planted", "killed", "compared_cells", "prose_numbers")
    counted: dict[str, object] = dict.fromkeys(names, 7)
    counted |= {"images": 9, "images_with_alt": 8, "quick_seconds": 231, "machine": "Linux, 2 cores"}
    (course.root / COUNTED).parent.mkdir(parents=True)
    (course.root / COUNTED).write_text(json.dumps(counted))
    text = render_page(course, "docs/testing.md")
    assert "| 7 of 7 |" in text
    assert "| images described in words | 8 of 9 |" in text
    assert "| 231 s on Linux, 2 cores |" in text


def test_the_state_of_ci_is_shown_once_the_course_has_an_address(course: Course) -> None:
    assert "badge.svg" not in render_page(course, "README.md")
    flow = "https://github.com/owner/name/actions/workflows/course.yml"
    shown = render_page(replace(course, repository="owner/name"), "README.md")
    assert f"[![Tests of the main branch]({flow}/badge.svg)]({flow})" in shown


@pytest.mark.parametrize("page", PAGES)
def test_a_missing_mark_is_an_error(course: Course, page: str) -> None:
    (course.root / page).write_text("# nothing")
    with pytest.raises(CourseError, match=f"{page} must hold one block <!-- begin {next(iter(PAGES[page]))}"):
        render_page(course, page)


def test_a_missing_page_is_an_error(course: Course) -> None:
    (course.root / "docs/results/claim.md").unlink()
    with pytest.raises(CourseError, match=r"docs/results/claim\.md is missing"):
        render_page(course, "docs/results/claim.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_committed_blocks_are_fresh(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert render_page(load_course(), page) == text, "run `python -m auxlib notebooks`"


def test_the_readme_is_short_and_shows_a_sentence_on_its_first_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines.index("<!-- begin samples -->") < 25


def test_the_figures_that_the_readme_quotes_stand_on_the_linked_pages() -> None:
    assert wrong_quotes(README) == []
    assert sum(len(QUOTED.findall(bullet)) for bullet in BULLET.findall(README)) > 15


def test_a_figure_that_drifted_is_found() -> None:
    drifted = README.replace("0.713", "0.714")
    assert wrong_quotes(drifted) == ["docs/results/smollm.md: 0.714"]


def test_every_page_of_results_states_precision_and_machine() -> None:
    for path in sorted((ROOT / "docs" / "results").glob("*.md")):
        first = path.read_text(encoding="utf-8").split("\n\n")[1]
        assert first.startswith("*Recorded on "), path
        assert re.search(r"float32|bfloat16", first), path
        assert path.relative_to(ROOT).as_posix() in README, path


def test_the_reference_lists_public_names_with_their_first_sentence() -> None:
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    listed = {room for rooms in LIBRARY.values() for room in rooms}
    rooms = {
        path.stem for path in (ROOT / "auxlib").iterdir() if path.name[0] not in "._" and path.suffix in ("", ".py")
    }
    assert listed == rooms - {"commands", "doctor"}, "course.reference.LIBRARY lists every room but the command line's"
    assert "`auxlib.classification.ytuning`: " in text
    assert "| `combine` | Add weighted auxiliary logits to the language model's" in text
    assert "| `_" not in text
