"""The course table and the profiles: read whole, and every mistake names its file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from auxlib.errors import CourseError
from course.config import load_course, load_profile
from tests.course.conftest import HEAD, ROOT, MakeCourse

COURSE = load_course(ROOT)


def test_the_table_lists_notebooks_in_order_with_objectives() -> None:
    assert [row.number for row in COURSE.notebooks] == sorted(row.number for row in COURSE.notebooks)
    assert all(row.objectives and row.minutes > 0 for row in COURSE.notebooks)


@pytest.mark.parametrize("name", ["2", "02", "02_product_of_experts", "notebooks/02_product_of_experts.ipynb"])
def test_a_notebook_is_found_under_every_name_a_person_would_type(name: str) -> None:
    assert [row.slug for row in COURSE.select([name])] == ["02_product_of_experts"]


def test_an_unknown_notebook_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(CourseError, match=r"no notebook '99'.*00_start_here"):
        COURSE.select(["99"])


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")))
def test_each_profile_names_itself_to_each_notebook(name: str) -> None:
    profile = load_profile(COURSE, name)
    assert {profile.parameters(row.slug)["PROFILE"] for row in COURSE.notebooks} == {name}


def test_profiles_set_the_same_parameters_so_that_gpu_is_full_with_larger_numbers() -> None:
    keys = [
        {slug: set(own) for slug, own in load_profile(COURSE, name).notebooks.items()} for name in ("quick", "full")
    ]
    assert keys[0] == keys[1] == {slug: set(own) for slug, own in load_profile(COURSE, "gpu").notebooks.items()}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "The title of 00_a"', 'titel = "x"', "00_a.*unknown key 'titel'"),
        ("minutes = 5\n", "", "00_a.*'minutes' is missing"),
        ("minutes = 5", 'minutes = "five"', "00_a.*'minutes' is 'five'"),
        ("minutes = 5", "minutes = true", "00_a.*'minutes' is True"),
        ("needs = []", 'needs = ["gpt5"]', "00_a.*'needs' names 'gpt5'.*smollm2"),
        ("prerequisites = []", 'prerequisites = ["03_b"]', "00_a: prerequisite '03_b'"),
        ("number = 0", "number = 1", "00_a has number 1"),
        ('world = "Letters"', 'world = "Mars"', "'Mars'"),
        ("exercises = []", "exercises = [{id = 1}]", "00_a.*exercise 1: key"),
        ("exercises = []", "quick_seconds = 10", "00_a.*unknown key 'quick_seconds'"),  # measured, not typed
        ('lead = "A course for tests."', "", "title, lead"),
        ("[[notebook]]", "[[notebook", "cannot be read"),
    ],
)
def test_a_mistake_in_the_table_names_file_and_key(
    make_course: MakeCourse, tmp_path: Path, old: str, new: str, said: str
) -> None:
    course = make_course(tmp_path, {"00_a": HEAD}, built=False)
    path = course.folder / "course.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CourseError, match=r"course\.toml.*" + said):
        load_course(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cell_timeout: 60\nshared: {PROFILE: full}", r"shared\.PROFILE is 'full', expected.*'quick'"),
        ("cell_timeout: 60\nshared: {}", r"shared\.PROFILE is None"),
        ("cell_timeout: 60\nshared: {PROFILE: quick}\nnotebooks: {09_x: {A: 1}}", r"09_x is not in course\.toml"),
        ("cell_timeout: 60\nshared: {PROFILE: quick}\nnotebooks: {00_a: }", "00_a .* holds no NAME: value"),
        ("cell_timeout: soon\nshared: {PROFILE: quick}", "'cell_timeout' is 'soon'"),
        ("shared: {PROFILE: quick}", "'cell_timeout' is missing"),
        ("cell_timeout: 60\nshard: {PROFILE: quick}", "unknown key 'shard'"),
        ("shared: [", "not readable as YAML"),
        ("", "is missing"),
    ],
)
def test_a_mistake_in_a_profile_names_file_and_key(
    make_course: MakeCourse, tmp_path: Path, text: str, said: str
) -> None:
    course = make_course(tmp_path, {"00_a": HEAD}, profile=text, built=False)
    with pytest.raises(CourseError, match=r"quick\.yaml.*" + said):
        load_profile(course, "quick")


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(CourseError, match=r"no profile 'tiny'.*full, gpu, quick"):
        load_profile(COURSE, "tiny")
