"""How is it run, and by which rules? The learning rate of every arm is chosen once, on development rows of seeds that
take no part. Then all arms learn with equal budgets, each tested once a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from auxlib.classification.encoders import load_encoder
from auxlib.data.assets import data_dir
from auxlib.data.tasks import task_hash
from auxlib.tartan.trainer import TrainingConfig
from experiments.runner import Provenance, Record, digest, provenance, run_trials
from experiments.tartan.real import LIKE, NEAR, OWN, real_setup
from experiments.tartan.setup import Arm, try_arm
from experiments.tartan.story import HARMFUL, NEUTRAL, USEFUL, story_setup

ALL = (USEFUL, NEUTRAL, HARMFUL)
ARMS = {
    "tune": Arm("fine-tuning alone"),
    "before": Arm("the other objective first (TAPT)", (USEFUL,), first=True),
    "mt": Arm("MT-TARTAN", (USEFUL,)),
    "meta": Arm("META-TARTAN", (USEFUL,), rule="cosine"),
    "exact": Arm("META-TARTAN, exact rule", (USEFUL,), rule="exact"),
}
CROWD = {
    "mt": Arm("MT-TARTAN", ALL),
    "meta-two": Arm("META-TARTAN, without the harmful one", (USEFUL, NEUTRAL), rule="cosine"),
    "meta": Arm("META-TARTAN", ALL, rule="cosine"),
    "exact": Arm("META-TARTAN, exact rule", ALL, rule="exact"),
}
REAL = {name: replace(arm, others=(OWN,) if arm.others else ()) for name, arm in ARMS.items()} | {
    "mt-both": Arm("MT-TARTAN, two others", (OWN, LIKE)),
    "meta-both": Arm("META-TARTAN, two others", (OWN, LIKE), rule="cosine"),
}
STORY, STORY_CROWD = "storyland", "crowd"  # a story's place: with one other objective, or with all three
TASKS, REAL_SEEDS = ("20ng", "vader-amazon"), (0, 1, 2)
# seeds 0 to 4 were seen in a first run, whose rates lay at the end of their list and were not searched for the crowd
SEEDS, SEARCH_SEEDS = (5, 6, 7, 8, 9), (100, 101)
RATES, META_RATE = (4e-3, 8e-3, 16e-3, 32e-3, 64e-3, 128e-3), 0.02
REAL_RATE = 3e-4  # which development texts chose for full fine-tuning on both tasks, in the experiment of labels
PASSES, CROWDED, REAL_PASSES, EACH = (200, 400, 800, 1600), 2400, 200, (2, 5, 10, 20)
MAIN_PASSES, MAIN_EACH = 800, 10
CROWD_BATCH = 96  # whom to believe is told from gradients, and those of few texts are mostly chance
COMPARED = ("tune", "before", "mt", "meta")  # in curves
SEARCHED = {STORY: COMPARED, STORY_CROWD: ("mt", "meta")}  # every other arm takes the rate of "meta"
VERSION = 1


@dataclass(frozen=True)
class Attempt:
    """What is to be tried, small enough to be sent to another process.

    Attributes:
        use: "search" looks at development rows only, "test" at test rows.
        task: a story's place, with one other objective or with all of them; or a task of texts.
        arm: of the dict that goes with the task.
        each: labelled texts of every label.
        rate: of the body.
    """

    use: str
    task: str
    arm: str
    seed: int
    passes: int
    each: int
    rate: float

    @property
    def name(self) -> str:
        """A file's name."""
        return "-".join(map(str, vars(self).values()))


def run_attempt(attempt: Attempt) -> Record:
    """Train and measure; plain numbers, for JSON."""
    real, crowd = attempt.task in TASKS, attempt.task == STORY_CROWD
    lab = real_setup(attempt.task, attempt.seed) if real else story_setup(attempt.seed, attempt.each)
    arms = REAL if real else CROWD if crowd else ARMS
    size, every = CROWD_BATCH if crowd else 32, 20 if real else 25
    plan = TrainingConfig(attempt.passes, size, attempt.rate, eval_steps=every, seed=attempt.seed, bf16=real)
    found = try_arm(lab, arms[attempt.arm], plan, META_RATE)
    return vars(attempt) | (found if attempt.use == "test" else {"dev": found["dev"]})


def run_experiment(folder: Path, jobs: int = 2) -> tuple[list[Record], float]:
    """Search, then compare; every attempt is kept in ``folder`` and not done twice.

    Returns all records, and the seconds that all attempts took together, divided by ``jobs``.
    """
    made = made_by()
    found = _run(folder, list(searches()), made, jobs)
    records = _run(folder, list(comparisons(chosen(found))), made, jobs)
    return [*found, *records], sum(record["seconds"] for record in [*found, *records]) / jobs


def searches() -> Iterable[Attempt]:
    """Every rate in Storyland, with one other objective and with all three."""
    for seed in SEARCH_SEEDS:
        for rate in RATES:
            for task, passes in ((STORY_CROWD, CROWDED), (STORY, MAIN_PASSES)):
                for arm in SEARCHED[task]:
                    yield Attempt("search", task, arm, seed, passes, MAIN_EACH, rate)


def chosen(found: Iterable[Record]) -> dict[tuple[str, str], float]:
    """The rate of each task's arm with the highest macro-F1 on development rows, mean over the seeds; the lower of
    equals. A rate at which one seed failed is not chosen."""
    tried: dict[tuple[str, str], dict[float, list[float]]] = {}
    for record in found:
        rates = tried.setdefault((record["task"], record["arm"]), {})
        rates.setdefault(record["rate"], []).append(record.get("dev", float("-inf")))
    return {key: max(sorted(rates), key=lambda rate: mean(rates[rate])) for key, rates in tried.items()}


def comparisons(rates: dict[tuple[str, str], float]) -> Iterable[Attempt]:
    """What is tested: budgets, numbers of labels, a crowd of objectives, and texts of the world outside."""
    for seed in REAL_SEEDS:
        for task in TASKS:
            for arm in REAL:
                yield Attempt("test", task, arm, seed, REAL_PASSES, 0, REAL_RATE)
    for seed in SEEDS:
        for arm in CROWD:
            yield Attempt("test", STORY_CROWD, arm, seed, CROWDED, MAIN_EACH, _rate(rates, STORY_CROWD, arm))
        for passes, each in sorted({(one, MAIN_EACH) for one in PASSES} | {(MAIN_PASSES, one) for one in EACH}):
            for arm in ARMS if (passes, each) == (MAIN_PASSES, MAIN_EACH) else COMPARED:
                yield Attempt("test", STORY, arm, seed, passes, each, _rate(rates, STORY, arm))


def _rate(rates: dict[tuple[str, str], float], task: str, arm: str) -> float:
    return rates[task, arm if arm in SEARCHED[task] else "meta"]


def made_by() -> Provenance:
    """Return what decides the figures: the version, the grammar, the encoder, and the texts and labels of each task."""
    grammar = digest((data_dir() / "storyland" / "grammar.toml").read_text(encoding="utf-8"))
    texts = {task: task_hash(task) for task in (*TASKS, *(NEAR[task] for task in TASKS))}
    return provenance(VERSION, grammar=grammar, minilm=load_encoder().fingerprint, **texts)


def _run(folder: Path, attempts: Sequence[Attempt], made: Provenance, jobs: int) -> list[Record]:
    named = {attempt.name: attempt for attempt in attempts}
    done = run_trials(folder, named, run_attempt, made, jobs)
    return [vars(named[name]) | record for name, record in done.items()]
