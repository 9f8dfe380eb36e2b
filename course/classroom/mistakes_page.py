"""The instructor's page of expected mistakes: the misconception, the code, and the check's message.

Every planted mistake is judged when the page is generated (a second or two for all of them), so the messages are those
that a learner reads.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape
from pathlib import Path

from course.classroom.mistakes import Mistake, read_mistakes
from course.classroom.questions import questions
from course.config import Course, Notebook, load_course

OPENING = """# Expected mistakes

Wrong answers that people really give, exercise by exercise, each with the belief behind it, the code, and what the
check says to it. The first of each exercise is the classic one. Every message belongs to one mistake only, so the
message in a student's feedback tells which of these you are looking at.
"""


def mistakes_page(root: Path) -> str:
    """Return the page in Markdown: all notebooks in the order of the course."""
    course = load_course(root)
    mistakes: dict[str, list[Mistake]] = defaultdict(list)
    for mistake in read_mistakes(root):
        mistakes[mistake.exercise].append(mistake)
    return "\n".join([OPENING, *(_notebook(course, row, mistakes) for row in course.notebooks if row.exercises)])


def _notebook(course: Course, row: Notebook, mistakes: dict[str, list[Mistake]]) -> str:
    parts = [f"## {row.number:02d} · {row.title}\n"]
    titles = {id: question.title for id, question in questions(course, row).items()}
    for setup in dict.fromkeys(mistake.setup for exercise in row.exercises for mistake in mistakes[exercise.id]):
        parts.append(f"What stands before each of these answers:\n\n{_fenced(setup)}")
    for exercise in row.exercises:
        parts.append(f"### {exercise.id} · {titles[exercise.id]}\n")
        parts += map(_mistake, mistakes[exercise.id])
    return "\n".join(parts)


def _mistake(mistake: Mistake) -> str:
    """Return one mistake; the message has a code block of its own, since it may hold any character."""
    message = f"{mistake.exercise}  ✗ {mistake.verdict().says}"
    misconception = escape(mistake.misconception[:1].upper() + mistake.misconception[1:], quote=False)
    return f"**{misconception}**\n\n{_fenced(mistake.code)}\n{_fenced(message, 'text')}"


def _fenced(text: str, language: str = "python") -> str:
    return f"```{language}\n{text.strip()}\n```\n"
