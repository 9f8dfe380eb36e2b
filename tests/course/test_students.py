"""What a student meets: an assignment that nobody has touched runs to its end and says that nothing was attempted."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from auxlib.course.outputs import tags
from auxlib.course.table import load_course

COURSE = load_course()
LIGHT = [row for row in COURSE.notebooks if not row.needs and row.exercises]


@pytest.mark.parametrize("row", LIGHT, ids=lambda row: row.slug)
def test_an_untouched_assignment_runs_to_its_end(row) -> None:
    path = COURSE.folder / "assignments" / f"{row.slug}.ipynb"
    notebook = nbformat.read(path, 4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    checks = [cell for cell in notebook.cells if any(tag.startswith("check:") for tag in tags(cell))]
    assert len(checks) == len(row.exercises)
    for cell, exercise in zip(checks, row.exercises, strict=True):
        assert cell.outputs[0].text.split() == [exercise.id, "not", "attempted", "yet"]
