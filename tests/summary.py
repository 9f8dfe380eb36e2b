"""Counts of a test run: a short report at the end of pytest, and the file ``data/results/course.json``.

Tests record their counts with ``record_property(topic, {"slug": ..., ...})``; topics that did not run are left out. A
run with ``--replay`` that passed and covered every notebook also writes the file. It is written again only when a count
changed, or when the seconds changed by more than a factor of two, so that most runs leave the working tree clean.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from course.config import Course, load_course
from experiments.tables import as_text
from tests.course.rhythm import NAMES

RESULT = Path("data/results/course.json")
COMMAND = "make test"


class Summary:
    """Pytest plugin that collects, prints and writes the counts."""

    def __init__(self, course: Course | None = None) -> None:
        self._course = course
        self.topics: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.planted_ran = False

    @cached_property
    def course(self) -> Course:
        return self._course or load_course()  # at the end: a broken table is for the tests to report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.planted_ran |= report.when == "call" and report.nodeid.startswith("tests/course/exercises/")
        for topic, fact in report.user_properties if report.when == "call" else ():
            self.topics[topic][fact["slug"]] = fact

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
        if not self.topics and not self.planted_ran:
            return
        counts = self.counts()
        if lines := self.report(counts):
            terminalreporter.section("the course")
            terminalreporter.write_line("\n".join(lines))
        if config.getoption("--replay") and exitstatus == 0 and self.is_whole():
            self.write(counts)

    def counts(self) -> dict[str, int]:
        """Return the counts of the topics that ran, by their names in the file."""
        counts = {"notebooks": len(self.course.notebooks)}
        counts["exercises"] = sum(len(row.exercises) for row in self.course.notebooks)
        if self.planted_ran:
            from tests.course.exercises.bank import kill_rate

            counts["killed"], counts["planted"] = kill_rate()
        if "rhythm" in self.topics:
            counts["compared_cells"] = self._sum("rhythm", "compared")
        for topic in ("images", "prose_numbers"):
            counts |= {topic: self._sum(topic, "all")} if topic in self.topics else {}
        return counts | ({"images_with_alt": self._sum("images", "good")} if "images" in self.topics else {})

    def report(self, counts: dict[str, int]) -> list[str]:
        """Return the lines to print; none when no test counted anything."""
        lines = []
        if "planted" in counts:
            killed = f"{counts['killed']} of {counts['planted']}"
            lines.append(f"kill rate      {killed} planted answers rejected, each with its own message")
        if "prose_numbers" in counts:
            good, total = self._sum("prose_numbers", "good"), counts["prose_numbers"]
            agreeing = "all as printed" if good == total else f"{good} of them as printed"
            lines.append(f"prose numbers  {total} numbers in prose, {agreeing}")
        if "images" in counts:
            lines.append(f"alt text       {counts['images_with_alt']} of {counts['images']} images described")
        if "run" in self.topics:
            lines.append(f"receipts       quick profile: {self._sum('run', 'seconds'):.0f} s of notebook time")
        if table := sorted(self.topics.get("rhythm", {}).items()):
            lines += [
                "",
                as_text([{"rhythm": slug} | dict(zip(NAMES, fact["row"], strict=True)) for slug, fact in table]),
            ]
        return lines

    def is_whole(self) -> bool:
        """Return whether every topic was counted on every notebook."""
        slugs = {row.slug for row in self.course.notebooks}
        topics = ("rhythm", "images", "prose_numbers")
        return self.planted_ran and "run" in self.topics and all(set(self.topics[name]) == slugs for name in topics)

    def write(self, counts: dict[str, int]) -> None:
        """Write the file, unless it holds the same counts and similar seconds."""
        path = self.course.root / RESULT
        old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        seconds = round(self._sum("run", "seconds"))
        near = seconds <= 2 * old.get("quick_seconds", 0) and old.get("quick_seconds", 0) <= 2 * seconds
        if near and all(old.get(name) == count for name, count in counts.items()):
            return
        run = self.topics["run"]["all"]
        receipt = {"command": COMMAND, "machine": run["machine"], "versions": run["versions"]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(counts | {"quick_seconds": seconds} | receipt, indent=1) + "\n", encoding="utf-8")

    def _sum(self, topic: str, name: str) -> Any:
        return sum(fact[name] for fact in self.topics[topic].values())
