"""The site is built whole, from what has been executed, and a broken source is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from auxlib.errors import CourseError
from course import site as building
from course.config import Course, load_course
from course.site import build_site, lay_out, published
from tests.course.conftest import ROOT
from tests.course.site.access import faults, of_html
from tests.course.site.conftest import MakeSite

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated. Check CHANGES for Sphinx")
FRONT = {"docs/index.md": "# Front\n\n[Begin with the tiny notebook](../notebooks/01_tiny.ipynb)\n"}
PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()


def pages(folder: Path) -> list[Path]:
    """Every page of a built site; the theme leaves templates among its files, which are none."""
    return [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]


def dead_links(folder: Path) -> list[str]:
    """Every link and picture within a site whose file, or whose place on its page, is not there."""
    soups = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in pages(folder)}
    places = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in soups.items()}
    found = []
    for path, soup in soups.items():
        for tag in soup.find_all(["a", "img", "script", "link"]):
            target = urlsplit(tag.get("href") or tag.get("src") or "")
            if target.scheme or target.netloc or not (target.path or target.fragment):
                continue
            there = (path.parent / unquote(target.path)).resolve() if target.path else path.resolve()
            known = places.get(there, {unquote(target.fragment)})
            if not there.is_file() or (target.fragment and unquote(target.fragment) not in known):
                found.append(f"{path.relative_to(folder)}: {target.geturl()}")
    return found


def test_every_notebook_and_every_page_is_there(site: Path) -> None:
    course = load_course(ROOT)
    names = {path.relative_to(site).as_posix() for path in pages(site)}
    assert {f"notebooks/{row.slug}.html" for row in course.notebooks} <= names
    docs = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {path.with_suffix(".html").as_posix() for path in docs} <= names


def test_links_and_pictures_within_the_site_lead_somewhere(site: Path) -> None:
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="p"><a href="b.html">b</a><a href="#q">q</a><a href="#p">p</a>')
    assert dead_links(tmp_path) == ["a.html: b.html", "a.html: #q"]


def test_nothing_for_instructors_is_on_the_site(site: Path) -> None:
    files = {path.name for path in (site / "_downloads").rglob("*") if path.is_file()}
    assert files, "each notebook's first cell offers it as a file"
    assert not files & {path.name for path in (ROOT / "notebooks" / "answers").glob("*")}


def test_a_missing_picture_is_named(make_site: MakeSite, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    course = make_site(FRONT, nbformat.v4.new_markdown_cell("![A picture that is not there](gone.png)"))
    with pytest.raises(CourseError, match="could not be built"):
        build_site(course, tmp_path / "site")
    assert "gone.png" in capfd.readouterr().err


def test_a_link_to_nothing_is_named(make_site: MakeSite, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CourseError, match="could not be built"):
        build_site(
            make_site(FRONT | {"docs/more.md": "# More\n\n[Gone](../notebooks/99_gone.ipynb)"}), tmp_path / "site"
        )
    assert "99_gone" in capfd.readouterr().err


def test_a_page_may_not_hand_out_what_is_for_instructors(make_site: MakeSite, tmp_path: Path) -> None:
    course = make_site(
        FRONT
        | {"notebooks/answers/01_tiny.md": "# 1.1", "docs/more.md": "[All answers](../notebooks/answers/01_tiny.md)"}
    )
    with pytest.raises(CourseError, match="for instructors"):
        lay_out(course, tmp_path / "source")


@pytest.fixture
def tiny_page(make_site: MakeSite, tmp_path: Path) -> BeautifulSoup:
    """One notebook with everything that is treated on its way to the site."""
    figure = nbformat.v4.new_output(
        "display_data",
        data={"image/png": PNG, "text/plain": "A dot, and nothing else."},
        metadata={"image/png": {"alt": "A dot, “quoted”, and nothing else."}},
    )
    text = (
        "[![Open in a laboratory](https://example.org/badge.svg)](https://example.org/open)\n\n"
        "See [the front](../docs/index.md), [some data](../data/a.json), [the cards](../data/) and `f[a](b)`.\n\n"
        "% a line that begins with a per cent sign\n\n"
        "<details><summary>Hint 1</summary>2*D*D + 2*D*kv, <code>x &gt; 0</code></details>\n\n"
        "**1.** Why?\n<details><summary>Answer</summary>Because *so*: $x_{<t}$ and `code`.</details>\n"
    )
    table = nbformat.v4.new_output("display_data", data={"text/markdown": "| a | b |\n|--:|--:|\n| 1 | 2 |\n"})
    cells = [
        nbformat.v4.new_markdown_cell(text),
        nbformat.v4.new_code_cell("draw()", outputs=[figure], execution_count=1),
        nbformat.v4.new_code_cell("table()", outputs=[table], execution_count=2),
    ]
    built = build_site(make_site(FRONT | {"data/a.json": "{}"}, *cells), tmp_path / "site")
    page = built.parent / "notebooks" / "01_tiny.html"
    assert dead_links(built.parent) == []
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article")


def test_what_happens_to_a_notebook_on_its_way(tiny_page: BeautifulSoup) -> None:
    hint, answer = tiny_page.find_all("details")
    assert hint.get_text() == "Hint 12*D*D + 2*D*kv, x > 0", "hints are HTML: no star of a formula is lost"
    assert answer.find("em").get_text() == "so"
    assert answer.find(class_="math")
    assert answer.find("code").get_text() == "code"
    assert tiny_page.find("img")["alt"] == "A dot, “quoted”, and nothing else."
    assert "badge.svg" not in str(tiny_page), "a picture on another host becomes words"
    links = {link.get_text(): link["href"] for link in tiny_page.find_all("a", class_="reference")}
    assert links["Open in a laboratory"] == "https://example.org/open"
    assert links["the front"] == "../index.html"
    assert links["some data"].endswith("/a.json")
    assert links["this notebook as a file"].endswith("/01_tiny.ipynb")
    assert "the cards" not in links, "a folder is no page"
    assert "f[a](b)" in tiny_page.get_text()
    assert "% a line" in tiny_page.get_text()
    assert [cell.get_text() for cell in tiny_page.find("table").find_all("td")] == ["1", "2"]


def test_a_whole_fresh_run_of_the_same_code_is_shown_and_no_other(make_site: MakeSite) -> None:
    code = nbformat.v4.new_code_cell('print("profile: quick")', execution_count=1)
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text="profile: quick\ncommitted\n")]
    course = make_site(FRONT, code)
    (row,) = course.notebooks
    fresh = nbformat.read(course.built(row.slug), 4)
    path = course.build_dir("quick") / f"{row.slug}.ipynb"
    path.parent.mkdir(parents=True)

    def shown(**changes: object) -> str:
        fresh.cells[1].update(changes)
        nbformat.write(fresh, path)
        return published(course, row).cells[1].outputs[0].text.split()[-1]

    new = [nbformat.v4.new_output("stream", name="stdout", text="profile: quick\nfresh\n")]
    assert published(course, row).cells[1].outputs[0].text.split()[-1] == "committed"
    assert shown(outputs=new) == "fresh"
    assert shown(execution_count=None) == "committed", "the run did not get that far"
    assert shown(execution_count=1, source="other code") == "committed"


def test_a_folder_with_something_else_in_it_is_left_alone(make_site: MakeSite, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "diary.txt").write_text("mine")
    with pytest.raises(CourseError, match="no site of ours"):
        build_site(make_site(FRONT), tmp_path / "site")
    assert (tmp_path / "site" / "diary.txt").read_text() == "mine"


def test_our_own_is_made_anew_and_stays_when_that_fails(make_site: MakeSite, tmp_path: Path) -> None:
    course = make_site(FRONT)
    index = build_site(course, tmp_path / "site")
    (index.parent / "old.html").touch()
    assert build_site(course, tmp_path / "site") == index
    assert not (index.parent / "old.html").exists()
    (course.root / "docs" / "broken.md").write_text("# Broken\n\n[Gone](gone.md)")
    with pytest.raises(CourseError, match="could not be built"):
        build_site(course, tmp_path / "site")
    assert index.is_file()


def test_missing_sources_are_named(make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CourseError, match=r"index\.md is missing"):
        lay_out(make_site({}), tmp_path / "other")
    monkeypatch.setattr(building, "MATH_SHA256", "0" * 64)
    (tmp_path / "tiny" / "docs" / "index.md").write_text("# Front")
    with pytest.raises(CourseError, match="not the pinned one"):
        lay_out(load_course(tmp_path / "tiny"), tmp_path / "other")


def finished_run(course: Course, error: str | None = None, profile: str = "quick") -> Path:
    """A run of the tiny notebook as `course.execute.run` leaves it, with its outputs unless it failed."""
    (row,) = course.notebooks
    folder = course.build_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    executed = nbformat.read(course.built(row.slug), 4)
    executed.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"profile: {profile}\nfresh\n")]
    executed.cells[1].execution_count = None if error else 1
    nbformat.write(executed, folder / f"{row.slug}.ipynb")
    outcome = {"slug": row.slug, "seconds": 3.5, "memory_mb": 200, "error": error}
    record = {"profile": profile, "seconds": 4.0, "machine": "one", "versions": {"torch": "2"}, "notebooks": [outcome]}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_the_pages_of_a_run_link_what_ran_and_show_its_outputs(make_site: MakeSite) -> None:
    code = nbformat.v4.new_code_cell('print("profile: full")', execution_count=1)
    course = make_site(FRONT, code)
    index = build_site(course, course.build_dir("full") / "site", finished_run(course, profile="full"))
    assert dead_links(index.parent) == []
    text = (index.parent / "run.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser").find("article")
    assert soup.find("td").find("a")["href"] == "notebooks/01_tiny.html"
    assert [cell.get_text(strip=True) for cell in soup.find_all("td")] == ["01 · The title of 01_tiny", "3.5 s", "–"]
    assert "Profile full, 4.0 s in all on one. torch 2." in soup.get_text()
    assert faults(of_html(text)) == []
    assert "run.html" in index.read_text(encoding="utf-8"), "the menu names it"
    assert "fresh" in (index.parent / "notebooks" / "01_tiny.html").read_text(encoding="utf-8")


def test_the_pages_of_a_run_say_what_failed(make_site: MakeSite) -> None:
    code = nbformat.v4.new_code_cell('print("profile: quick")', execution_count=1)
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text="profile: quick\ncommitted\n")]
    course = make_site(FRONT, code)
    error = "cell [4] `a | b`: ValueError: no\nluck"
    index = build_site(course, course.build_dir("quick") / "site", finished_run(course, error))
    text = (index.parent / "run.html").read_text(encoding="utf-8")
    assert "failed: cell [4] 'a | b': ValueError: no luck" in BeautifulSoup(text, "html.parser").get_text()
    assert "committed" in (index.parent / "notebooks" / "01_tiny.html").read_text(encoding="utf-8")


def test_pages_in_folders_of_the_docs_are_on_the_site(make_site: MakeSite, tmp_path: Path) -> None:
    pages = {
        "docs/index.md": "# Front\n\n[Begin](../notebooks/01_tiny.ipynb), [results](results/claim.md)\n",
        "docs/results/claim.md": "# Results\n\n[Back](../index.md) to [the notebook](../../notebooks/01_tiny.ipynb)\n",
    }
    index = build_site(make_site(pages), tmp_path / "site")
    assert (index.parent / "results" / "claim.html").is_file()
    assert dead_links(index.parent) == []
