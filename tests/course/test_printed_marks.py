"""Printed marks are read from check cells, and from nothing else."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import NotebookNode

from course.classroom.grade import Mark
from course.config import ExerciseEntry, Notebook
from tests.course.printed_marks import score

EXERCISES = [ExerciseEntry("2.1", 5, 1, 1, 2), ExerciseEntry("2.2", 5, 1, 1, 3)]
ROW = Notebook("02_a", 2, "A", "Letters", ["do"], [], 10, [], EXERCISES)
HINT = '  (hint 1 of 3: check.hint("2.2"))'


def executed(*cells: tuple[str, str]) -> NotebookNode:
    """A notebook whose code cells have these tags and printed these texts."""
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "check(...)",
                metadata={"tags": [tag] if tag else []},
                outputs=[nbformat.v4.new_output("stream", name="stdout", text=text)] if text else [],
            )
            for tag, text in cells
        ]
    )


def test_points_follow_the_verdicts() -> None:
    run = executed(("check:2.1", "2.1  ✓ it multiplies.\n"), ("check:2.2", f"2.2  ✗ it sums to 0.4 (or so).{HINT}\n"))
    found = score(ROW, run)
    assert (found.slug, found.points, found.possible) == ("02_a", 2, 5)
    assert found.marks == (
        Mark("2.1", True, True, "it multiplies.", 2),
        Mark("2.2", False, True, "it sums to 0.4 (or so).", 0),
    )


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [("check:2.1", "")],
        [("check:2.1", "2.1  not attempted yet.\n2.1  going on with the reference solution.\n")],
        [("", "2.1  ✓ said in another cell.\n")],
        [("check:2.2", "2.1  ✓ said by another check.\n")],
        [("check:2.1", "I wrote 2.1  ✓ myself\n")],
        [("check:2.1", "2.1  ✓ at first.\n2.1  not attempted yet.\n")],
    ],
)
def test_what_no_check_has_passed_is_worth_nothing(cells: list[tuple[str, str]]) -> None:
    found = score(ROW, executed(*cells))
    assert found.points == 0
    assert not any(mark.attempted for mark in found.marks)


def test_a_point_in_an_id_is_a_point() -> None:
    assert score(ROW, executed(("check:2.1", "2x1  ✓ no.\n"))).points == 0
