"""Results of grading: a table for the teacher, a JSON file for programs, a page of feedback for each student."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auxlib.data.storage import write_json_atomic
from course.classroom.grade import Graded, Mark
from course.exercises.exercise import load_exercise

FORMULA = re.compile(r"^(?=[=+\-@])")  # a spreadsheet would compute a name that begins so


def write(folder: Path, graded: Sequence[Graded]) -> Path:
    """Write ``grades.csv``, ``grades.json`` and ``feedback/STUDENT.md`` for each student; return the table's path."""
    (folder / "feedback").mkdir(parents=True, exist_ok=True)
    table = rows(graded)
    with (folder / "grades.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(row | {"student": FORMULA.sub("'", row["student"])} for row in table)
    write_json_atomic(folder / "grades.json", everything(graded))
    for student in dict.fromkeys(item.student for item in graded):
        name = re.sub(r"[^\w.-]+", "_", student)
        text = feedback(student, [item for item in graded if item.student == student])
        (folder / "feedback" / f"{name}.md").write_text(text, encoding="utf-8")
    return folder / "grades.csv"


def rows(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return one row per student: points in each submitted notebook of the class, their sum, and the possible sum."""
    possible = {item.score.slug: item.score.possible for item in graded if item.score}
    table = []
    for student in dict.fromkeys(item.student for item in graded):
        points = {item.score.slug: item.score.points for item in graded if item.student == student and item.score}
        columns = {slug: points.get(slug, 0) for slug in sorted(possible)}
        table.append({"student": student} | columns | {"total": sum(points.values()), "of": sum(possible.values())})
    return table


def everything(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return all marks and their messages, for programs."""
    return [
        asdict(item) | {"path": str(item.path), "points": item.score.points if item.score else 0} for item in graded
    ]


def feedback(student: str, graded: Sequence[Graded]) -> str:
    """Return a student's page in Markdown: what was right, what broke, and the next hint; never a solution."""
    scores = [item.score for item in graded if item.score]
    points, possible = sum(score.points for score in scores), sum(score.possible for score in scores)
    lines = [f"# {student}", f"**{points} of {possible} points**"]
    for item in graded:
        score = item.score
        lines.append(f"## {score.slug}: {score.points} of {score.possible}" if score else "## No notebook")
        lines += [item.note] if item.note else []
        lines += [_line(mark) for mark in score.marks] if score else []
    return "\n\n".join(lines) + "\n"


def _line(mark: Mark) -> str:
    if mark.passed:
        return f"- **{mark.id}** ✓ {mark.says} ({mark.points} points)"
    hint = f"  \n  Hint: {load_exercise(mark.id).hints[0]}" if mark.attempted else ""
    return f"- **{mark.id}** {'✗ ' if mark.attempted else ''}{mark.says}{hint}"
