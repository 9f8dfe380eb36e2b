"""Four students go through every assignment: blank, half, classic and complete. Each reaches the end and its points.

They run under the profile ``brief``, one notebook at a time. The complete one is the worked notebook: when the last
quick run executed these very sources, its marks are read there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbformat import NotebookNode

from auxlib.assets import asset_path
from auxlib.course.build import generate, student
from auxlib.course.outputs import check_executed, tags
from auxlib.course.run import check_parameters, execute
from auxlib.course.score import Score, score
from auxlib.course.table import Notebook, load_course, load_profile
from tests.check.bank import planted

COURSE = load_course()
BRIEF = load_profile(COURSE, "brief")
every_notebook = pytest.mark.parametrize(
    "row", [row for row in COURSE.notebooks if row.exercises], ids=lambda row: row.slug
)
Sit = Callable[[Notebook, dict[str, str]], Score]


@pytest.fixture
def sit(tmp_path: Path) -> Sit:
    """Put answers, by exercise id, into an assignment and execute it to its end."""
    return lambda row, answers: _score_of_run(row, handed_in(row, answers), tmp_path)


def handed_in(row: Notebook, answers: dict[str, str]) -> NotebookNode:
    """An assignment whose exercise cells hold these answers; the others are as handed out."""
    notebook = student(generate(COURSE, row), row.slug)
    for cell in notebook.cells:
        for id in (tag.removeprefix("exercise:") for tag in tags(cell) if tag.startswith("exercise:")):
            cell.source = answers.get(id, cell.source)
    return notebook


def worked(row: Notebook) -> dict[str, str]:
    """The solutions in the worked notebook, by exercise id."""
    cells = generate(COURSE, row).cells
    return {
        tag.removeprefix("exercise:"): cell.source for cell in cells for tag in tags(cell) if tag[:9] == "exercise:"
    }


def classic(row: Notebook) -> dict[str, str]:
    """The first planted answer to each exercise."""
    ids = {exercise.id for exercise in row.exercises}
    return {answer.exercise: answer.source for answer in reversed(planted()) if answer.exercise in ids}


def last_run(row: Notebook, folder: Path) -> NotebookNode | None:
    """The worked notebook as the last run into a folder left it, when it ran the code that the source holds now."""
    path = folder / f"{row.slug}.ipynb"
    executed = nbformat.read(path, 4) if path.is_file() else None
    return executed if executed and _code(executed) == _code(generate(COURSE, row)) else None


@every_notebook
def test_a_blank_assignment_runs_to_its_end_and_is_worth_nothing(row: Notebook, sit: Sit) -> None:
    found = sit(row, {})
    assert found.points == 0
    assert [mark.says for mark in found.marks] == ["not attempted yet."] * len(row.exercises)
    assert not any(mark.attempted for mark in found.marks)


@every_notebook
def test_half_of_the_answers_bring_exactly_their_points(row: Notebook, sit: Sit) -> None:
    half = (len(row.exercises) + 1) // 2
    solved = [exercise.id for exercise in row.exercises[:half]]
    found = sit(row, {id: source for id, source in worked(row).items() if id in solved})
    assert [mark.id for mark in found.marks if mark.passed] == solved
    assert found.points == sum(exercise.points for exercise in row.exercises[:half])
    assert not any(mark.attempted for mark in found.marks[half:])


@every_notebook
def test_the_classic_mistakes_are_worth_nothing_and_each_is_named(row: Notebook, sit: Sit) -> None:
    found = sit(row, classic(row))
    expected = {answer.exercise: answer.says for answer in reversed(planted())}
    assert found.points == 0
    assert len({mark.says for mark in found.marks}) == len(row.exercises)
    for mark in found.marks:
        assert mark.attempted
        assert expected[mark.id] in mark.says


@every_notebook
def test_the_worked_notebook_brings_all_points(row: Notebook, sit: Sit) -> None:
    executed = last_run(row, COURSE.build_dir("quick"))
    if executed is None:
        found = sit(row, worked(row))
    else:
        check_executed(executed, row.slug, "quick")
        found = score(row, executed)
    assert found.points == found.possible == sum(exercise.points for exercise in row.exercises) > 0


def test_a_run_of_other_sources_is_not_taken_for_the_worked_notebook(tmp_path: Path) -> None:
    row = COURSE.select(["02"])[0]
    assert last_run(row, tmp_path) is None
    notebook = generate(COURSE, row)
    nbformat.write(notebook, tmp_path / f"{row.slug}.ipynb")
    assert last_run(row, tmp_path) is not None
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\nSEED = 1"
    nbformat.write(notebook, tmp_path / f"{row.slug}.ipynb")
    assert last_run(row, tmp_path) is None


def _score_of_run(row: Notebook, notebook: NotebookNode, folder: Path) -> Score:
    if missing := [name for name in row.needs if asset_path(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: python -m auxlib fetch {' '.join(missing)}")
    source, target = folder / f"{row.slug}.ipynb", folder / "executed.ipynb"
    nbformat.write(notebook, source)
    parameters, threads = BRIEF.parameters(row.slug), os.cpu_count() or 1
    check_parameters(source, parameters)
    # execute sets the kernel's environment through its own; threads that wait shall not spin: others may need the cores
    with mock.patch.dict(os.environ, OMP_WAIT_POLICY="PASSIVE"):
        done = execute(source, target, "brief", parameters, BRIEF.cell_timeout, threads)
    assert done.error is None
    return score(row, nbformat.read(target, 4))


def _code(notebook: NotebookNode) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "injected-parameters" not in tags(cell)]
