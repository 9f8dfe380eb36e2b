"""A course of three tiny notebooks in a folder of its own, for tests of the machinery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from course.build import build
from course.config import Course, load_course

ROOT = Path(__file__).resolve().parents[2]
ROW = """
[[notebook]]
slug = "{slug}"
number = {number}
title = "The title of {slug}"
world = "Letters"
objectives = ["do one thing"]
prerequisites = []
minutes = 5
needs = []
exercises = [{exercises}]
"""
HEAD = '# %% [markdown] tags=["header"]\n\n# %% tags=["parameters"]\nPROFILE = "quick"\nSTEPS = 3\n\n'
ECHO = '# %% tags=["nbval-check-output"]\nprint(f"profile: {PROFILE}")\n\n'
PROFILE = "cell_timeout: 60\nshared: {PROFILE: quick}\n"

MakeCourse = Callable[..., Course]


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Path:
    """The folder of the latest run, for tests that look at it."""
    folder = request.config.getoption("--replay")
    if folder is None:
        pytest.skip("needs a run: --replay build/quick")
    return Path(folder)


@pytest.fixture(scope="session")
def make_course() -> MakeCourse:
    """Write a course into a folder: slug → source, and slug → exercises in TOML. Built unless ``built`` is False."""

    def make(
        root: Path,
        sources: dict[str, str],
        profile: str = PROFILE,
        built: bool = True,
        exercises: Mapping[str, str] = MappingProxyType({}),
    ) -> Course:
        folder = root / "notebooks"
        (folder / "src").mkdir(parents=True)
        (folder / "profiles").mkdir()
        (folder / "profiles" / "quick.yaml").write_text(profile)
        rows = "".join(
            ROW.format(slug=slug, number=int(slug[:2]), exercises=exercises.get(slug, "")) for slug in sources
        )
        (folder / "course.toml").write_text(f'title = "Tiny"\nlead = "A course for tests."\n{rows}')
        for slug, source in sources.items():
            (folder / "src" / f"{slug}.py").write_text(source)
        course = load_course(root)
        if built:
            build(course, course.notebooks)
        return course

    return make
