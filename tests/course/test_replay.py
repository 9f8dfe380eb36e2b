"""The comparison in tests/conftest.py: bites on drift, stale runs and stripped notebooks."""

from __future__ import annotations

import os
import subprocess
import sys

import nbformat
import pytest

from .conftest import ROOT


def _notebook(
    text: str, source: str = "print(1)", count: int | None = 1, outputs: bool = True
) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, id="a", metadata={"tags": ["nbval-check-output"]}, execution_count=count)
    cell.outputs = [nbformat.v4.new_output("stream", text=text)] if outputs else []
    free = nbformat.v4.new_code_cell("print(time)", id="b", execution_count=2)
    free.outputs = [nbformat.v4.new_output("stream", text=text)]
    return nbformat.v4.new_notebook(cells=[cell, free])


def _error(text: str) -> nbformat.NotebookNode:
    notebook = _notebook(text)
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    return notebook


# name: (as committed, as executed, what the report says; None when the cell must pass)
CASES = {
    "same": (_notebook("at 0x7f0012345678"), _notebook("at 0x7fffff345678"), None),
    "drift": (_notebook("0.123"), _notebook("0.124"), "Cell outputs differ"),
    "stripped": (_notebook("1", count=None, outputs=False), _notebook("1"), "committed without its outputs"),
    "empty": (_notebook("1", outputs=False), _notebook("1"), "committed without its outputs"),
    "stale": (_notebook("1", source="print(2)"), _notebook("1"), "Stale run"),
    "halted": (_notebook("1"), _notebook("1", count=None, outputs=False), "Papermill stopped"),
    "raised": (_notebook("1"), _error("1"), "raised an error"),
    "absent": (_notebook("1"), None, "absent.ipynb is missing"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One pytest session over all cases: the comparison of this course, over notebooks of another folder."""
    folder = tmp_path_factory.mktemp("replay")
    for part in ("committed", "run"):
        (folder / part).mkdir()
    for name, (committed, executed, _) in CASES.items():
        nbformat.write(committed, folder / "committed" / f"{name}.ipynb")
        if executed:
            nbformat.write(executed, folder / "run" / f"{name}.ipynb")
    quiet = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(folder), "--color=no", "-rA"]
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", *quiet, "committed", "--replay", "run"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_replay(report: str, name: str) -> None:
    said = CASES[name][2]
    if said is None:
        assert f"PASSED committed/{name}.ipynb::Cell 0" in report
        assert f"PASSED committed/{name}.ipynb::Cell 1" in report, "an untagged cell is not compared"
    else:
        lines = [line for line in report.splitlines() if f"committed/{name}.ipynb::Cell" in line]
        assert any(line.startswith(("FAILED", "ERROR")) for line in lines)
        assert said in report


def test_untagged_cells_may_print_what_they_like(report: str) -> None:
    assert "PASSED committed/drift.ipynb::Cell 1" in report
