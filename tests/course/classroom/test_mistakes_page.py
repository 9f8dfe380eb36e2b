"""The page of expected mistakes shows every planted answer with the whole message that it receives."""

from __future__ import annotations

from pathlib import Path

import pytest

from auxlib.errors import CourseError
from course.classroom.mistakes import FOLDER, Mistake, read_mistakes
from course.classroom.mistakes_page import mistakes_page
from course.classroom.questions import questions
from course.config import load_course
from course.exercises.exercise import Verdict

COURSE = load_course()
SETUP = "# %% setup\nimport torch\n\n\n"
CELL = "# %% 2.1 · mixes\n# says: average\ndef combine_two(lm_logits, aux_logits):\n    return torch.tensor(0.5)\n"


@pytest.fixture(scope="module")
def page() -> str:
    return mistakes_page(COURSE.root)


@pytest.fixture
def plant(tmp_path: Path):
    def plant(text: str) -> tuple[Mistake, ...]:
        (tmp_path / FOLDER).mkdir(parents=True)
        (tmp_path / FOLDER / "02_a.py").write_text(text, encoding="utf-8")
        return read_mistakes(tmp_path)

    return plant


def test_every_planted_answer_is_there_with_its_code_and_its_whole_message(page: str) -> None:
    for answer in read_mistakes(COURSE.root):
        message = answer.verdict().says
        assert answer.says in message
        assert f"```python\n{answer.code.strip()}\n```\n\n```text\n{answer.exercise}  ✗ {message}\n```" in page


def test_every_exercise_has_a_heading_in_the_order_of_the_course(page: str) -> None:
    asked = [question for row in COURSE.notebooks for question in questions(COURSE, row).values()]
    places = [page.find(f"### {question.id} · {question.title}\n") for question in asked]
    assert -1 not in places
    assert places == sorted(places)


def test_fences_are_closed_and_the_marks_of_the_tests_stay_out(page: str) -> None:
    assert page.count("\n```") % 2 == 0
    assert "# says:" not in page
    assert "# %%" not in page


def test_the_page_says_what_the_check_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mistake, "verdict", lambda answer: Verdict(False, True, f"of {answer.misconception}: no."))
    assert "2.1  ✗ of adds in place: no." in mistakes_page(COURSE.root)


def test_an_answer_is_code_that_runs_by_itself(plant) -> None:
    (answer,) = plant(SETUP + CELL)
    assert (answer.exercise, answer.misconception, answer.says) == ("2.1", "mixes", "average")
    assert answer.source.startswith("import torch\n\n\ndef combine_two")
    assert float(answer.function()(None, None)) == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CELL, "its first cell must be"),
        (SETUP + CELL.replace("# says: average\n", ""), "expected `# %% 2.1 · misconception`, then `# says: …`"),
        (SETUP + CELL.replace("2.1 · mixes", "mixes"), "expected `# %% 2.1 · misconception`"),
    ],
)
def test_a_cell_that_is_not_as_agreed_is_an_error(plant, text: str, said: str) -> None:
    with pytest.raises(CourseError, match=said.replace("…", ".")):
        plant(text)


def test_without_planted_answers_one_is_told_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="run this in a clone of the repository"):
        read_mistakes(tmp_path)
