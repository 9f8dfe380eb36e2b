"""The comparison in tests/conftest.py and tests/comparison.py: bites on drift, stale runs and stripped notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pytest

from tests.course.conftest import ROOT


def _notebook(
    text: str, source: str = "print(1)", count: int | None = 1, outputs: bool = True, tags: Sequence[str] = ()
) -> nbformat.NotebookNode:
    metadata = {"tags": ["nbval-check-output", *tags]}
    cell = nbformat.v4.new_code_cell(source, id="a", metadata=metadata, execution_count=count)
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
    "tie": (_notebook("0.313"), _notebook("0.312"), None),
    "padded": (_notebook("a   9.99 nats"), _notebook("a  10.00 nats"), None),
    "drift": (_notebook("0.123"), _notebook("0.125"), "stdout: committed '0.123', now '0.125'"),
    "count": (_notebook("1000 texts"), _notebook("1001 texts"), "committed '1000 texts', now '1001 texts'"),
    "stated": (_notebook("0.123", tags=["tolerance:0.02"]), _notebook("0.143", tags=["tolerance:0.02"]), None),
    "beyond": (_notebook("0.123", tags=["tolerance:0.02"]), _notebook("0.144"), "committed '0.123', now '0.144'"),
    "unclear": (_notebook("0.123", tags=["tolerance:some"]), _notebook("0.123"), "the tolerance 'some'"),
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
    return _pytest(folder, "-p", "tests.conftest", "committed", "--replay", "run")


def _pytest(folder: Path, *arguments: str) -> str:
    """What a pytest session says that runs in a folder without any configuration of its own."""
    quiet = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(folder), "--color=no", "-rA"]
    command = [sys.executable, "-m", "pytest", *quiet, *arguments]
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


RUNS = {  # name: (committed text, source that the kernel runs, whether the cell passes)
    "tie": ("value 0.313\n", "print('value 0.312')", True),
    "drift": ("value 0.313\n", "print('value 0.311')", False),
    "word": ("value 0.313\n", "print('price 0.313')", False),
    "count": ("1000\n", "print(999)", False),
    "address": ("at 0x7f0012345678, 0.313\n", "print('at 0x7fffff345678, 0.314')", True),
    "result": ("0.313", "0.312", True),
    "moved": ("0.313", "0.311", False),
}


@pytest.fixture(scope="module")
def kernel_report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One session of nbval's own, one notebook with a cell for each case: a kernel is slow to start."""
    folder = tmp_path_factory.mktemp("kernel")
    cells = []
    for count, (name, (text, source, _)) in enumerate(RUNS.items(), 1):
        cell = nbformat.v4.new_code_cell(source, id=name, execution_count=count)
        data = {"output_type": "execute_result", "data": {"text/plain": text}, "execution_count": count}
        stream = {"output_type": "stream", "text": text}
        cell.outputs = [nbformat.v4.new_output(**(stream if text.endswith("\n") else data))]
        cells.append(cell)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "runs.ipynb")
    sanitized = f"--nbval-sanitize-with={ROOT / 'tests' / 'sanitize.cfg'}"
    return _pytest(folder, "-p", "tests.comparison", "--nbval", "--nbval-current-env", sanitized, "runs.ipynb")


@pytest.mark.parametrize("name", RUNS)
def test_nbvals_own_run_compares_by_the_same_rule(kernel_report: str, name: str) -> None:
    verdict = "PASSED" if RUNS[name][2] else "FAILED"
    assert f"{verdict} runs.ipynb::Cell {list(RUNS).index(name)}" in kernel_report


def test_nbvals_own_run_says_what_moved(kernel_report: str) -> None:
    assert "stdout: committed 'value 0.313', now 'value 0.311'" in kernel_report
    assert "text/plain: committed '0.313', now '0.311'" in kernel_report
    assert "'value 0.312'" not in kernel_report.partition("FAILURES")[2].partition("PASSES")[0]


def test_the_makefile_loads_the_comparison_wherever_nbval_runs() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if "--nbval " in line)
    assert "-p tests.comparison" in line
    assert "--nbval-sanitize-with=tests/sanitize.cfg" in line
