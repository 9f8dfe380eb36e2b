"""What every committed notebook must hold, so that a comparison cannot pass because there was nothing to compare."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import NotebookNode

from course.config import load_course
from course.outputs import MAX_IMAGE_KB, check_executed, tags
from tests.course.conftest import ROOT

COURSE = load_course(ROOT)
PRESENT = [row.slug for row in COURSE.notebooks if COURSE.built(row.slug).is_file()]
every_notebook = pytest.mark.parametrize("slug", PRESENT)


def _cells(slug: str, kind: str) -> list[NotebookNode]:
    return [cell for cell in nbformat.read(COURSE.built(slug), 4).cells if cell.cell_type == kind]


def _outputs(slug: str) -> list[NotebookNode]:
    return [output for cell in _cells(slug, "code") for output in cell.outputs]


def headings(cells: list[NotebookNode]) -> list[str]:
    """First-level headings of markdown cells; a `# comment` inside a fenced block is none."""
    found, fenced = [], False
    for line in "\n".join(cell.source for cell in cells).splitlines():
        fenced ^= line.lstrip().startswith("```")
        found += [line] if line.startswith("# ") and not fenced else []
    return found


def described(output: NotebookNode) -> bool:
    """Whether someone who cannot see the image learns what it shows: alt text, or a sentence as its plain text."""
    kind = next(kind for kind in output.data if kind.startswith("image/"))
    alt = output.metadata.get("alt") or output.metadata.get(kind, {}).get("alt") or output.data.get("text/plain", "")
    return len(alt.split()) >= 4 and not alt.startswith("<Figure")


@every_notebook
def test_one_first_level_heading(slug: str) -> None:
    assert headings(_cells(slug, "markdown")) == [f"# {COURSE.select([slug])[0].title}"]


@every_notebook
def test_each_compared_cell_has_stored_output(slug: str) -> None:
    checked = [cell for cell in _cells(slug, "code") if "nbval-check-output" in tags(cell)]
    bare = [cell.id for cell in checked if not cell.outputs or cell.execution_count is None]
    assert not bare, f"cells {bare} have no outputs: run `python -m auxlib notebooks --execute`"


@every_notebook
def test_outputs_are_those_of_a_whole_quick_run(slug: str) -> None:
    check_executed(nbformat.read(COURSE.built(slug), 4), slug, "quick")


@every_notebook
def test_no_error_is_stored(slug: str) -> None:
    assert [output.ename for output in _outputs(slug) if output.output_type == "error"] == []


@every_notebook
def test_each_image_is_described_and_small(slug: str, record_property) -> None:
    images = [
        (kind, output) for output in _outputs(slug) for kind in output.get("data", {}) if kind.startswith("image/")
    ]
    good = sum(described(output) for _, output in images)
    record_property("images", {"slug": slug, "all": len(images), "good": good})
    assert good == len(images), f"{slug}: an image without alt text; draw it with auxlib.plot"
    assert all(len(output.data[kind]) * 3 / 4 <= MAX_IMAGE_KB * 1000 for kind, output in images)


@every_notebook
def test_no_path_of_the_machine_that_ran_it_is_stored(slug: str) -> None:
    text = COURSE.built(slug).read_text(encoding="utf-8")
    assert "papermill" not in nbformat.read(COURSE.built(slug), 4).metadata
    assert str(ROOT) not in text


def test_the_gates_bite() -> None:
    cells = [nbformat.v4.new_markdown_cell("# One\n```\n# no heading\n```"), nbformat.v4.new_markdown_cell("# Two")]
    assert headings(cells) == ["# One", "# Two"]
    plain = nbformat.v4.new_output(
        "display_data", data={"image/png": "", "text/plain": "<Figure size 640x480 with 1 Axes>"}
    )
    assert not described(plain)
    plain.metadata["alt"] = "Accuracy rises from 0.02 to 0.97"
    assert described(plain)
