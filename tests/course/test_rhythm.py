"""Every notebook keeps the rhythm of the course, takes the time it says, and the limits bite."""

from __future__ import annotations

from dataclasses import replace

import nbformat
import pytest

from course.config import load_course
from course.timings import Timing, load_timings
from tests.course.conftest import ROOT
from tests.course.rhythm import Rhythm, rhythm

COURSE = load_course(ROOT)
PRESENT = [row for row in COURSE.notebooks if COURSE.built(row.slug).is_file()]
every_notebook = pytest.mark.parametrize("row", PRESENT, ids=lambda row: row.slug)
GOOD = Rhythm(cells=40, lines=[2] * 20, longest_run=2, words=1800, figures=2, compared=4, exercises=3, minutes=50.0)


def _measured(row) -> Rhythm:
    seconds = load_timings(COURSE).get(row.slug, Timing(0.0, None)).seconds
    return rhythm(nbformat.read(COURSE.built(row.slug), 4), row, seconds)


@every_notebook
def test_the_rhythm_is_kept(row, record_property) -> None:
    found = _measured(row)
    record_property("rhythm", {"slug": row.slug, "row": found.row(), "compared": found.compared})
    assert not found.breaks(), "\n".join(found.breaks())


@every_notebook
def test_the_declared_minutes_are_those_that_a_reader_needs(row) -> None:
    estimate = _measured(row).minutes
    assert row.minutes / 2 <= estimate <= 2 * row.minutes, (
        f"{row.slug} declares {row.minutes} minutes; words, code, exercises and the run come to {estimate:.0f}"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": 61}, "cells: 61, expected 25 to 60"),
        ({"lines": [2, 9, 9, 9, 10]}, "lines in the median code cell: 9,"),
        ({"lines": [2, 4, 6, 19, 20]}, "lines in nine of ten code cells: 19.6,"),
        ({"lines": [1] * 30 + [31]}, "lines in the longest code cell: 31,"),
        ({"longest_run": 3}, "code cells in a row: 3,"),
        ({"words": 800}, "words of prose per code cell: 40, expected 60 to 130"),
        ({"words": 2800}, "words of prose per code cell: 140,"),
        ({"exercises": 1}, "exercises: 1,"),
        ({"compared": 3}, "compared cells: 3,"),
    ],
)
def test_each_limit_bites(change: dict, said: str) -> None:
    assert GOOD.breaks() == []
    words = {"words": 90 * len(change["lines"])} if "lines" in change else {}
    assert [line.startswith(said) for line in replace(GOOD, **words, **change).breaks()] == [True]


def test_what_is_counted() -> None:
    cell, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    tagged = {"tags": ["figure", "nbval-check-output"]}
    cells = [
        cell("# Not counted at all", metadata={"tags": ["header"]}),
        code("a = 1\n\nb = 2"),
        code("plot(a)", metadata=tagged),
        cell(
            "Three words here, $a + b$ and `x y` — 0.5<!-- a key -->.\n<details><summary>Hint 1</summary>No.</details>"
        ),
        code("\n".join("abc")),
    ]
    found = rhythm(nbformat.v4.new_notebook(cells=cells), COURSE.select(["02"])[0], seconds=60)
    assert (found.cells, found.lines, found.longest_run, found.words) == (5, [1, 2, 3], 2, 7)
    assert (found.figures, found.compared, found.exercises) == (1, 1, len(COURSE.select(["02"])[0].exercises))
    exercises = sum(exercise.minutes for exercise in COURSE.select(["02"])[0].exercises)
    assert found.minutes == pytest.approx(7 / 180 + 6 * 6 / 60 + exercises + 1)
