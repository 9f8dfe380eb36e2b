"""The checks are checked: a planted wrong answer is rejected with a message of its own, the reference is accepted."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import pytest
import torch

from course.build import generate, without_solution
from course.config import load_course
from course.exercises.exercise import Verdict, exercises_of, load_exercise
from course.outputs import tags
from tests.course.exercises.bank import Mistake, examined, kill_rate, planted, survivors

COURSE = load_course()
ROWS = {exercise.id: row for row in COURSE.notebooks for exercise in row.exercises}
AT_LEAST, AT_LEAST_IN_ALL = 3, 90
every_exercise = pytest.mark.parametrize("id", ROWS)


@pytest.fixture(scope="module")
def verdicts() -> dict[Mistake, Verdict]:
    return examined()


@every_exercise
def test_the_reference_is_accepted(id: str) -> None:
    verdict = load_exercise(id).judge(load_exercise(id).reference)
    assert verdict.passed, verdict.says
    assert len(verdict.says.split()) >= 5, "a ✓ must say what a right answer has shown"


@every_exercise
def test_the_stub_is_not_attempted(id: str) -> None:
    assert load_exercise(id).judge(_handed_out(id)) == Verdict(False, False, "not attempted yet.")


@every_exercise
def test_the_worked_notebook_agrees_with_the_reference(id: str) -> None:
    verdict = load_exercise(id).judge(_namespace(id)[load_exercise(id).name])
    assert verdict.passed, verdict.says


@every_exercise
def test_each_planted_answer_is_rejected_with_its_own_message(id: str, verdicts: dict[Mistake, Verdict]) -> None:
    here = {answer: verdict for answer, verdict in verdicts.items() if answer.exercise == id}
    assert len(here) >= AT_LEAST, f"{id} has {len(here)} planted answers"
    assert {answer.misconception: why for answer, why in survivors(here).items()} == {}


@every_exercise
def test_three_hints_escalate(id: str) -> None:
    hints = load_exercise(id).hints
    assert len(set(hints)) == 3
    assert all(len(hint) >= 20 for hint in hints)


def test_nothing_is_planted_or_examined_that_the_table_does_not_list() -> None:
    assert {answer.exercise for answer in planted()} <= set(ROWS)
    assert [id for row in COURSE.notebooks for id in exercises_of(row.number)] == list(ROWS)


def test_enough_is_planted_in_all() -> None:
    assert len(planted()) >= AT_LEAST_IN_ALL


@pytest.mark.parametrize(
    ("examine", "why"),
    [
        (lambda answer: "all is well.", "accepted"),
        (lambda answer: 1 / 0, "rejected with"),
        (lambda answer: answer(), "rejected with"),
    ],
    ids=["accepts everything", "breaks", "says the same to all"],
)
def test_a_weak_examiner_is_found_out(examine: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = load_exercise("2.1")
    monkeypatch.setattr(exercise, "examine", examine)
    here = {answer: exercise.judge(answer.function()) for answer in planted() if answer.exercise == "2.1"}
    assert len(survivors(here)) == len(here)
    assert all(said.startswith(why) for said in survivors(here).values())
    assert kill_rate(here) == (0, len(here))


def test_two_answers_with_one_message_are_found_out(verdicts: dict[Mistake, Verdict]) -> None:
    first, second = [answer for answer in verdicts if answer.exercise == "2.1"][:2]
    here = {first: verdicts[first], second: verdicts[first]}
    assert survivors(here)[first] == f'its message is also that of "{second.misconception}"'


@cache
def _notebook(slug: str):
    return generate(COURSE, COURSE.select([slug])[0])


def _cell(id: str, kind: str) -> str:
    return next(cell.source for cell in _notebook(ROWS[id].slug).cells if f"{kind}:{id}" in tags(cell))


def _namespace(id: str) -> dict[str, Any]:
    """What a notebook's parameters, imports and the exercise's own cell define."""
    namespace = _imports(ROWS[id].slug).copy()
    exec(_cell(id, "exercise"), namespace)
    return namespace


@cache
def _imports(slug: str) -> dict[str, Any]:
    code = [cell for cell in _notebook(slug).cells if cell.cell_type == "code"]
    namespace: dict[str, Any] = {}
    dtype = torch.get_default_dtype()  # a notebook may choose another one for its own process
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in code[:2]:
            exec(cell.source, namespace)
    torch.set_default_dtype(dtype)
    return namespace


def _handed_out(id: str) -> Any:
    namespace = _imports(ROWS[id].slug).copy()
    exec(without_solution(_cell(id, "exercise"), id), namespace)
    return namespace[load_exercise(id).name]
