"""The learner's interface to the exercises: one printed line per check, and hints, one at a time."""

from __future__ import annotations

from collections import Counter

from course.exercises.exercise import Answer, Verdict, load_exercise


class Checker:
    """Check answers in a notebook; keeps the last verdict on each exercise and the number of hints read."""

    def __init__(self) -> None:
        self._hints_read: Counter[str] = Counter()
        self._verdicts: dict[str, tuple[Answer, Verdict]] = {}

    def __call__(self, id: str, answer: Answer) -> None:
        """Print one line: ✓ and what was verified, ✗ and what is wrong and the call for a hint, or "not attempted"."""
        if answer is load_exercise(id).reference:  # the cell was run twice, after `use` had put the reference in place
            print(f"{id}  this is the reference solution; run the cell with your own function again.")
            return
        verdict = self._judge(id, answer)
        if verdict.passed:
            print(f"{id}  ✓ {verdict.says}")
        elif not verdict.attempted:
            print(f"{id}  {verdict.says}")
        else:
            number, count = self._next_hint(id)
            print(f'{id}  ✗ {verdict.says}  (hint {number} of {count}: check.hint("{id}"))')

    def hint(self, id: str) -> None:
        """Print the next of three hints: what to look at, where to look, nearly the answer."""
        number, count = self._next_hint(id)
        self._hints_read[id] = number
        print(f"{id}  hint {number} of {count}: {load_exercise(id).hints[number - 1]}")

    def use(self, id: str, answer: Answer) -> Answer:
        """Return the answer if it is correct, else the reference, with a printed line, so that the notebook goes on."""
        reference = load_exercise(id).reference
        if answer is reference or self._judge(id, answer).passed:
            return answer
        print(f"{id}  going on with the reference solution.")
        return reference

    def _next_hint(self, id: str) -> tuple[int, int]:
        """Return the number of the first unread hint, or of the last hint, and the number of hints."""
        count = len(load_exercise(id).hints)
        return min(self._hints_read[id] + 1, count), count

    def _judge(self, id: str, answer: Answer) -> Verdict:
        """Judge an answer once; later calls with the same function return the same verdict."""
        cached = self._verdicts.get(id)
        if cached is None or cached[0] is not answer:
            cached = self._verdicts[id] = (answer, load_exercise(id).judge(answer))
        return cached[1]
