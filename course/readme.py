"""Which parts of the README are generated? The course map, what the tests counted, and the results of a recorded run.

Each stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; what is outside is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.errors import CourseError
from course.config import Course
from course.headline import RESULTS, headline, load_figures
from course.timings import load_timings
from experiments.claim.table import conclusion, system_rows
from experiments.control import table as control
from experiments.records import RECORDS
from experiments.smollm import table as smollm
from experiments.speed import table as speed
from experiments.tables import as_markdown
from experiments.tartan import table as tartan
from experiments.ytuning import table as ytuning

COUNTED = Path("data/results/course.json")
SAMPLES = 8


def render(course: Course) -> str:
    """The README as it should be."""
    text = path_of(course).read_text(encoding="utf-8")
    blocks = {"map": _map(course), "checks": _checks(course.root), "claim": _claim(course.root)}
    blocks |= {"rivals": _rivals(course.root), "control": _control(course.root), "speed": _speed(course.root)}
    blocks |= _recorded(course.root) | {"labels": _labels(course.root), "end task": _end_task(course.root)}
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda marks, block=block: marks[1] + block + marks[2], text)
        if found != 1:
            raise CourseError(
                f"README.md must hold one block <!-- begin {name} --> … <!-- end {name} -->, found {found}."
            )
    return text


def path_of(course: Course) -> Path:
    """Where the README is."""
    return course.root / "README.md"


def _map(course: Course) -> str:
    lines = [
        "| no. | notebook | world | minutes | exercises | runs in | you will be able to |",
        "|--:|---|---|--:|--:|--:|---|",
    ]
    receipts = load_timings(course)
    for row in course.notebooks:
        link = f"[{row.title}](notebooks/{row.slug}.ipynb)"
        goals = "; ".join(row.objectives).replace("|", r"\|")  # a bare bar would open another column
        runs = f"{receipts[row.slug].about_seconds()} s" if row.slug in receipts else "–"
        cells = [f"{row.number:02d}", link, row.world, str(row.minutes), str(len(row.exercises)), runs, goals]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _checks(root: Path) -> str:
    """What the last whole run of the tests counted; pytest writes the file (tests/summary.py)."""
    path = root / COUNTED
    if not path.is_file():
        return "No run of the tests has been recorded yet.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        ("planted wrong answers rejected, each with its own message", f"{found['killed']} of {found['planted']}"),
        ("numbers in prose that a run printed just so", f"{found['prose_numbers']}"),
        ("images described in words", f"{found['images_with_alt']} of {found['images']}"),
        ("cells whose output is compared with a fresh run", f"{found['compared_cells']}"),
        ("notebooks and exercises", f"{found['notebooks']} and {found['exercises']}"),
        ("running all notebooks with profile `quick`", f"{found['quick_seconds']} s on {found['machine']}"),
    ]
    return "| what | count |\n|---|--:|\n" + "".join(f"| {what} | {count} |\n" for what, count in rows)


def _claim(root: Path) -> str:
    """The verdict on the paper's claim, the table of all systems and the picture."""
    record = RECORDS["claim"]
    found = record.read(root)
    if found is None:
        return "The experiment has not been run yet.\n"
    shown = ("system", "keyword", "SLOR", "grammatical", "to the bar", "weights", "a written token")
    table = [{name: row[name] for name in shown if name in row} for row in system_rows(found)]
    minutes, torch = round(found["seconds"] / 60), found["versions"]["torch"]
    where = f"{len(found['verdicts'])} seeds, {found['sentences']:,} sentences to learn from"
    where += f"; {minutes} minutes on {found['machine']['cores']} cores; torch {torch}"
    picture = (record.path.parent / found["figure"]).as_posix()
    return (
        f"**{conclusion(found)}**\n\n{as_markdown(table)}\nMeasured by `{record.command}`: {where}.\n\n"
        f"![{found['figure_alt']}]({picture})\n"
    )


def _rivals(root: Path) -> str:
    """The same question with a real model: the table of all who were asked."""
    record = RECORDS["smollm"]
    found = record.read(root)
    if found is None:
        return f"Not recorded yet: `{record.command}` measures it.\n"
    where = f"{found['seeds']} seeds, {found['sentences']:,} sentences to learn from; SLOR of human sentences "
    where += f"{found['slor_human']:.2f}; {_machine(found)}"
    return f"{as_markdown(smollm.system_rows(found))}\nMeasured by `{record.command}`: {where}.\n"


def _control(root: Path) -> str:
    """How well writing can be steered: in Storyland beside the exact answers, then with the real model."""
    record = RECORDS["control"]
    found = record.read(root)
    if found is None:
        return f"Not recorded yet: `{record.command}` measures it.\n"
    tables = as_markdown(control.storyland_rows(found)), as_markdown(control.real_rows(found))
    return f"Storyland:\n\n{tables[0]}\nSmolLM2:\n\n{tables[1]}\nMeasured by `{record.command}`: {_machine(found)}.\n"


def _speed(root: Path) -> str:
    """What it costs beside others, and what was to be reached."""
    record = RECORDS["speed"]
    found = record.read(root)
    if found is None:
        return f"Not recorded yet: `{record.command}` measures it.\n"
    where = f"{found['machine']['cpu']}, {found['machine']['cores']} cores, torch {found['versions']['torch']}"
    return f"{as_markdown(speed.speed_rows(found))}\nMeasured by `{record.command}`: {where}.\n"


def _labels(root: Path) -> str:
    """What was asked of labels that learn and what they reached, beside everybody else's accuracy."""
    record = RECORDS["ytuning"]
    found = record.read(root)
    if found is None:
        return f"Not recorded yet: `{record.command}` measures it.\n"
    tables = as_markdown(ytuning.goal_rows(found)), as_markdown(ytuning.accuracy_rows(found))
    return f"{tables[0]}\n{tables[1]}\nMeasured by `{record.command}`: {found['seeds']} seeds; {_machine(found)}.\n"


def _end_task(root: Path) -> str:
    """What was asked of objectives that learn together, and the same arms in Storyland and on real texts."""
    record = RECORDS["tartan"]
    found = record.read(root)
    if found is None:
        return f"Not recorded yet: `{record.command}` measures it.\n"
    tables = (as_markdown(rows(found)) for rows in (tartan.goal_rows, tartan.story_rows, tartan.real_rows))
    return "\n".join(tables) + f"\nMeasured by `{record.command}`; {_machine(found)}.\n"


def _machine(found: Mapping[str, Any]) -> str:
    """How long a recorded run took, and on what."""
    gpu = "" if found["machine"]["gpu"] == "none" else f" and {found['machine']['gpu']}"
    return f"{round(found['seconds'] / 60)} minutes on {found['machine']['cores']} cores{gpu}"


def _recorded(root: Path) -> dict[str, str]:
    """What comes from the recorded full run: a few samples, the table, the figure."""
    found, rows = load_figures(root), headline(root)
    if found is None:
        return {"samples": "", "results": "No full run has been recorded yet.\n", "figure": ""}
    samples = "\n".join(f"{word:16} {text}" for word, text in found["examples"][:SAMPLES])
    table = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    table += ["| " + " | ".join(row.values()) + " |" for row in rows]
    where = (
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores; torch {found['versions']['torch']}, "
        f"transformers {found['versions']['transformers']}; seed {found['seed']}; {found['sampling']}; "
        f"λ = {found['lambda']:g}. SLOR's judge: {found['judge']}"
    )
    return {
        "samples": f"The first {SAMPLES} of {found['n_samples']} test samples:\n\n```text\n{samples}\n```\n",
        "results": "\n".join(table) + f"\n\nMeasured by `{found['command']}` on {where}.\n",
        "figure": f"![{found['figure_alt']}]({(RESULTS.parent / found['figure']).as_posix()})\n",
    }
