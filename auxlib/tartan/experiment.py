"""How is it run, and by which rules? The learning rate of every arm is chosen once, on development rows of a seed that
takes no part. Then all arms learn with equal budgets, each tested once a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import auxlib
from auxlib.assets import data_dir
from auxlib.corpora import text_hash
from auxlib.encoders import load_encoder
from auxlib.tartan.lab import Arm, try_arm
from auxlib.tartan.real import LIKE, NEAR, OWN, real_lab
from auxlib.tartan.story import HARMFUL, NEUTRAL, USEFUL, story_lab
from auxlib.tartan.together import Plan
from auxlib.tasks import load_task
from auxlib.trials import Record, made_by, run_trials

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
    "meta-two": Arm("META-TARTAN, without the adversary", (USEFUL, NEUTRAL), rule="cosine"),
    "meta": Arm("META-TARTAN", ALL, rule="cosine"),
    "exact": Arm("META-TARTAN, exact rule", ALL, rule="exact"),
}
REAL = {name: replace(arm, others=(OWN,) if arm.others else ()) for name, arm in ARMS.items()} | {
    "mt-both": Arm("MT-TARTAN, two others", (OWN, LIKE)),
    "meta-both": Arm("META-TARTAN, two others", (OWN, LIKE), rule="cosine"),
}
TASKS, SEEDS, REAL_SEEDS, SEARCH_SEED = ("20ng", "vader-amazon"), (0, 1, 2, 3, 4), (0, 1, 2), 100
RATES, META_RATE = (2e-3, 4e-3, 8e-3), 0.05
REAL_RATE = 3e-4  # which development texts chose for full fine-tuning on both tasks, in the experiment of labels
PASSES, CROWDED, REAL_PASSES, EACH = (400, 800, 1600), 2400, 320, (2, 5, 10, 20)
MAIN_PASSES, MAIN_EACH = 800, 5
CROWD_BATCH = 96  # whom to believe is told from gradients, and those of few texts are mostly chance
COMPARED = ("tune", "before", "mt", "meta")  # in curves
SOURCES = tuple(f"tartan/{name}.py" for name in ("experiment", "lab", "objectives", "real", "story", "together"))
LIBRARY = ("classify.py", "encoders.py", "endtask.py", "tasks.py")


@dataclass(frozen=True)
class Attempt:
    """What is to be tried, small enough to be sent to another process.

    Attributes:
        use: "search" looks at development rows only; "story" is Storyland with one other objective, "crowd" with the
            adversary among them; "real" is a task of texts.
        arm: of the dict that goes with the use.
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
    real = attempt.use == "real"
    lab = real_lab(attempt.task, attempt.seed) if real else story_lab(attempt.seed, attempt.each)
    arms = {"real": REAL, "crowd": CROWD}.get(attempt.use, ARMS)
    size = CROWD_BATCH if attempt.use == "crowd" else 32
    plan = Plan(attempt.passes, size, attempt.rate, every=20 if real else 25, seed=attempt.seed, halved=real)
    found = try_arm(lab, arms[attempt.arm], plan, META_RATE)
    if attempt.use == "search":
        return vars(attempt) | {"dev": found["dev"]}
    return vars(attempt) | found


def run_experiment(folder: Path, jobs: int = 2) -> tuple[list[Record], float]:
    """Search, then compare; every attempt is kept in ``folder`` and not done twice.

    Returns all records, and the seconds that all attempts took together, divided by ``jobs``.
    """
    made = maker(LIBRARY)
    found = _run(folder, list(searches()), made, jobs)
    records = _run(folder, list(comparisons(chosen(found))), made, jobs)
    return [*found, *records], sum(record["seconds"] for record in [*found, *records]) / jobs


def searches() -> Iterable[Attempt]:
    """Every rate for every arm of Storyland; with more objectives an arm keeps the rate that it has with one."""
    for arm in ARMS:
        for rate in RATES:
            yield Attempt("search", "storyland", arm, SEARCH_SEED, MAIN_PASSES, MAIN_EACH, rate)


def chosen(found: Iterable[Record]) -> dict[str, float]:
    """The rate of each arm with the highest macro-F1 on development rows; the lower of equals."""
    best: dict[str, Record] = {}
    for record in found:
        name = record["arm"]
        if "error" not in record and (name not in best or record["dev"] > best[name]["dev"]):
            best[name] = record
    return {name: record["rate"] for name, record in best.items()}


def comparisons(rates: dict[str, float]) -> Iterable[Attempt]:
    """What is tested: budgets, numbers of labels, a crowd of objectives, and texts of the world outside."""
    for seed in REAL_SEEDS:
        for task in TASKS:
            for arm in REAL:
                yield Attempt("real", task, arm, seed, REAL_PASSES, 0, REAL_RATE)
    for seed in SEEDS:
        for arm in CROWD:
            yield Attempt("crowd", "storyland", arm, seed, CROWDED, MAIN_EACH, rates[arm.partition("-")[0]])
        for passes, each in sorted({(one, MAIN_EACH) for one in PASSES} | {(MAIN_PASSES, one) for one in EACH}):
            main = (passes, each) == (MAIN_PASSES, MAIN_EACH)
            for arm in ARMS if main else COMPARED:
                yield Attempt("story", "storyland", arm, seed, passes, each, rates[arm])


def maker(library: Sequence[str] = ()) -> str:
    """The hash of what decides the figures: code, grammar, encoder, texts and labels.

    Attempts of one table stand on one ``library`` too, to the letter; a finished table asks by a rehearsal instead.
    """
    package = Path(auxlib.__file__).parent
    rows = [rows for task in (*TASKS, *(NEAR[task] for task in TASKS)) for rows in load_task(task).values()]
    texts = [text_hash(map(str, (*part["text"], *part["label"]))) for part in rows]
    grammar = (data_dir() / "storyland" / "grammar.toml").read_text(encoding="utf-8")
    sources = [package / name for name in (*SOURCES, *library)]
    return made_by(sources, load_encoder().fingerprint, grammar, *texts)


def _run(folder: Path, attempts: Sequence[Attempt], made: str, jobs: int) -> list[Record]:
    named = {attempt.name: attempt for attempt in attempts}
    done = run_trials(folder, named, run_attempt, made, jobs)
    return [vars(named[name]) | record for name, record in done.items()]
