"""The plan of the Y-Tuning experiment: tasks, seeds, and the trials on them."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.runner import Trial

TASKS = ("r8", "20ng", "vader-movie", "vader-amazon", "wordnet-definition")
FEW_SHOT_TASK = "20ng"  # its labels have telling names, and enough texts each
TRAIN_TEXTS = 1500  # at most; with all texts of a task, the whole takes more than an hour and a half
SEEDS, SEARCH_SEED, SEARCH_TEXTS = (0, 1, 2), 100, 500
NOISES, NOISE_TEXTS = (0.0, 1.0, 2.0), 500
EACH, FEW_SHOT_SYSTEMS = (10, 50), ("full", "ytuning", "linear")


@dataclass(frozen=True)
class ClassifierTrial(Trial):
    """One training of one classifier.

    Attributes:
        use: "search" looks at development texts only; "all" trains on `TRAIN_TEXTS`; "few" on ``each`` texts of every
            label; "unseen" leaves some labels out.
        setting: the index of one of the system's settings.
    """

    use: str
    task: str
    system: str
    seed: int
    setting: int
    each: int = 0
