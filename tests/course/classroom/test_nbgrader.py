"""A teacher who grades with nbgrader can load the notebooks there: nbgrader itself is run, from source to points."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat

from auxlib.__main__ import main
from course.classroom.archives import TOP
from course.classroom.nbgrader import nbgrader_files, source
from tests.course.classroom.conftest import COURSE, SHEET, the_sheet
from tests.course.test_students import half


def test_every_exercise_has_its_cells_and_its_points() -> None:
    for row in COURSE.notebooks:
        marked = [cell for cell in source(COURSE, row).cells if "nbgrader" in cell.metadata]
        ids = [cell.metadata["nbgrader"]["grade_id"] for cell in marked]
        assert ids == [f"{kind}-{e.id.replace('.', '-')}" for e in row.exercises for kind in ("exercise", "test")]
        points = [cell.metadata["nbgrader"]["points"] for cell in marked[1::2]]
        assert points == [exercise.points for exercise in row.exercises]
        assert all("### BEGIN SOLUTION\n" in cell.source for cell in marked[::2])


def test_the_test_stands_before_the_check_which_puts_a_working_function_in_its_place() -> None:
    sources = [cell.source for cell in source(COURSE, the_sheet()).cells]
    (test,) = (i for i, text in enumerate(sources) if 'load_exercise("2.1").judge(combine_two)' in text)
    assert 'use("2.1", combine_two)' in sources[test + 1]


def run(folder: Path, *command: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where nbgrader looks for alembic
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(COURSE.root), "JUPYTER_CONFIG_DIR": str(folder / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command, f"--CourseDirectory.root={folder}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nbgrader_generates_and_grades(tmp_path: Path) -> None:
    """A student who has solved the first half gets its points, one who has done nothing gets none."""
    archive = tmp_path / "nbgrader.zip"
    assert main(["bundle", "nbgrader", "--out", str(archive)]) == 0
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    folder = tmp_path / TOP
    run(folder, "generate_assignment", SHEET)
    book = nbformat.read(folder / "release" / SHEET / f"{SHEET}.ipynb", 4)
    assert "SOLUTION" not in "".join(cell.source for cell in book.cells)
    for student, answers in (("ann", half(the_sheet())), ("bob", {})):
        for cell in book.cells:
            for id, answer in answers.items():
                if cell.metadata.get("nbgrader", {}).get("grade_id") == f"exercise-{id.replace('.', '-')}":
                    cell.source = answer
        (folder / "submitted" / student / SHEET).mkdir(parents=True)
        nbformat.write(book, folder / "submitted" / student / SHEET / f"{SHEET}.ipynb")
        book = nbformat.read(folder / "release" / SHEET / f"{SHEET}.ipynb", 4)
    run(folder, "autograde", SHEET)
    run(folder, "export")
    table = csv.DictReader(io.StringIO((folder / "grades.csv").read_text(encoding="utf-8")))
    assert {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in table} == {
        "ann": (5, 12),
        "bob": (0, 12),
    }


def test_it_is_one_assignment_for_each_notebook_with_exercises() -> None:
    assert list(nbgrader_files(COURSE)) == [f"source/{r.slug}/{r.slug}.ipynb" for r in COURSE.notebooks if r.exercises]
