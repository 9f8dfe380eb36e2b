"""Exercises and their checks: ``check("2.1", fn)`` prints a verdict, ``use("2.1", fn)`` returns a function that works.

A check receives an exercise's id and the learner's function, so cells may be moved, copied or renamed. Each module
``notebook_NN`` holds the exercises of one notebook: reference, three hints, and an examiner that compares an answer
with an oracle and names the identity that it breaks. The examiners themselves are tested with common wrong answers
(``notebooks/mistakes``).
"""

from course.exercises.checker import Checker

check = Checker()
use = check.use

__all__ = ["check", "use"]
