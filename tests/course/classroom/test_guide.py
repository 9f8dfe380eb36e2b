"""Every command of the teacher's guide is run, in its order, as a teacher would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.course.classroom.conftest import COURSE, hand_in, the_sheet
from tests.course.docs.reading import page
from tests.course.docs.test_teach import commands
from tests.course.test_students import STUDENTS

ASKED = {" ".join(command): command for command in commands(page("teach.md"))}
LEAVES = {  # what must be there afterwards; nothing for those that only speak
    "python -m auxlib bundle student": "build/student.zip",
    "python -m auxlib bundle student --variant 7 --out build/student-7.zip": "build/student-7.zip",
    "python -m auxlib bundle instructor": "build/instructor.zip",
    "python -m auxlib bundle nbgrader": "build/nbgrader.zip",
    "python -m auxlib grade notebooks/02_product_of_experts.ipynb --out build/rehearsal": "build/rehearsal/grades.csv",
    "python -m auxlib grade submissions": "build/grades/grades.csv",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone, where what is built does not get in anybody's way."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "notebooks").symlink_to(COURSE.folder)
    for name, solve in STUDENTS.items():
        hand_in(folder / "submissions" / name, the_sheet(), solve(the_sheet()))
    return folder


def test_the_guide_names_them_all() -> None:
    assert set(ASKED) >= {*LEAVES, "make site", "python -m auxlib fetch", "python -m auxlib doctor"}


@pytest.mark.parametrize("command", [command for command in ASKED if command.startswith("python")])
def test_a_command_of_the_guide_does_what_it_says(command: str, desk: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(COURSE.root)}
    done = subprocess.run([sys.executable, *ASKED[command][1:]], cwd=desk, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (desk / LEAVES.get(command, "")).exists()
    if "rehearsal" in command:
        assert (desk / LEAVES[command]).read_text(encoding="utf-8").splitlines()[1].endswith(",12,12,12")


def test_make_site_runs_what_the_tests_of_the_site_run() -> None:
    """The environment is there already: only the recipe is looked at."""
    recipe = (COURSE.root / "Makefile").read_text(encoding="utf-8").partition("\nsite: ")[2].splitlines()[1]
    assert recipe.strip() == "$(BIN)/python -m course.site"
