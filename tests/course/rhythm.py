"""The rhythm of a notebook: counts of cells, lines and words, and their limits.

A code cell is measured as the worked notebook shows it, in lines that are not blank. Words of prose are those that a
reader is meant to read on the way: not the generated header and not the folded hints. A formula or a piece of code in a
sentence counts as one word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from statistics import median, quantiles

from nbformat import NotebookNode

from course.config import Notebook
from course.outputs import tags

WORDS_A_MINUTE, SECONDS_A_LINE = 180, 6
ASIDE = re.compile(r"<details><summary>Hint.*?</details>|<!--.*?-->|</?[a-z][^>\n]*>", re.DOTALL)
ONE_WORD = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]+\$|`[^`]+`", re.DOTALL)
NAMES = ("cells", "code", "p50", "p90", "max", "run", "words", "figures", "compared", "exercises", "minutes")


@dataclass(frozen=True)
class Rhythm:
    """The counts. ``lines`` are those of each code cell, sorted; ``words`` are all words of prose."""

    cells: int
    lines: list[int]
    longest_run: int  # of code cells
    words: int
    figures: int
    compared: int
    exercises: int
    minutes: float  # estimate: reading, code, exercises, running

    @property
    def words_per_cell(self) -> float:
        return self.words / len(self.lines)

    @property
    def ninth_decile(self) -> float:
        return quantiles(self.lines, n=10, method="inclusive")[-1]

    def row(self) -> list[str]:
        """Return one row of the table, under NAMES."""
        share = f"{self.figures / len(self.lines):.0%}"
        lines = [f"{median(self.lines):g}", f"{self.ninth_decile:g}", str(self.lines[-1]), str(self.longest_run)]
        counts = [str(self.compared), str(self.exercises), f"{self.minutes:.0f}"]
        return [str(self.cells), str(len(self.lines)), *lines, f"{self.words_per_cell:.0f}", share, *counts]

    def breaks(self) -> list[str]:
        """Return every limit of the course that is exceeded."""
        limits = [
            ("cells", self.cells, 25, 60),
            ("lines in the median code cell", median(self.lines), 0, 8),
            ("lines in nine of ten code cells", self.ninth_decile, 0, 18),
            ("lines in the longest code cell", self.lines[-1], 0, 30),
            ("code cells in a row", self.longest_run, 0, 2),
            ("words of prose per code cell", round(self.words_per_cell), 60, 130),
            ("exercises", self.exercises, 2, 5),
            ("compared cells", self.compared, 4, 60),
        ]
        return [f"{what}: {n:g}, expected {low} to {high}" for what, n, low, high in limits if not low <= n <= high]


def rhythm(notebook: NotebookNode, row: Notebook, seconds: float = 0.0) -> Rhythm:
    """Count a worked notebook that runs in ``seconds``."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown" and "header" not in tags(cell)]
    lines = sorted(sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code)
    words = sum(map(_words, prose))
    reading = words / WORDS_A_MINUTE + sum(lines) * SECONDS_A_LINE / 60
    return Rhythm(
        cells=len(notebook.cells),
        lines=lines,
        longest_run=max(
            len(list(run)) for kind, run in groupby(notebook.cells, lambda cell: cell.cell_type) if kind == "code"
        ),
        words=words,
        figures=sum("figure" in tags(cell) for cell in code),
        compared=sum("nbval-check-output" in tags(cell) for cell in code),
        exercises=len(row.exercises),
        minutes=reading + sum(exercise.minutes for exercise in row.exercises) + seconds / 60,
    )


def _words(cell: NotebookNode) -> int:
    return len(re.findall(r"\S*\w\S*", ONE_WORD.sub(" word ", ASIDE.sub(" ", cell.source))))
