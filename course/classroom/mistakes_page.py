"""Which mistakes should a teacher expect? The planted answers as a page: the belief, the code, what the check says.

The messages are the whole ones that a learner reads: each answer is judged when the page is made, in a second or two
for all of them, so the page cannot lag behind the checks.
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
    """The page in Markdown, for the instructor: all notebooks in the order of the course."""
    course, planted = load_course(root), defaultdict(list)
    for answer in read_mistakes(root):
        planted[answer.exercise].append(answer)
    return "\n".join([OPENING, *(_notebook(course, row, planted) for row in course.notebooks if row.exercises)])


def _notebook(course: Course, row: Notebook, planted: dict[str, list[Mistake]]) -> str:
    parts = [f"## {row.number:02d} · {row.title}\n"]
    asked = questions(course, row)
    here = [answer for exercise in row.exercises for answer in planted[exercise.id]]
    for setup in dict.fromkeys(answer.setup for answer in here):
        parts.append(f"What stands before each of these answers:\n\n{_fenced(setup)}")
    for exercise in row.exercises:
        parts.append(f"### {exercise.id} · {asked[exercise.id].title}\n")
        parts += map(_mistake, planted[exercise.id])
    return "\n".join(parts)


def _mistake(answer: Mistake) -> str:
    """One mistake; the message stands in a block of its own, since it may hold any character."""
    said = f"{answer.exercise}  ✗ {answer.verdict().says}"
    belief = escape(answer.misconception[:1].upper() + answer.misconception[1:], quote=False)
    return f"**{belief}**\n\n{_fenced(answer.code)}\n{_fenced(said, 'text')}"


def _fenced(text: str, language: str = "python") -> str:
    return f"```{language}\n{text.strip()}\n```\n"
