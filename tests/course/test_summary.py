"""The report at the end of a run: says what ran, counts, and writes its file only when something changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from course.config import Course
from tests.course.conftest import ECHO, HEAD, MakeCourse
from tests.course.rhythm import NAMES
from tests.summary import RESULT, Summary

SLUGS = ("00_a", "01_b")


@pytest.fixture
def course(make_course: MakeCourse, tmp_path: Path) -> Course:
    return make_course(tmp_path, dict.fromkeys(SLUGS, HEAD + ECHO), built=False)


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "tests.course.exercises.bank", SimpleNamespace(kill_rate=lambda: (11, 12))
    )


def _see(summary: Summary, topic: str, *facts: dict, nodeid: str = "tests/course/test_x.py::test") -> None:
    for fact in facts:
        report = SimpleNamespace(when="call", nodeid=nodeid, user_properties=[(topic, fact)])
        summary.pytest_runtest_logreport(report)


def _whole(course: Course, seconds: float = 40.0, numbers: int = 5) -> Summary:
    summary = Summary(course)
    _see(summary, "rhythm", *({"slug": slug, "row": [*NAMES], "compared": 4} for slug in SLUGS))
    _see(summary, "images", *({"slug": slug, "all": 3, "good": 3} for slug in SLUGS))
    _see(summary, "prose_numbers", *({"slug": slug, "all": numbers, "good": 5} for slug in SLUGS))
    _see(summary, "run", {"slug": "all", "seconds": seconds, "machine": "one", "versions": {"torch": "2"}})
    summary.pytest_runtest_logreport(
        SimpleNamespace(when="call", nodeid="tests/check/test_x.py::test", user_properties=[])
    )
    return summary


def _finish(summary: Summary, replay: str | None = "build/quick", status: int = 0) -> str:
    lines: list[str] = []
    terminal = SimpleNamespace(section=lines.append, write_line=lines.append)
    summary.pytest_terminal_summary(terminal, status, SimpleNamespace(getoption=lambda name: replay))
    return "\n".join(lines)


def test_the_report_counts_what_ran(course: Course, bank: None) -> None:
    said = _finish(_whole(course, numbers=6))
    assert "11 of 12 planted answers rejected, each with its own message" in said
    assert "12 numbers in prose, 10 of them as printed" in said
    assert "6 of 6 images described" in said
    assert "quick profile: 40 s of notebook time" in said
    assert [line.split()[0] for line in said.splitlines()[-3:]] == ["rhythm", *SLUGS]


def test_what_did_not_run_is_not_mentioned(course: Course) -> None:
    summary = Summary(course)
    assert _finish(summary) == ""
    _see(summary, "prose_numbers", {"slug": "00_a", "all": 5, "good": 5})
    assert _finish(summary).splitlines() == ["the course", "prose numbers  5 numbers in prose, all as printed"]
    assert not (course.root / RESULT).exists()


def test_the_file_holds_the_counts_and_their_receipt(course: Course, bank: None) -> None:
    _finish(_whole(course))
    assert json.loads((course.root / RESULT).read_text()) == {
        "notebooks": 2,
        "exercises": 0,
        "killed": 11,
        "planted": 12,
        "compared_cells": 8,
        "images": 6,
        "prose_numbers": 10,
        "images_with_alt": 6,
        "quick_seconds": 40,
        "command": "make test",
        "machine": "one",
        "versions": {"torch": "2"},
    }


@pytest.mark.parametrize(("replay", "status"), [(None, 0), ("build/quick", 1)])
def test_a_run_without_replay_or_with_a_failure_writes_nothing(course: Course, bank: None, replay, status: int) -> None:
    _finish(_whole(course), replay, status)
    assert not (course.root / RESULT).exists()


def test_a_partial_run_writes_nothing(course: Course, bank: None) -> None:
    summary = _whole(course)
    del summary.topics["images"]["01_b"]
    _finish(summary)
    assert not (course.root / RESULT).exists()


@pytest.mark.parametrize(
    ("seconds", "numbers", "written"), [(75.0, 5, False), (21.0, 5, False), (81.0, 5, True), (40.0, 6, True)]
)
def test_the_file_is_quiet_until_a_count_changes_or_the_time_doubles(
    course: Course, bank: None, seconds: float, numbers: int, written: bool
) -> None:
    _finish(_whole(course))
    before = (course.root / RESULT).read_bytes()
    _finish(_whole(course, seconds, numbers))
    assert ((course.root / RESULT).read_bytes() != before) == written
