"""Who is tried with a real model, and by which rules? The same sentences for everybody who learns, the same held-out
words for everybody who writes; whoever learns has three settings, of which development sentences choose one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

import auxlib
from auxlib.corpora import load_corpus, text_hash
from auxlib.experts import load_expert
from auxlib.features import EXAMPLES_PREAMBLE
from auxlib.ledger import counted_by_torch
from auxlib.rivals.bench import Bench, Size
from auxlib.rivals.ours import Ours
from auxlib.rivals.prompt import Prompted, asked, instructed, shown
from auxlib.rivals.tune import Told, all_weights, lora
from auxlib.trials import Record, made_by, run_trials

WHOLE, SEEDS, SEARCH_SEED = Size(), (0, 1), 100
SEARCHED = Size(train=250, questions=0)
SOURCES = (
    "auxiliary.py", "ledger.py", "parts.py", "training.py", "rivals/bench.py", "rivals/experiment.py",
    "rivals/judge.py", "rivals/ours.py", "rivals/prompt.py", "rivals/tune.py",
)  # fmt: skip
Setting = dict[str, float]


class Writer(Protocol):
    """Whoever writes around a keyword: learns from the bench's sentences, writes for words, scores sentences."""

    def learn(self, setting: Mapping[str, float]) -> dict[str, Any]: ...
    def write(self, words: Sequence[str]) -> list[str]: ...
    def nll(self, rows: Any) -> float: ...
    def plain_nll(self) -> float: ...


@dataclass(frozen=True)
class Rival:
    """One system of the comparison: its name in tables, how it is built, and what a search tries if it learns."""

    label: str
    build: Callable[[Bench], Writer]
    settings: tuple[Setting, ...] = ()


def learning(*settings: tuple[float, int]) -> tuple[Setting, ...]:
    """Pairs of learning rate and epochs."""
    return tuple({"rate": rate, "epochs": epochs} for rate, epochs in settings)


def unasked(word: str) -> str:
    """What the frozen model reads when nobody asks it for anything: the auxiliary's own preamble."""
    return EXAMPLES_PREAMBLE


RIVALS: dict[str, Rival] = {
    "frozen": Rival("frozen model, asked for nothing", lambda b: Told(b, Prompted(b.expert, unasked))),
    "asked": Rival("prompt: the bare request", lambda b: Told(b, Prompted(b.expert, asked))),
    "shown": Rival("prompt: six examples first", lambda b: Told(b, Prompted(b.expert, shown))),
    "instructed": Rival("prompt: an instruction", lambda b: Told(b, Prompted(b.expert, instructed(b.expert)))),
    "tuned": Rival(
        "full fine-tuning", lambda b: Told(b, all_weights(b.expert)), learning((1e-4, 2), (3e-5, 2), (3e-4, 2))
    ),
    "lora": Rival("LoRA, rank 16", lambda b: Told(b, lora(b.expert)), learning((1e-3, 2), (3e-4, 2), (3e-3, 2))),
    "auxiliary": Rival("auxiliary (ours)", Ours, learning((1e-3, 10), (1e-3, 25), (2e-3, 10))),
    "shipped": Rival("auxiliary, of all sentences", Ours),
}


LONGEST_FIRST = sorted(RIVALS, key=lambda name: not RIVALS[name].settings)  # who learns takes longest


@dataclass(frozen=True)
class Trial:
    """What is to be tried, small enough to be sent to another process."""

    system: str
    seed: int
    size: Size
    setting: Setting = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A file's name: system, seed, size, and the setting where there is one."""
        numbers = [self.seed, *vars(self.size).values(), *self.setting.values()]
        return "-".join([self.system, *(f"{number:g}" for number in numbers)])


def run_trial(trial: Trial) -> Record:
    """Train, if there is anything to train, and measure; plain numbers, for JSON."""
    bench = Bench(trial.size, trial.seed)
    torch.manual_seed(trial.seed)
    writer = RIVALS[trial.system].build(bench)
    spent = writer.learn(trial.setting)
    found = {"dev_nll": round(writer.nll(bench.corpus["dev"]), 4)}
    if trial.size.questions:
        found |= measure(writer, bench)
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": trial.setting}
    return named | spent | found


def measure(writer: Writer, bench: Bench) -> dict[str, Any]:
    """Test figures: what it writes for words that nobody was trained on, and how it scores sentences about them."""
    written = writer.write(bench.words)
    few: list[str] = []
    flops = counted_by_torch(lambda: few.extend(writer.write(bench.words[:16])))
    return {
        **bench.say(written, bench.words),
        "slor_human": bench.say(bench.test["text"], [row["keywords"][0] for row in bench.test])["slor"],
        "nll": round(writer.nll(bench.test), 4),
        "plain_nll": round(writer.plain_nll(), 4),
        "flops_per_written_token": round(flops / sum(len(bench.ids(text)) for text in few)),
        "examples": list(zip(bench.words, written, strict=True))[:8],
    }


def maker() -> str:
    """The hash of what decides the figures."""
    package = Path(auxlib.__file__).parent
    texts = text_hash(load_corpus()["train"]["text"])
    return made_by([package / name for name in SOURCES], load_expert().fingerprint, texts)


def run_experiment(folder: Path, jobs: int = 2) -> tuple[list[Record], float]:
    """Search, then compare; every trial is kept in ``folder`` and not done twice.

    Returns the comparisons, and the seconds that all trials took together, divided by ``jobs``.
    """
    made = maker()
    tried = [Trial(name, SEARCH_SEED, SEARCHED, setting) for name, r in RIVALS.items() for setting in r.settings]
    found = _run(folder, tried, made, jobs)
    settings = chosen(found)
    compared = [Trial(name, seed, WHOLE, settings.get(name, {})) for name in LONGEST_FIRST for seed in SEEDS]
    records = _run(folder, compared, made, jobs)
    return records, sum(record["seconds"] for record in [*found, *records]) / jobs


def chosen(found: Iterable[Record]) -> dict[str, Setting]:
    """The setting of each system with the fewest nats on development sentences."""
    best: dict[str, Record] = {}
    for record in found:
        name = record["system"]
        if "error" not in record and (name not in best or record["dev_nll"] < best[name]["dev_nll"]):
            best[name] = record
    return {name: record["setting"] for name, record in best.items()}


def _run(folder: Path, trials: Sequence[Trial], made: str, jobs: int) -> list[Record]:
    named = {trial.name: {"system": trial.system, "seed": trial.seed} for trial in trials}
    done = run_trials(folder, {trial.name: trial for trial in trials}, run_trial, made, jobs)
    return [named[name] | record for name, record in done.items()]
