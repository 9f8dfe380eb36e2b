"""How is it run, and by which rules? For each task a search on a few of its training texts, in which development texts
choose one of three settings for everybody; then three seeds on more of them, each tested once. Beside that: few labels,
labels that nobody was trained on, and names that are given to the wrong labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auxlib.classification.encoders import load_encoder
from auxlib.data.tasks import label_names, load_task, task_hash
from experiments.runner import Provenance, Record, provenance, run_trials
from experiments.ytuning.few_shot import few, unseen
from experiments.ytuning.setup import TrainingSetup
from experiments.ytuning.systems import BY_NAME, SYSTEMS

TASKS = ("r8", "20ng", "vader-movie", "vader-amazon", "wordnet-definition")
MOST = 1500  # texts to learn from: with all that there are, the whole takes more than an hour and a half
USED = "20ng"  # the task whose labels have telling names, and texts enough for each
SEEDS, SEARCH_SEED, SEARCHED = (0, 1, 2), 100, 500
NOISES, NOISY = (0.0, 1.0, 2.0), 500  # and test texts
EACH, WITH_FEW = (10, 50), ("full", "ytuning", "linear")
VERSION = 1


@dataclass(frozen=True)
class Attempt:
    """What is to be tried, small enough to be sent to another process.

    Attributes:
        use: "search" looks at development texts only; "all" learns from as many texts as there may be; "few" from
            ``each`` of every label; "unseen" leaves some labels out.
        setting: which of the system's settings.
    """

    use: str
    task: str
    system: str
    seed: int
    setting: int
    each: int = 0

    @property
    def name(self) -> str:
        """A file's name."""
        return "-".join(map(str, vars(self).values()))


def run_attempt(attempt: Attempt) -> Record:
    """Train and measure; plain numbers, for JSON."""
    system = (SYSTEMS | BY_NAME)[attempt.system]
    setting, seed = system.settings[attempt.setting], attempt.seed
    texts = load_task(attempt.task, limit=SEARCHED if attempt.use == "search" else MOST)
    if attempt.use == "unseen":
        return vars(attempt) | unseen(system, setting, texts, seed)
    desk = TrainingSetup(system, setting, few(texts, attempt.each, seed) if attempt.use == "few" else texts, seed)
    spent = desk.cost() if attempt.use == "all" else {}
    fitted = desk.learn()
    found = {"dev": max(fitted.dev), "best_epoch": fitted.best_epoch, "epochs": len(fitted.dev)}
    found |= {"learned_from": len(desk.train), "epoch_seconds": fitted.seconds / len(fitted.dev)}
    if attempt.use != "search":
        found |= desk.judge()
    if attempt.use == "all":
        found |= {
            "labels": len(label_names(texts["test"])),
            "chance": max(Counter(texts["test"]["label"]).values()) / len(texts["test"]),
        }
        found |= {"noisy": desk.noisy(NOISES, NOISY)}
    return vars(attempt) | spent | found


def run_experiment(
    folder: Path, tasks: Sequence[str] = TASKS, seeds: Sequence[int] = SEEDS, jobs: int = 2
) -> tuple[list[Record], float]:
    """Search, compare, use; every attempt is kept in ``folder`` and not done twice.

    Returns all records, and the seconds that all attempts took together, divided by ``jobs``.
    """
    made = made_by(tasks)
    named = tuple(BY_NAME) if USED in tasks else ()
    tried = [Attempt("search", task, who, SEARCH_SEED, i) for who, system in _all().items() for task in tasks
             for i in range(len(system.settings)) if who in SYSTEMS or (who in named and task == USED)]  # fmt: skip
    found = _run(folder, tried, made, jobs)
    best = chosen(found)
    compared = [Attempt("all", task, who, seed, best[task, who]) for who in LONGEST_FIRST for task in tasks
                for seed in seeds if (task, who) in best]  # fmt: skip
    used = [Attempt("few", USED, who, seed, best[USED, who], each) for who in (*WITH_FEW, *named) for each in EACH
            for seed in seeds if (USED, who) in best]  # fmt: skip
    used += [Attempt("unseen", USED, who, seed, best[USED, who]) for who in named for seed in seeds]
    records = _run(folder, [*compared, *used], made, jobs)
    return [*found, *records], sum(record["seconds"] for record in [*found, *records]) / jobs


LONGEST_FIRST = sorted(SYSTEMS, key=lambda name: SYSTEMS[name].cached)  # whoever reads the texts itself takes longest


def _all() -> dict:
    return {name: (SYSTEMS | BY_NAME)[name] for name in (*LONGEST_FIRST, *BY_NAME)}


def chosen(found: Iterable[Record]) -> dict[tuple[str, str], int]:
    """The setting of each system with the highest accuracy on a task's development texts; the first of equals."""
    best: dict[tuple[str, str], Record] = {}
    for record in found:
        key = record["task"], record["system"]
        if "error" not in record and (key not in best or record["dev"] > best[key]["dev"]):
            best[key] = record
    return {key: record["setting"] for key, record in best.items()}


def made_by(tasks: Iterable[str] = TASKS) -> Provenance:
    """Return what decides the figures: the version, the encoder, and the texts and labels of each task."""
    return provenance(VERSION, minilm=load_encoder().fingerprint, **{task: task_hash(task) for task in tasks})


def _run(folder: Path, attempts: Sequence[Attempt], made: Provenance, jobs: int) -> list[Record]:
    named: Mapping[str, Attempt] = {attempt.name: attempt for attempt in attempts}
    done = run_trials(folder, named, run_attempt, made, jobs)
    return [vars(named[name]) | record for name, record in done.items()]
