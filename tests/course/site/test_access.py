"""Every notebook and every page can be read by those who hear it, cannot tell colours apart, or use no mouse."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import nbformat
import pytest

from auxlib import plot
from course.config import load_course
from tests.course.conftest import ROOT
from tests.course.site.access import Item, faults, of_html, of_markdown, of_notebook
from tests.course.site.colours import SIMULATED, contrast, distance
from tests.course.site.test_build import pages

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated. Check CHANGES for Sphinx")
COURSE = load_course(ROOT)
NOTEBOOKS = [
    path for folder in ("notebooks", "notebooks/assignments") for path in sorted((ROOT / folder).glob("*.ipynb"))
]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PALE = {"#E69F00", "#56B4E9"}  # the two light ones of the palette; bars of them have a hatch, lines a dash and a marker


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_can_be_read_by_everybody(path: Path) -> None:
    items = of_notebook(path, COURSE.source(path.stem))
    assert sum(item.kind == "heading" for item in items) > 5
    assert faults(items) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_text_can_be_read_by_everybody(path: Path) -> None:
    assert faults(of_markdown(path.read_text(encoding="utf-8"), path.name)) == []


def test_every_page_of_the_site_can_be_read_by_everybody(site: Path) -> None:
    found = {path.name: faults(of_html(path.read_text(encoding="utf-8"))) for path in pages(site)}
    assert len(found) > len(COURSE.notebooks)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_every_figure_of_a_notebook_has_its_words_on_the_site(site: Path) -> None:
    for row in COURSE.notebooks:
        told = {item.words for item in of_notebook(COURSE.built(row.slug)) if item.kind == "picture"}
        page = of_html((site / "notebooks" / f"{row.slug}.html").read_text(encoding="utf-8"))
        shown = {item.words for item in page if item.kind == "picture"}
        assert len(shown) == len(told), f"{row.slug}: {len(shown)} of {len(told)} figures are described"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("No heading at all.", "0 headings of the first level"),
        ("# One\n\n# Two", "2 headings of the first level, expected one: ['One', 'Two']"),
        ("# One\n\n### Three", "a.md:3: heading 'Three': level 3 follows level 1"),
        ("## Two\n\n# One", "a.md:1: heading 'Two': level 2 follows level 0"),
        ("# One\n\nFor the table look [here](a.md).", "a.md:3: link 'here': does not say where it leads"),
        ("# One\n\n[](a.md)", "a.md:3: link '': has no words"),
        ("# One\n\n[https://example.org](https://example.org)", "is an address; say what is there"),
        ("# One\n\n![](a.png)", "a.md:3: picture '': has no words"),
        ("# One\n\n![the figure](a.png)", "picture 'the figure': is described in fewer than 4 words"),
    ],
)
def test_each_fault_of_a_text_is_named(text: str, said: str) -> None:
    (found,) = faults(of_markdown(text, "a.md"))
    assert said in found


def test_a_page_and_a_notebook_are_held_to_the_same_rules(tmp_path: Path) -> None:
    head = '<h1>One<a class="headerlink" href="#one">#</a></h1>'
    assert of_html(head) == [Item("heading", "One", "", 1)]
    said = faults(of_html(f'{head}<h3>Three</h3><a href="b">here</a><img src="c.png"><img src="d.png" alt="">'))
    assert [line.split(": ", 1)[1] for line in said] == [
        "link 'here': does not say where it leads",
        "picture '': has no words",
        "heading 'Three': level 3 follows level 1",
    ]
    picture = nbformat.v4.new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"})
    cells = [nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_code_cell("draw()", outputs=[picture])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert faults(of_notebook(tmp_path / "a.ipynb")) == ["a.ipynb cell 1: picture '': has no words"]


def test_faults_of_a_notebook_are_placed_in_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "# %% [markdown]\n# # One\n\n# %% [markdown]\n# Some words.\n#\n# See [here](b.md).\n"
    )
    cells = [nbformat.v4.new_markdown_cell(text) for text in ("# One", "Some words.\n\nSee [here](b.md).")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    (found,) = faults(of_notebook(tmp_path / "a.ipynb", tmp_path / "a.py"))
    assert found.startswith("a.py:7: link 'here'")


@pytest.mark.parametrize("sight", SIMULATED)
def test_the_palette_is_told_apart_by_everybody_who_sees_colours(sight: str) -> None:
    nearest = min((distance(a, b, sight), a, b) for a, b in combinations(plot.COLORS, 2))
    assert nearest[0] > 15, nearest


def test_the_palette_stands_out_from_white() -> None:
    pale = {colour for colour in plot.COLORS if contrast(colour, "#FFFFFF") < 3}
    assert pale == PALE
    assert all(contrast(colour, "#FFFFFF") > 2.2 for colour in PALE)


def test_colour_never_stands_alone() -> None:
    for marks in (plot.HATCHES, plot.DASHES, plot.MARKERS):
        assert len(set(marks)) == len(plot.COLORS), (
            "without colour every series has a hatch, a dash, a marker of its own"
        )


def test_the_measures_of_colours_are_right_and_bite() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # the grey of a thousand tutorials
    assert distance("#FF0000", "#FF0000", "normal") == 0
    red, green = "#D62728", "#8C6D1F"  # told apart by most, and by few of those without green cones
    assert distance(red, green, "normal") > 45
    assert distance(red, green, "deuteranopia") < 15
