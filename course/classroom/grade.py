"""Grading: collect the submitted files, judge every answer, add up the points."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
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

SKIPPED = ".ipynb_checkpoints"


@dataclass(frozen=True)
class Mark:
    """Verdict on one exercise and its points."""

    id: str
    passed: bool
    attempted: bool
    says: str
    points: int


@dataclass(frozen=True)
class Score:
    """Marks of one notebook, in the order of the course table, and the most points that it can bring."""

    slug: str
    marks: tuple[Mark, ...]
    possible: int

    @property
    def points(self) -> int:
        """Points that were reached."""
        return sum(mark.points for mark in self.marks)


@dataclass(frozen=True)
class SubmittedFile:
    """A file, its student and its notebook.

    Attributes:
        row: None when the file belongs to no notebook of the course.
        submission: None when the file cannot be read as a notebook.
        note: remarks for student and teacher.
    """

    student: str
    path: Path
    row: Notebook | None
    submission: Submission | None
    note: str = ""


@dataclass(frozen=True)
class Graded:
    """Result of one student in one notebook; ``note`` names anything odd about the file."""

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

    submitted = collect(course, paths)
    rows = {file.row.slug: file.row for file in submitted if file.row}
    definitions = {slug: worked(course, row) for slug, row in rows.items()}
    tasks = [
        (file, task)
        for file in submitted
        if file.row and file.submission
        for task in tasks_of(file.row, file.submission, definitions[file.row.slug])
    ]
    context = workers([f"course.exercises.notebook_{row.number:02d}" for row in rows.values()])
    with ThreadPoolExecutor(jobs) as pool:
        pending = pool.map(lambda pair: examine(pair[1], limits or Limits(), context), tasks)
        judged = list(tqdm(pending, "answers", len(tasks), disable=None))
    verdicts = {(id(file), task.id): verdict for (file, task), verdict in zip(tasks, judged, strict=True)}
    return [Graded(file.student, file.path, _score(file, verdicts), file.note) for file in submitted]


def collect(course: Course, paths: Sequence[Path]) -> list[SubmittedFile]:
    """Read the submitted files. Of two files of one student for one notebook the newer counts, with a note.

    Raises:
        CourseError: there is no notebook, or a path does not exist.
    """
    files = [_read_file(course, student, path) for student, path in _files(paths)]
    if not files:
        raise CourseError(f"no notebook in {', '.join(map(str, paths))}; give notebooks, or a folder for each student.")
    newest: dict[tuple[str, Any], SubmittedFile] = {}
    for file in sorted(files, key=lambda file: file.path.stat().st_mtime):
        key = file.student, file.row.slug if file.row else file.path
        older = newest.pop(key, None)
        note = f"{file.note} {older.path.name} is older and was not looked at.".strip() if older else file.note
        newest[key] = replace(file, note=note)
    return sorted(newest.values(), key=lambda file: (file.student, file.row.number if file.row else 99, file.path.name))


def _files(paths: Sequence[Path]) -> Iterator[tuple[str | None, Path]]:
    """Yield the notebooks, each with the student whose folder it is in, or None."""
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


def _read_file(course: Course, student: str | None, path: Path) -> SubmittedFile:
    named = next((row for row in course.notebooks if row.slug in path.name), None)
    rest = path.stem.replace(named.slug, "").strip(" _-.") if named else path.stem
    student = student or rest or path.resolve().parent.name
    try:
        submission = read_submission(path)
    except CourseError as error:
        return SubmittedFile(student, path, None, None, str(error))
    row = _most_likely(course, submission) or named
    note = "" if row else f"{path.name} holds no exercise of this course."
    return SubmittedFile(student, path, row, submission, note)


def _most_likely(course: Course, submission: Submission) -> Notebook | None:
    """Return the notebook whose exercises share most function names with the submission; None if none shares any."""
    names = {name for name, _ in submission.bound}
    counts = {row.slug: sum(_name(exercise.id) in names for exercise in row.exercises) for row in course.notebooks}
    best = max(course.notebooks, key=lambda row: counts[row.slug])
    return best if counts[best.slug] else None


def _name(id: str) -> str:
    return load_exercise(id).name


def worked(course: Course, row: Notebook) -> dict[str, ast.stmt]:
    """Return the definitions of the worked notebook by name: context for submissions that lack some of them.

    Raises:
        CourseError: the source is missing.
    """
    source = course.source(row.slug)
    if not source.is_file():
        raise CourseError(f"{source} is missing: grade in a clone of the course, a student's archive has no solutions.")
    cells = [(cell.cell_type == "code", cell.source) for cell in source_cells(source)]
    return dict(read_cells(source, cells).bound)


def tasks_of(row: Notebook, submission: Submission, definitions: Mapping[str, ast.stmt]) -> list[Task]:
    """Return one task for each exercise.

    Functions of other exercises come from the worked notebook, so that no mistake counts twice.
    """
    names = {_name(exercise.id) for exercise in row.exercises}
    own = {name: node for name, node in submission.bound if name not in names}
    offered = {**definitions, **own}
    tasks = []
    for exercise in row.exercises:
        answers = submission.answers(name := _name(exercise.id))
        context = [[ast.unparse(node) for node in needed(answer, offered)] for answer in answers]
        tasks.append(Task(exercise.id, name, list(map(ast.unparse, answers)), context))
    return tasks


def _score(file: SubmittedFile, verdicts: Mapping[tuple[int, str], Verdict]) -> Score | None:
    if file.row is None or file.submission is None:
        return None
    marks = []
    for exercise in file.row.exercises:
        verdict, name = verdicts[id(file), exercise.id], _name(exercise.id)
        says = verdict.says if file.submission.answers(name) else file.submission.missing(name)
        marks.append(Mark(exercise.id, verdict.passed, verdict.attempted, says, exercise.points * verdict.passed))
    return Score(file.row.slug, tuple(marks), sum(exercise.points for exercise in file.row.exercises))
