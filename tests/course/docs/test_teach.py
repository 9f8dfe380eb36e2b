"""The plans of the teacher's guide add up to what the course's table says, and its commands are commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

import pytest

from auxlib.__main__ import _parser
from tests.course.docs.reading import COURSE, ROOT, notebooks_linked, page

ROWS = {row.slug: row for row in COURSE.notebooks}
TOTAL = re.compile(r"(\d+) minutes")


@dataclass(frozen=True)
class Part:
    """One row of a session's plan."""

    minutes: int
    notebooks: tuple[str, ...]
    in_class: tuple[str, ...]
    for_home: tuple[str, ...]


def tables(text: str) -> dict[str, list[list[str]]]:
    """The table under each third heading: its rows without the head, cell by cell."""
    sections = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    found = {}
    for title, section in zip(sections[::2], sections[1::2], strict=True):
        lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
        found[title] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def session_errors(title: str, rows: list[list[str]]) -> list[str]:
    """What does not add up in the plan of one session."""
    wrong, parts = [], [_part(cells) for cells in rows]
    for part in parts:
        exercises = [exercise for slug in part.notebooks for exercise in ROWS[slug].exercises]
        home = sum(exercise.minutes for exercise in exercises if exercise.id in part.for_home)
        needs = sum(ROWS[slug].minutes for slug in part.notebooks) - home
        if part.notebooks and part.minutes != needs:
            wrong.append(f"{' and '.join(part.notebooks)}: {part.minutes} minutes, expected {needs}")
        if [exercise.id for exercise in exercises] != sorted(part.in_class + part.for_home, key=_order):
            wrong.append(f"{' and '.join(part.notebooks)}: each exercise must stand in one column")
    said, total = int(TOTAL.search(title)[1]), sum(part.minutes for part in parts)
    return wrong + ([] if said == total else [f"{title}: the rows make {total} minutes"])


def weeks_errors(rows: list[list[str]]) -> list[str]:
    """What does not add up in the plan of several weeks."""
    wrong, weeks = [], [(notebooks_linked(books), list(map(int, sums))) for _, books, *sums in rows]
    for number, (books, sums) in enumerate(weeks, 1):
        chosen = [ROWS[slug] for slug in books]
        exercises = [exercise for row in chosen for exercise in row.exercises]
        needs = [sum(row.minutes for row in chosen), len(exercises), sum(exercise.points for exercise in exercises)]
        wrong += [] if sums == needs else [f"week {number}: {sums}, expected {needs}"]
    planned = [slug for books, _ in weeks for slug in books]
    return wrong + ([] if planned == list(ROWS) else [f"planned are {planned}, the course has {list(ROWS)}"])


def commands(text: str) -> list[list[str]]:
    """Every command of the fenced console blocks, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line.removeprefix("$ ")) for block in blocks for line in block.splitlines()]


def accepted(command: list[str]) -> bool:
    """Whether the Makefile or the door takes a command."""
    if command[0] == "make":
        return re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE) is not None
    try:
        _parser().parse_args(command[3:])
    except SystemExit:
        return False
    return command[:3] == ["python", "-m", "auxlib"]


SESSIONS = {title: rows for title, rows in tables(page("teach.md")).items() if TOTAL.search(title)}


@pytest.mark.parametrize("title", SESSIONS)
def test_the_minutes_of_a_session_add_up(title: str) -> None:
    assert session_errors(title, SESSIONS[title]) == []


def test_the_weeks_hold_the_whole_course_once() -> None:
    assert weeks_errors(tables(page("teach.md"))["Six weeks"]) == []


def test_a_wrong_minute_is_found() -> None:
    first, *others = SESSIONS["90 minutes"]
    assert session_errors("90 minutes", others) == ["90 minutes: the rows make 86 minutes"]
    shorter = [first, *([cell.replace("48", "40") for cell in cells] for cells in others)]
    assert "02_product_of_experts: 40 minutes, expected 48" in session_errors("90 minutes", shorter)
    unplanned = [first, *([cell.replace("2.3, 2.4", "2.4") for cell in cells] for cells in others)]
    assert "02_product_of_experts: each exercise must stand in one column" in session_errors("90 minutes", unplanned)
    weeks = tables(page("teach.md"))["Six weeks"]
    assert len(weeks_errors(weeks[1:])) == 1
    assert weeks_errors([[*weeks[0][:2], "171", *weeks[0][3:]], *weeks[1:]])[0].startswith("week 1: [171, ")


@pytest.mark.parametrize("name", ["teach.md", "index.md", "library.md"])
def test_every_command_is_one(name: str) -> None:
    found = commands(page(name))
    assert found
    assert [" ".join(command) for command in found if not accepted(command)] == []


def test_a_mistyped_command_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert not accepted(["make", "sight"])
    assert not accepted(["python", "-m", "auxlib", "fetsh"])
    assert not accepted(["python", "-m", "auxlib", "run", "--profil"])
    assert accepted(["python", "-m", "auxlib", "doctor"])


def _part(cells: list[str]) -> Part:
    minutes, what, in_class, for_home = cells
    ids = [tuple(re.findall(r"\d+\.\d+", column)) for column in (in_class, for_home)]
    return Part(int(minutes), tuple(notebooks_linked(what)), *ids)


def _order(id: str) -> list[int]:
    return [int(number) for number in id.split(".")]
