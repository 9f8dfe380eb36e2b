"""Receipts are measured, quiet while nothing changed, and compared with the latest run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from auxlib.__main__ import main
from auxlib.errors import CourseError
from course import config as table
from course import readme
from course.build import build, header
from course.config import Course, load_course
from course.timings import (
    Outcome,
    Timing,
    disagreements,
    load_timings,
    longest_first,
    measured,
    path_of,
    record_timings,
)
from tests.course.conftest import ECHO, HEAD, ROOT, MakeCourse


@pytest.fixture
def course(make_course: MakeCourse, tmp_path: Path) -> Course:
    return make_course(tmp_path, {"00_a": HEAD + ECHO, "01_b": HEAD + ECHO}, built=False)


def test_the_header_says_what_a_run_took_and_nothing_before_one(course: Course) -> None:
    row = course.notebooks[0]
    assert "Runs in" not in header(course, row)
    record_timings(course, [Outcome("00_a", 33.0, 623, None)])
    assert "**Runs in** about 30 s with 0.6 GB of memory (profile `quick`, two cores)" in header(course, row)
    assert "Runs in" not in header(course, course.notebooks[1])
    assert Timing(1.0, None).in_words() == "about 5 s"


def test_noise_leaves_the_file_as_it_is_and_a_change_does_not(course: Course) -> None:
    record_timings(course, [Outcome("00_a", 37.0, 600, None), Outcome("01_b", 2.0, 300, None)])
    before = path_of(course).read_bytes()
    record_timings(course, [Outcome("00_a", 45.0, 690, None), Outcome("01_b", 4.5, 380, None)])
    assert path_of(course).read_bytes() == before
    record_timings(course, [Outcome("00_a", 60.0, 600, None)])
    assert load_timings(course) == {"00_a": Timing(60.0, 600), "01_b": Timing(2.0, 300)}
    record_timings(course, [Outcome("00_a", 60.0, 1200, None)])
    assert load_timings(course)["00_a"].memory_mb == 1200


def test_failures_leave_no_receipt_and_notebooks_that_left_take_theirs_along(course: Course) -> None:
    path_of(course).write_text('{"09_gone": {"seconds": 1.0, "memory_mb": 2}}')
    record_timings(course, [Outcome("00_a", 9.0, 300, "boom"), Outcome("01_b", 9.0, None, None)])
    assert load_timings(course) == {"01_b": Timing(9.0, None)}


@pytest.mark.parametrize("text", ["[", "[1]", '{"00_a": 3}', '{"00_a": {"seconds": 3}}'])
def test_a_broken_table_of_receipts_is_an_error(course: Course, text: str) -> None:
    path_of(course).write_text(text)
    with pytest.raises(CourseError, match=r"receipts\.json is no table of receipts.*notebooks --execute"):
        load_timings(course)


KEPT = {"00_a": Timing(10.0, 400), "01_b": Timing(60.0, 900), "02_c": Timing(30.0, None)}


def _slower(factor: float, **changed: Timing) -> dict[str, Timing]:
    return {slug: Timing(factor * old.seconds, old.memory_mb) for slug, old in KEPT.items()} | changed


@pytest.mark.parametrize("factor", [0.2, 1.0, 6.0])
def test_a_slower_machine_is_no_finding(factor: float) -> None:
    assert disagreements(KEPT, _slower(factor)) == []
    assert disagreements(KEPT, _slower(factor, **{"00_a": Timing(factor * 35, 700)})) == []


def test_a_fabricated_run_is_found_out(tmp_path: Path) -> None:
    done = {slug: {"slug": slug, "error": None} | asdict(receipt) for slug, receipt in _slower(2.0).items()}
    run = {"notebooks": [*done.values(), {"slug": "09_x", "seconds": 1.0, "memory_mb": 1, "error": "boom"}]}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert disagreements(KEPT, measured(tmp_path)) == []
    done["01_b"] |= {"seconds": 600.0, "memory_mb": 3000}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert [line.split(",")[0] for line in disagreements(KEPT, measured(tmp_path))] == [
        "01_b: took 600 s",
        "01_b: used 3000 MB",
    ]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            _slower(1.0, **{"00_a": Timing(90.0, 400)}),
            "00_a: took 90 s, its receipt says 10 s at this machine's pace of 1",
        ),
        (_slower(1.0, **{"01_b": Timing(5.0, 900)}), "01_b: took 5 s, its receipt says 60 s"),
        (
            _slower(3.0, **{"00_a": Timing(200.0, 400)}),
            "00_a: took 200 s, its receipt says 10 s at this machine's pace of 3",
        ),
        (_slower(1.0, **{"00_a": Timing(10.0, 1200)}), "00_a: used 1200 MB, its receipt says 400 MB"),
        (_slower(1.0, **{"03_d": Timing(10.0, 400)}), "03_d: no receipt"),
    ],
)
def test_a_run_that_contradicts_a_receipt_is_a_finding(run: dict[str, Timing], said: str) -> None:
    (line,) = disagreements(KEPT, run)
    assert line.startswith(said)


def test_the_command_measures_what_it_executes_and_nothing_else(course: Course, monkeypatch, capsys) -> None:
    monkeypatch.setattr(table, "load_course", lambda: course)
    monkeypatch.setattr(readme, "PAGES", {"docs/index.md": readme.PAGES["docs/index.md"]})
    (course.root / "docs").mkdir()
    (course.root / "docs" / "index.md").write_text("<!-- begin map -->\n<!-- end map -->\n")
    build(course, course.notebooks)
    assert main(["notebooks", "00", "--execute"]) == 0
    assert set(load_timings(course)) == {"00_a"}
    assert "**Runs in** about 5 s with" in course.built("00_a").read_text()
    assert "| 5 | 0 | 5 s | do one thing |" in (course.root / "docs" / "index.md").read_text()
    assert main(["notebooks", "--check"]) == 0, "a receipt leaves nothing stale behind"


def test_the_longest_runs_first_and_the_unknown_before_it(course: Course) -> None:
    short, long = course.notebooks
    receipts = {"00_a": Timing(5.0, None), "01_b": Timing(50.0, None)}
    assert longest_first([short, long], receipts) == [long, short]
    del receipts["00_a"]
    assert longest_first([long, short], receipts) == [short, long]


def test_the_receipts_are_those_of_notebooks_of_the_course() -> None:
    course = load_course(ROOT)
    assert set(load_timings(course)) <= {row.slug for row in course.notebooks}


def test_the_latest_run_agrees_with_the_receipts(replay: Path, record_property) -> None:
    run, took = json.loads((replay / "run.json").read_text(encoding="utf-8")), measured(replay)
    facts = {"slug": "all", "seconds": sum(receipt.seconds for receipt in took.values())}
    record_property("run", facts | {key: run[key] for key in ("machine", "versions")})
    wrong = disagreements(load_timings(load_course(ROOT)), took)
    assert not wrong, "\n".join(wrong)
