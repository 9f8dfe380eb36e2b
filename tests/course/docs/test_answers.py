"""Every "what if" of the exercises has an answer for the instructor, under the question that the notebook asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from course.classroom.questions import Question, questions
from course.config import Notebook
from tests.course.docs.reading import COURSE, DOCS

ANSWERS = COURSE.folder / "answers"
WITH_EXERCISES = [row for row in COURSE.notebooks if row.exercises]
every_notebook = pytest.mark.parametrize("row", WITH_EXERCISES, ids=lambda row: row.slug)


@dataclass(frozen=True)
class Answer:
    """One section of a page of answers: its heading, the question as quoted, and the answer."""

    heading: str
    question: str
    text: str


def answers(text: str) -> dict[str, Answer]:
    """The sections ``## 2.1 · title`` of a page, by exercise."""
    sections = re.findall(
        r"^## ((\S+) · [^\n]+)\n\n((?:>[^\n]*\n)+)\n(.+?)(?=\n\n## |\n*\Z)", text, re.MULTILINE | re.DOTALL
    )
    quoted = {id: " ".join(re.sub(r"^> ?", "", quote, flags=re.MULTILINE).split()) for _, id, quote, _ in sections}
    return {id: Answer(heading, quoted[id], " ".join(text.split())) for heading, id, _, text in sections}


def errors(asked: dict[str, Question], text: str) -> list[str]:
    """What is wrong with a page of answers to these questions."""
    found, wrong = answers(text), []
    for id, question in asked.items():
        if question.what_if is None or id not in found:
            wrong += [f"{id}: no answer"] if question.what_if else []
            continue
        answer, words = found[id], len(re.sub(r"\$[^$]+\$", "x", found[id].text).split())
        wrong += [] if answer.heading == f"{id} · {question.title}" else [f"{id}: the heading is {answer.heading!r}"]
        wrong += [] if answer.question == question.what_if else [f"{id}: the notebook asks {question.what_if!r}"]
        wrong += [] if 40 <= words <= 120 else [f"{id}: {words} words, expected 40 to 120"]
    return wrong + [f"{id}: nobody asks" for id in found if id not in asked]


def page_of(row: Notebook) -> Path:
    return ANSWERS / f"{row.slug}.md"


@every_notebook
def test_every_question_is_answered(row: Notebook) -> None:
    asked = questions(COURSE, row)
    assert list(asked) == [exercise.id for exercise in row.exercises]
    assert errors(asked, page_of(row).read_text(encoding="utf-8")) == []


def test_every_exercise_asks_what_if() -> None:
    assert [id for row in WITH_EXERCISES for id, asked in questions(COURSE, row).items() if not asked.what_if] == []


def test_no_page_answers_a_notebook_that_is_not_there() -> None:
    assert {path.stem for path in ANSWERS.iterdir()} == {row.slug for row in WITH_EXERCISES}


def test_what_is_wrong_is_named() -> None:
    row = COURSE.select(["02"])[0]
    asked, text = questions(COURSE, row), page_of(row).read_text(encoding="utf-8")
    assert errors(asked, text.replace("## 2.1 ·", "## 2.9 ·")) == ["2.1: no answer", "2.9: nobody asks"]
    assert errors(asked, text.replace("by mistake? Nothing", "by accident? Nothing"))[0].startswith("2.1: the notebook")
    assert errors(asked, text.replace("· the λ family", "· a family")) == ["2.3: the heading is '2.3 · a family'"]
    assert errors(asked, text + " word" * 100)[0].startswith("2.4: ")


def test_no_page_of_the_site_gives_an_answer_away() -> None:
    public = "\n".join(" ".join(path.read_text(encoding="utf-8").split()) for path in DOCS.glob("*.md"))
    for row in WITH_EXERCISES:
        for id, answer in answers(page_of(row).read_text(encoding="utf-8")).items():
            first = re.split(r"(?<=[.?:]) ", answer.text)
            assert not [said for said in first if len(said) > 40 and said in public], f"{id} is answered in public"
