"""Pytest plugin: the outputs of notebooks that nbval collects, compared by ``course.compare``.

``pytest -p tests.comparison --nbval notebook.ipynb`` executes a notebook with nbval's kernel; ``--replay`` (in
conftest.py) reads a run of papermill.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile

from course.compare import differences, stated_tolerance

Collected = list[pytest.Collector | list[pytest.Collector]]


class ComparedCell(IPyNbCell):
    """A cell whose numbers are compared as numbers; nbval itself compares to the letter."""

    def compare_outputs(
        self, test: Sequence[NotebookNode], ref: Sequence[NotebookNode], skip_compare: Sequence[str] | None = None
    ) -> bool:
        """Compare new outputs with the committed ones; nbval prints ``comparison_traceback`` when they differ."""
        self.comparison_traceback = differences(ref, test, stated_tolerance(self.cell), self.sanitize)
        return not self.comparison_traceback


class ComparedFile(IPyNbFile):
    """A notebook whose cells are compared by ``ComparedCell``, or by a class derived from it."""

    cell_class: type[ComparedCell] = ComparedCell

    def collect(self) -> Iterator[ComparedCell]:
        """Yield nbval's cells, as this class compares them."""
        for item in super().collect():
            yield self.cell_class.from_parent(
                self, name=item.name, cell_num=item.cell_num, cell=item.cell, options=item.options
            )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, Collected, Collected]:
    """Replace nbval's own collector, which ``--nbval`` and ``--nbval-lax`` switch on."""
    collected = yield
    return [ComparedFile.from_parent(parent, path=file_path) if type(node) is IPyNbFile else node for node in collected]
