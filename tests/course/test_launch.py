"""A published course opens on machines that others keep: the first cell fetches and installs it, once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from course.build import generate
from course.config import Course
from course.launch import launch_cell
from course.outputs import tags
from tests.course.conftest import ECHO, HEAD, MakeCourse


@pytest.fixture
def course(make_course: MakeCourse, tmp_path: Path) -> Course:
    return make_course(tmp_path, {"00_a": HEAD + ECHO})


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine without the course, on which git clones and pip installs nothing; the commands that were run."""
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        ran.append(command)
        if command[0] == "git":
            Path("course/notebooks").mkdir(parents=True)

    installed = Mock(side_effect=lambda name: object() if any(command[1] == "-m" for command in ran) else None)
    monkeypatch.setattr(importlib.util, "find_spec", installed)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return ran


def test_without_an_address_nothing_is_added(course: Course) -> None:
    notebook = generate(course, course.notebooks[0])
    assert not [cell for cell in notebook.cells if "launch" in tags(cell)]
    assert "Open in" not in notebook.cells[0].source


def test_with_an_address_each_notebook_says_where_to_open_it_and_begins_by_itself(course: Course) -> None:
    published = replace(course, repository="someone/course")
    header, first, second, *_ = generate(published, course.notebooks[0]).cells
    assert "blob/main/notebooks/00_a.ipynb" in header.source
    assert "labpath=notebooks/00_a.ipynb" in header.source
    assert (tags(first), tags(second)) == (["launch"], ["parameters"])
    assert len({cell.id for cell in generate(published, course.notebooks[0]).cells}) == 4


def test_the_first_cell_fetches_and_installs_once(elsewhere: list[list[str]], tmp_path: Path) -> None:
    source = launch_cell("someone/course").source
    exec(source, {})
    assert [command[:2] for command in elsewhere] == [["git", "clone"], [sys.executable, "-m"]]
    assert elsewhere[1][-1] == "course[course]"
    assert Path.cwd() == tmp_path / "course" / "notebooks"
    exec(source, {})
    assert len(elsewhere) == 2


def test_a_clone_that_is_there_is_used(elsewhere: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "course" / "notebooks").mkdir(parents=True)
    exec(launch_cell("someone/course").source, {})
    assert [command[0] for command in elsewhere] == [sys.executable]


def test_where_the_course_is_installed_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=AssertionError))
    exec(launch_cell("someone/course").source, {})
    assert Path.cwd() == tmp_path


def test_a_table_may_name_its_address(course: Course) -> None:
    from course.config import load_course

    path = course.folder / "course.toml"
    path.write_text('repository = "someone/course"\n' + path.read_text())
    assert load_course(course.root).repository == "someone/course"
