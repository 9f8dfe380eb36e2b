"""One line at the end of a run: which identities were checked."""

from __future__ import annotations

import re

import pytest

NAME = re.compile(r"(?<=_)([iac])(\d\d)(?=[a-z]?_)")


def identities_in(test_name: str) -> list[str]:
    """The identities a test names, ``test_i01_i03_added_…`` to ``["I1", "I3"]``."""
    head = re.match(r"test(_[iac]\d\d[a-z]?)+_", test_name)
    return [letter.upper() + str(int(number)) for letter, number in NAME.findall(head[0])] if head else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report.location[2].partition("[")[0] for report in terminalreporter.stats.get("passed", [])]
    named = [found for name in passed if (found := identities_in(name))]
    if named:
        different = sorted({x for found in named for x in found}, key=lambda x: ("IAC".index(x[0]), int(x[1:])))
        terminalreporter.write_line(
            f"{len(different)} identities hold in {len(named)} cases: {' '.join(different)}", green=True
        )
