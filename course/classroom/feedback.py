"""What do teacher and students read? One table for all, everything for programs, one page for each student."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auxlib.data.storage import write_json_atomic
from course.classroom.grade import Graded
from course.exercises.exercise import load_exercise
from course.score import Mark

FORMULA = re.compile(r"^(?=[=+\-@])")  # what a spreadsheet would compute; a name stays a name


def write(folder: Path, graded: Sequence[Graded]) -> Path:
    """Write ``grades.csv``, ``grades.json`` and ``feedback/STUDENT.md`` for everybody; returns the table's path."""
    (folder / "feedback").mkdir(parents=True, exist_ok=True)
    table = rows(graded)
    with (folder / "grades.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(row | {"student": FORMULA.sub("'", row["student"])} for row in table)
    write_json_atomic(folder / "grades.json", everything(graded))
    for student in dict.fromkeys(one.student for one in graded):
        name = re.sub(r"[^\w.-]+", "_", student)
        text = feedback(student, [one for one in graded if one.student == student])
        (folder / "feedback" / f"{name}.md").write_text(text, encoding="utf-8")
    return folder / "grades.csv"


def rows(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """One row a student: points in each notebook that anybody handed in, their sum, and the most there were."""
    possible = {one.score.slug: one.score.possible for one in graded if one.score}
    table = []
    for student in dict.fromkeys(one.student for one in graded):
        points = {one.score.slug: one.score.points for one in graded if one.student == student and one.score}
        columns = {slug: points.get(slug, 0) for slug in sorted(possible)}
        table.append({"student": student} | columns | {"total": sum(points.values()), "of": sum(possible.values())})
    return table


def everything(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """All marks with what was said, for programs."""
    return [asdict(one) | {"path": str(one.path), "points": one.score.points if one.score else 0} for one in graded]


def feedback(student: str, graded: Sequence[Graded]) -> str:
    """One page for a student: what was right, what broke, and the next hint; never a solution."""
    points, possible = (sum(getattr(one.score, what) for one in graded if one.score) for what in ("points", "possible"))
    lines = [f"# {student}", f"**{points} of {possible} points**"]
    for one in graded:
        score = one.score
        lines.append(f"## {score.slug}: {score.points} of {score.possible}" if score else "## No notebook")
        lines += [one.note] if one.note else []
        lines += [_line(mark) for mark in score.marks] if score else []
    return "\n\n".join(lines) + "\n"


def _line(mark: Mark) -> str:
    if mark.passed:
        return f"- **{mark.id}** ✓ {mark.says} ({mark.points} points)"
    hint = f"  \n  Hint: {load_exercise(mark.id).hints[0]}" if mark.attempted else ""
    return f"- **{mark.id}** {'✗ ' if mark.attempted else ''}{mark.says}{hint}"
