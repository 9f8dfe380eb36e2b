"""Where does a learner hand in an answer? The desk prints one line per look and hands out hints, one at a time."""

from __future__ import annotations

from collections import Counter

from course.exercises.exercise import Answer, Verdict, load_exercise


class Checker:
    """Call it to check an answer. It keeps nothing but the last verdict on each exercise and which hints were read."""

    def __init__(self) -> None:
        self._hints_read: Counter[str] = Counter()
        self._looked_at: dict[str, tuple[Answer, Verdict]] = {}

    def __call__(self, id: str, answer: Answer) -> None:
        """Print one line: ✓ with what was shown, ✗ with what broke and where the next hint is, or "not attempted"."""
        if answer is load_exercise(id).reference:  # the cell was run twice, after `use` had put the reference in place
            print(f"{id}  this is the reference solution; run the cell with your own function again.")
            return
        verdict = self._look(id, answer)
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
        """Your answer when it is right; else the reference, and a line that says so: the notebook goes on."""
        reference = load_exercise(id).reference
        if answer is reference or self._look(id, answer).passed:
            return answer
        print(f"{id}  going on with the reference solution.")
        return reference

    def _next_hint(self, id: str) -> tuple[int, int]:
        """The number of the first hint not read yet, or of the last one, and how many there are."""
        count = len(load_exercise(id).hints)
        return min(self._hints_read[id] + 1, count), count

    def _look(self, id: str, answer: Answer) -> Verdict:
        """Judge an answer once, however often it is asked for."""
        seen = self._looked_at.get(id)
        if seen is None or seen[0] is not answer:
            seen = self._looked_at[id] = (answer, load_exercise(id).judge(answer))
        return seen[1]
