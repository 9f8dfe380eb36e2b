"""What did everybody reach? Files are told apart, every answer is examined, points are added up."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auxlib.errors import CourseError
from course.build import source_cells
from course.classroom.autograde import Limits, Task, examine, workers
from course.classroom.submission import Submission, needed, read_cells, read_submission
from course.config import Course, Notebook
from course.exercises.exercise import Verdict, load_exercise
from course.score import Mark, Score

SKIPPED = ".ipynb_checkpoints"


@dataclass(frozen=True)
class SubmittedFile:
    """A file, whose it is, and what it seems to be. ``row`` is None for what belongs to no notebook of the course."""

    student: str
    path: Path
    row: Notebook | None
    submission: Submission | None
    note: str = ""


@dataclass(frozen=True)
class Graded:
    """What one student reached in one notebook; ``note`` says what was odd about the file."""

    student: str
    path: Path
    score: Score | None
    note: str = ""


def grade(course: Course, paths: Sequence[Path], limits: Limits | None = None, jobs: int = 2) -> list[Graded]:
    """Grade notebooks, or folders of them, or folders with one folder for each student.

    Raises:
        CourseError: there is nothing to grade.
    """
    from tqdm.auto import tqdm

    handed = collect(course, paths)
    rows = {one.row.slug: one.row for one in handed if one.row}
    offers = {slug: worked(course, row) for slug, row in rows.items()}
    tasks = [
        (one, task) for one in handed if one.row for task in tasks_of(one.row, one.submission, offers[one.row.slug])
    ]
    context = workers([f"course.exercises.notebook_{row.number:02d}" for row in rows.values()])
    with ThreadPoolExecutor(jobs) as pool:
        looks = pool.map(lambda pair: examine(pair[1], limits or Limits(), context), tasks)
        verdicts = list(tqdm(looks, "answers", len(tasks), disable=None))
    found = {(id(one), task.id): verdict for (one, task), verdict in zip(tasks, verdicts, strict=True)}
    return [Graded(one.student, one.path, _score(one, found), one.note) for one in handed]


def collect(course: Course, paths: Sequence[Path]) -> list[SubmittedFile]:
    """Who handed in what. Of two files of one student for one notebook the newer counts, and says so."""
    found = [_handed(course, student, path) for student, path in _files(paths)]
    if not found:
        raise CourseError(f"no notebook in {', '.join(map(str, paths))}; give notebooks, or a folder for each student.")
    newest: dict[tuple[str, Any], SubmittedFile] = {}
    for one in sorted(found, key=lambda one: one.path.stat().st_mtime):
        key = one.student, one.row.slug if one.row else one.path
        older = newest.pop(key, None)
        note = f"{one.note} {older.path.name} is older and was not looked at.".strip() if older else one.note
        newest[key] = replace(one, note=note)
    return sorted(newest.values(), key=lambda one: (one.student, one.row.number if one.row else 99, one.path.name))


def _files(paths: Iterable[Path]) -> Iterable[tuple[str | None, Path]]:
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.iterdir()):
                books = sorted(inner.rglob("*.ipynb")) if inner.is_dir() and inner.name != SKIPPED else []
                yield from ((inner.name, book) for book in books if SKIPPED not in book.parts)
                if inner.is_file() and inner.suffix == ".ipynb":
                    yield None, inner
        elif path.is_file():
            yield None, path
        else:
            raise CourseError(f"{path} is neither a notebook nor a folder.")


def _handed(course: Course, student: str | None, path: Path) -> SubmittedFile:
    named = next((row for row in course.notebooks if row.slug in path.name), None)
    rest = path.stem.replace(named.slug, "").strip(" _-.") if named else path.stem
    student = student or rest or path.resolve().parent.name
    try:
        submission = read_submission(path)
    except CourseError as error:
        return SubmittedFile(student, path, None, None, str(error))
    row = _belongs(course, submission) or named
    note = "" if row else f"{path.name} holds no exercise of this course."
    return SubmittedFile(student, path, row, submission, note)


def _belongs(course: Course, submission: Submission) -> Notebook | None:
    """The notebook that most of the functions are asked for in."""
    names = {name for name, _ in submission.bound}
    asked = {row.slug: sum(_name(exercise.id) in names for exercise in row.exercises) for row in course.notebooks}
    best = max(course.notebooks, key=lambda row: asked[row.slug])
    return best if asked[best.slug] else None


def _name(id: str) -> str:
    return load_exercise(id).name


def worked(course: Course, row: Notebook) -> dict[str, ast.stmt]:
    """What the worked notebook defines by name: the context for whoever deleted more than the exercise."""
    source = course.source(row.slug)
    if not source.is_file():
        raise CourseError(f"{source} is missing: grade in a clone of the course, a student's archive has no solutions.")
    cells = [(cell.cell_type == "code", cell.source) for cell in source_cells(source)]
    return dict(read_cells(source, cells).bound)


def tasks_of(row: Notebook, submission: Submission, offer: Mapping[str, ast.stmt]) -> list[Task]:
    """One task for each exercise. Answers to other exercises come from the worked notebook: no mistake counts twice."""
    names = {_name(exercise.id) for exercise in row.exercises}
    own = {name: node for name, node in submission.bound if name not in names}
    offered = {**offer, **own}
    tasks = []
    for exercise in row.exercises:
        answers = submission.answers(name := _name(exercise.id))
        context = [[ast.unparse(node) for node in needed(answer, offered)] for answer in answers]
        tasks.append(Task(exercise.id, name, list(map(ast.unparse, answers)), context))
    return tasks


def _score(one: SubmittedFile, verdicts: Mapping[tuple[int, str], Verdict]) -> Score | None:
    if one.row is None:
        return None
    marks = []
    for exercise in one.row.exercises:
        verdict, name = verdicts[id(one), exercise.id], _name(exercise.id)
        says = verdict.says if one.submission.answers(name) else one.submission.missing(name)
        marks.append(Mark(exercise.id, verdict.passed, verdict.attempted, says, exercise.points * verdict.passed))
    return Score(one.row.slug, tuple(marks), sum(exercise.points for exercise in one.row.exercises))
