"""Generated blocks of the README and of the pages in `docs/`: maps, recorded results, counts, the public names.

A block stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; everything outside is written by hand.
`PAGES` lists which page holds which blocks. `python -m auxlib notebooks` writes them, `--check` compares them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from auxlib.errors import CourseError
from course.config import Course
from course.headline import RESULTS, headline, load_figures
from course.reference import public_names, rooms_by_floor
from course.timings import load_timings
from experiments.claim.table import conclusion, system_rows
from experiments.control.table import real_rows, storyland_rows
from experiments.records import RECORDS
from experiments.smollm import table as smollm
from experiments.speed import table as speed
from experiments.tables import as_markdown
from experiments.tartan import table as tartan
from experiments.ytuning import table as ytuning

Block: TypeAlias = Callable[[Course, str], str]  # the course, and the way from the page to the repository's root
COUNTED = Path("data/results/course.json")
CI = ".github/workflows/course.yml"
CLAIM_COLUMNS = ("system", "keyword", "SLOR", "grammatical", "to the bar", "weights", "a written token")


def render(course: Course) -> dict[Path, str]:
    """Return every page with generated blocks as it should be.

    Raises:
        CourseError: a page is missing, or does not hold each of its blocks exactly once.
    """
    return {course.root / name: render_page(course, name) for name in PAGES}


def render_page(course: Course, name: str) -> str:
    """Return one page of `PAGES`; errors as in `render`."""
    blocks = PAGES[name]
    if not (course.root / name).is_file():
        raise CourseError(f"{name} is missing; it must hold the generated blocks {', '.join(blocks)}.")
    text, up = (course.root / name).read_text(encoding="utf-8"), "../" * name.count("/")
    for block, write in blocks.items():
        pattern = re.compile(rf"(<!-- begin {block} -->\n).*?(<!-- end {block} -->)", re.DOTALL)
        body = write(course, up)
        text, count = pattern.subn(partial(_filled, body), text)
        if count != 1:
            raise CourseError(
                f"{name} must hold one block <!-- begin {block} --> … <!-- end {block} -->, found {count}."
            )
    return text


def _filled(body: str, marks: re.Match[str]) -> str:
    return marks[1] + body + marks[2]


def _badges(course: Course, up: str) -> str:
    """Return the supported Python versions, the licence, and the state of CI once the course has a repository."""
    project = tomllib.loads((course.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shield = "https://img.shields.io/badge"
    python = project["requires-python"].removeprefix(">=")
    badges = [
        f"[![Python {python} or newer]({shield}/python-{python}%2B-blue)]({up}pyproject.toml)",
        f"[![Licence of the code: Apache 2.0]({shield}/licence-Apache%202.0-blue)]({up}LICENSE)",
    ]
    if course.repository:
        flow = f"https://github.com/{course.repository}/actions/workflows/{Path(CI).name}"
        badges.insert(0, f"[![Tests of the main branch]({flow}/badge.svg)]({flow})")
    return "\n".join(badges) + "\n"


def _map(course: Course, up: str) -> str:
    """Return the notebooks in short: number, title, world, minutes of reading."""
    rows = [
        f"| {row.number:02d} | [{row.title}]({up}notebooks/{row.slug}.ipynb) | {row.world} | {row.minutes} |"
        for row in course.notebooks
    ]
    return "\n".join(["| no. | notebook | world | minutes |", "|--:|---|---|--:|", *rows]) + "\n"


def _full_map(course: Course, up: str) -> str:
    """Return the notebooks with their exercises, measured seconds and objectives."""
    lines = [
        "| no. | notebook | world | minutes | exercises | runs in | you will be able to |",
        "|--:|---|---|--:|--:|--:|---|",
    ]
    receipts = load_timings(course)
    for row in course.notebooks:
        link = f"[{row.title}]({up}notebooks/{row.slug}.ipynb)"
        goals = "; ".join(row.objectives).replace("|", r"\|")  # a bare bar would open another column
        seconds = f"{receipts[row.slug].about_seconds()} s" if row.slug in receipts else "–"
        cells = [f"{row.number:02d}", link, row.world, str(row.minutes), str(len(row.exercises)), seconds, goals]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _checks(course: Course, up: str) -> str:
    """Return the counts of the last whole run of the tests; pytest writes the file (`tests/summary.py`)."""
    path = course.root / COUNTED
    if not path.is_file():
        return "No run of the tests has been recorded yet.\n"
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        ("planted wrong answers rejected, each with its own message", f"{record['killed']} of {record['planted']}"),
        ("numbers in prose that a run printed just so", f"{record['prose_numbers']}"),
        ("images described in words", f"{record['images_with_alt']} of {record['images']}"),
        ("cells whose output is compared with a fresh run", f"{record['compared_cells']}"),
        ("notebooks and exercises", f"{record['notebooks']} and {record['exercises']}"),
        ("running all notebooks with profile `quick`", f"{record['quick_seconds']} s on {record['machine']}"),
    ]
    return "| what | count |\n|---|--:|\n" + "".join(f"| {what} | {count} |\n" for what, count in rows)


def _samples(course: Course, up: str, count: int = 8) -> str:
    """Return the first test samples of the recorded full run."""
    record = load_figures(course.root)
    if record is None:
        return ""
    samples = "\n".join(f"{word:16} {text}" for word, text in record["examples"][:count])
    return f"The first {count} of {record['n_samples']} test samples:\n\n```text\n{samples}\n```\n"


def _headline(course: Course, up: str) -> str:
    """Return the headline table of the recorded full run, and how it was measured."""
    record, rows = load_figures(course.root), headline(course.root)
    if record is None:
        return "No full run has been recorded yet.\n"
    machine, versions = record["machine"], record["versions"]
    where = (
        f"{machine['cpu']}, {machine['cores']} cores; torch {versions['torch']}, transformers "
        f"{versions['transformers']}; seed {record['seed']}; {record['sampling']}; λ = {record['lambda']:g}. "
        f"SLOR's judge: {record['judge']}"
    )
    return f"{as_markdown(rows)}\nMeasured by `{record['command']}` on {where}.\n"


def _figure(course: Course, up: str) -> str:
    """Return the picture of the recorded full run."""
    record = load_figures(course.root)
    return "" if record is None else f"![{record['figure_alt']}]({_picture(RESULTS, record, up)})\n"


def _picture(record_path: Path, record: Mapping[str, Any], up: str) -> str:
    """Return the way from a page to the picture that lies beside a record."""
    return up + (record_path.parent / record["figure"]).as_posix()


def _verdict(course: Course, up: str) -> str:
    """Return the verdict on the paper's claim in a line."""
    record = RECORDS["claim"].read(course.root)
    return "The experiment has not been run yet.\n" if record is None else f"**{conclusion(record)}**\n"


def _claim(course: Course, up: str) -> str:
    """Return the table of all systems and the picture."""
    record = RECORDS["claim"].read(course.root)
    if record is None:
        return "The experiment has not been run yet.\n"
    table = [{name: row[name] for name in CLAIM_COLUMNS if name in row} for row in system_rows(record)]
    minutes, torch = round(record["seconds"] / 60), record["versions"]["torch"]
    where = f"{len(record['verdicts'])} seeds, {record['sentences']:,} sentences to learn from"
    where += f"; {minutes} minutes on {record['machine']['cores']} cores; torch {torch}"
    picture = f"![{record['figure_alt']}]({_picture(RECORDS['claim'].path, record, up)})"
    return f"{as_markdown(table)}\nMeasured by `{_again('claim')}`: {where}.\n\n{picture}\n"


def _recorded(name: str, block: Callable[[Mapping[str, Any]], str]) -> Block:
    """Return the block of one experiment's record, or a line that names its command while there is none."""

    def of_course(course: Course, up: str) -> str:
        record = RECORDS[name].read(course.root)
        return f"Not recorded yet: `{_again(name)}` measures it.\n" if record is None else block(record)

    return of_course


def _smollm(record: Mapping[str, Any]) -> str:
    """Return the systems around the real model."""
    where = f"{record['seeds']} seeds, {record['sentences']:,} sentences to learn from; SLOR of human sentences "
    where += f"{record['slor_human']:.2f}; {_machine(record)}"
    return f"{as_markdown(smollm.system_rows(record))}\nMeasured by `{_again('smollm')}`: {where}.\n"


def _control(record: Mapping[str, Any]) -> str:
    """Several conditions at once: in Storyland beside the exact answers, then with the real model."""
    tables = as_markdown(storyland_rows(record)), as_markdown(real_rows(record))
    return (
        f"Storyland:\n\n{tables[0]}\nSmolLM2:\n\n{tables[1]}\nMeasured by `{_again('control')}`: {_machine(record)}.\n"
    )


def _speed(record: Mapping[str, Any]) -> str:
    """Measured ratios and the goals that were set beforehand."""
    where = f"{record['machine']['cpu']}, {record['machine']['cores']} cores, torch {record['versions']['torch']}"
    return f"{as_markdown(speed.speed_rows(record))}\nMeasured by `{_again('speed')}`: {where}.\n"


def _ytuning(record: Mapping[str, Any]) -> str:
    """Goals of the label decoder, and the accuracy of all systems."""
    tables = as_markdown(ytuning.goal_rows(record)), as_markdown(ytuning.accuracy_rows(record))
    return (
        f"{tables[0]}\n{tables[1]}\nMeasured by `{_again('ytuning')}`: {record['seeds']} seeds; {_machine(record)}.\n"
    )


def _tartan(record: Mapping[str, Any]) -> str:
    """Goals of multi-task training, and the accuracy of all arms in Storyland and on real texts."""
    tables = (as_markdown(rows(record)) for rows in (tartan.goal_rows, tartan.story_rows, tartan.real_rows))
    return "\n".join(tables) + f"\nMeasured by `{_again('tartan')}`; {_machine(record)}.\n"


def _again(name: str) -> str:
    """Return the command that makes a record again."""
    return RECORDS[name].command


def _machine(record: Mapping[str, Any]) -> str:
    """How long a recorded run took, and on what."""
    gpu = "" if record["machine"]["gpu"] == "none" else f" and {record['machine']['gpu']}"
    return f"{round(record['seconds'] / 60)} minutes on {record['machine']['cores']} cores{gpu}"


def _reference(course: Course, up: str) -> str:
    return public_names(course.root)


def _rooms(course: Course, up: str) -> str:
    return rooms_by_floor(course.root)


PAGES: dict[str, dict[str, Block]] = {
    "README.md": {
        "badges": _badges,
        "samples": partial(_samples, count=5),
        "map": _map,
        "headline": _headline,
        "figure": _figure,
    },
    "docs/index.md": {"map": _full_map},
    "docs/architecture.md": {"rooms": _rooms},
    "docs/library.md": {"reference": _reference},
    "docs/testing.md": {"checks": _checks},
    "docs/results/claim.md": {"verdict": _verdict, "claim": _claim},
    "docs/results/smollm.md": {
        "samples": _samples,
        "headline": _headline,
        "figure": _figure,
        "smollm": _recorded("smollm", _smollm),
    },
    "docs/results/control.md": {"control": _recorded("control", _control)},
    "docs/results/speed.md": {"speed": _recorded("speed", _speed)},
    "docs/results/ytuning.md": {"ytuning": _recorded("ytuning", _ytuning)},
    "docs/results/tartan.md": {"tartan": _recorded("tartan", _tartan)},
}
