"""The desk: what a learner sees, how hints escalate, and that nothing of the learner's is touched."""

from __future__ import annotations

import random
import re

import pytest
import torch

from auxlib.errors import CourseError
from course.exercises import check, use
from course.exercises.checker import Checker
from course.exercises.exercise import Exercise, Verdict, expect_number, gap, load_exercise


def right(lm_logits, aux_logits):
    return (lm_logits + aux_logits).softmax(-1)


def wrong(lm_logits, aux_logits):
    return (lm_logits.softmax(-1) + aux_logits.softmax(-1)) / 2


def stub(lm_logits, aux_logits):
    """Docstring."""
    ...  # your code here


@pytest.fixture
def desk() -> Checker:
    return Checker()


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list:
    """The functions that exercise 2.1's examiner has been asked about."""
    seen, examine = [], load_exercise("2.1").examine
    monkeypatch.setattr(load_exercise("2.1"), "examine", lambda answer: (seen.append(answer), examine(answer))[1])
    return seen


def said(capsys: pytest.CaptureFixture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_right_answer_is_told_what_it_has_shown_and_is_used(desk: Checker, capsys) -> None:
    desk("2.1", right)
    assert desk.use("2.1", right) is right
    assert said(capsys) == ["2.1  ✓ multiplies the two distributions, also for huge logits and under a veto."]


def test_a_wrong_answer_is_told_what_broke_and_the_notebook_goes_on_visibly(desk: Checker, capsys) -> None:
    desk("2.1", wrong)
    assert desk.use("2.1", wrong) is load_exercise("2.1").reference
    first, second = said(capsys)
    assert first.startswith("2.1  ✗ this is the average of the two distributions")
    assert first.endswith('  (hint 1 of 3: check.hint("2.1"))')
    assert second == "2.1  going on with the reference solution."


def test_a_stub_raises_nothing(desk: Checker, capsys) -> None:
    desk("2.1", stub)
    assert desk.use("2.1", stub) is load_exercise("2.1").reference
    assert said(capsys) == ["2.1  not attempted yet.", "2.1  going on with the reference solution."]


def test_running_the_check_cell_twice_does_not_turn_the_reference_into_an_answer(desk: Checker, capsys) -> None:
    combine_two = stub
    for _ in range(2):
        desk("2.1", combine_two)
        combine_two = desk.use("2.1", combine_two)
    lines = said(capsys)
    assert lines[2:] == ["2.1  this is the reference solution; run the cell with your own function again."]
    assert not any("✓" in line for line in lines)


def test_hints_escalate_and_the_check_names_the_next_one(desk: Checker, capsys) -> None:
    for _ in range(4):
        desk.hint("2.1")
        desk("2.1", wrong)
    lines = said(capsys)
    hints = load_exercise("2.1").hints
    assert lines[0::2] == [f"2.1  hint {n} of 3: {hints[n - 1]}" for n in (1, 2, 3, 3)]
    assert [re.findall(r"\(hint (\d)", line) for line in lines[1::2]] == [["2"], ["3"], ["3"], ["3"]]


def test_an_answer_is_judged_once_and_a_new_definition_again(desk: Checker, judged: list) -> None:
    desk("2.1", right)
    desk.use("2.1", right)
    desk("2.1", right)
    assert len(judged) == 1
    desk("2.1", wrong)
    assert len(judged) == 2


def test_one_desk_stands_in_the_notebooks() -> None:
    assert check.use == use


def test_the_learners_random_numbers_stay_as_they_are() -> None:
    def draws(lm_logits, aux_logits):
        torch.rand(3), random.random()
        return right(lm_logits, aux_logits)

    before = torch.get_rng_state(), random.getstate()
    assert load_exercise("2.1").judge(draws).passed
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_the_verdict_does_not_depend_on_the_learners_seed() -> None:
    verdicts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        verdicts.append(load_exercise("2.1").judge(lambda lm, aux: lm.softmax(-1)))
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize(
    ("answer", "fragment"),
    [
        (lambda lm, aux: lm + torch.ones(7), r"with \(tensor \[4, 5\], tensor \[4, 5\]\) it raised RuntimeError: The"),
        (lambda lm: lm, "it raised TypeError"),
        (lambda lm, aux: int("x\ny"), r"ValueError: invalid literal"),
        (lambda lm, aux: exit(), "it raised SystemExit"),
        (lambda lm, aux: [lm], "must be a tensor"),
        (lambda lm, aux: lm.add(aux).sum().item(), "must be a tensor"),
        (lambda lm, aux: lm[0], r"must have the shape \[4, 5\]"),
        (lambda lm, aux: lm * torch.nan, "NaN"),
        (lambda lm, aux: print(end=""), "it returned None; does every path end in a `return`"),
    ],
)
def test_whatever_an_answer_does_becomes_a_verdict(answer, fragment: str) -> None:
    verdict = load_exercise("2.1").judge(answer)
    assert (verdict.passed, verdict.attempted) == (False, True)
    assert re.search(fragment, verdict.says)
    assert "\n" not in verdict.says


def test_a_result_that_the_examiner_cannot_read_is_a_verdict_too() -> None:
    exercise = Exercise("9.9", ("a", "b", "c"), right)
    exercise.examiner(lambda answer: answer(torch.zeros(2), torch.zeros(2)).rows)
    assert exercise.judge(right).says.startswith("your result could not be read: ")


def unfinished(lm_logits, aux_logits):
    raise NotImplementedError


@pytest.mark.parametrize("answer", [stub, unfinished, lambda lm, aux: None])
def test_an_empty_body_is_a_stub(answer) -> None:
    assert load_exercise("2.1").judge(answer) == Verdict(False, False, "not attempted yet.")


def test_one_number_may_be_a_tensor_or_plain() -> None:
    assert expect_number(torch.tensor([2.5]), "it") == expect_number(2.5, "it") == 2.5
    for value in (torch.zeros(2), "1", True, float("nan"), None):
        with pytest.raises(Exception, match="it "):
            expect_number(value, "it")


def test_gap_takes_equal_infinities_for_equal_and_nan_for_far() -> None:
    inf = torch.tensor([torch.inf, 1.0])
    assert gap(inf, inf) == 0
    assert gap(torch.tensor([torch.nan]), torch.tensor([0.0])) > 1e30
    assert gap(torch.zeros(0), torch.zeros(0)) == 0


def test_an_unknown_exercise_and_one_without_examiner_are_errors() -> None:
    with pytest.raises(CourseError, match=r"no exercise '2.9'; that notebook has 2\.1, "):
        load_exercise("2.9")
    with pytest.raises(CourseError, match="that notebook has none"):
        load_exercise("elsewhere")
    with pytest.raises(CourseError, match="no examiner yet"):
        Exercise("9.9", ("a", "b", "c"), right).judge(right)
