"""Is an exercise solved? ``check("2.1", fn)`` says what it saw; ``use("2.1", fn)`` goes on with an answer that works.

A check knows an exercise by its id and the learner's function by being handed it: cells may be moved, copied or
renamed. Each module ``notebook_NN`` holds the exercises of one notebook: reference, three hints, and an examiner that
compares an answer with an oracle and names the identity that broke. The examiners are themselves tested, with wrong
answers that people really give (``notebooks/mistakes``).
"""

from course.exercises.checker import Checker

check = Checker()
use = check.use

__all__ = ["check", "use"]
