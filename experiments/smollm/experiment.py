"""Who is tried with a real model, and by which rules? The same sentences for everybody who learns, the same held-out
words for everybody who writes; whoever learns has three settings, of which development sentences choose one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from auxlib.checkpoint import WEIGHTS
from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus, text_hash
from auxlib.flops import counted_by_torch
from auxlib.frozen import load_expert
from auxlib.metrics import nanmean
from auxlib.recipes import SHIPPED
from experiments.runner import Provenance, Record, Trial, digest, provenance, run_trials
from experiments.smollm.auxiliary_system import AuxiliarySystem
from experiments.smollm.fine_tuning import PromptedSystem, all_weights, lora
from experiments.smollm.prompt import Prompted, asked, instructed, shown, unasked
from experiments.smollm.setup import WritingSetup, WritingSize

WHOLE, SEEDS, SEARCH_SEED = WritingSize(), (0, 1), 100
SEARCHED = WritingSize(train=250, questions=0)
VERSION = 1
Setting = dict[str, float]


class Writer(Protocol):
    """Whoever writes around a keyword: learns from the bench's sentences, writes for words, scores sentences."""

    def learn(self, setting: Mapping[str, float]) -> dict[str, Any]: ...
    def write(self, words: Sequence[str], **generation: Any) -> list[str]: ...
    def nll(self, rows: Any) -> float | None: ...
    def forgetting(self) -> float: ...


@dataclass(frozen=True)
class Rival:
    """One system of the comparison: its name in tables, how it is built, and what a search tries if it learns."""

    label: str
    build: Callable[[WritingSetup], Writer]
    settings: tuple[Setting, ...] = ()


def grid(*settings: tuple[float, int]) -> tuple[Setting, ...]:
    """Pairs of learning rate and epochs."""
    return tuple({"rate": rate, "epochs": epochs} for rate, epochs in settings)


RIVALS: dict[str, Rival] = {
    "frozen": Rival("frozen model, asked for nothing", lambda b: PromptedSystem(b, Prompted(b.expert, unasked))),
    "asked": Rival("prompt: the bare request", lambda b: PromptedSystem(b, Prompted(b.expert, asked))),
    "shown": Rival("prompt: six examples first", lambda b: PromptedSystem(b, Prompted(b.expert, shown))),
    "instructed": Rival(
        "prompt: an instruction", lambda b: PromptedSystem(b, Prompted(b.expert, instructed(b.expert), chat=True))
    ),
    "tuned": Rival(
        "full fine-tuning", lambda b: PromptedSystem(b, all_weights(b.expert)), grid((1e-4, 2), (3e-5, 2), (3e-4, 2))
    ),
    "lora": Rival("LoRA, rank 16", lambda b: PromptedSystem(b, lora(b.expert)), grid((1e-3, 2), (3e-4, 2), (3e-3, 2))),
    "auxiliary": Rival("auxiliary (ours)", AuxiliarySystem, grid((2e-3, 10), (1e-3, 10), (4e-3, 10))),
    "shipped": Rival("auxiliary, of all sentences", AuxiliarySystem),
}


LONGEST_FIRST = sorted(RIVALS, key=lambda name: not RIVALS[name].settings)  # who learns takes longest


def run_trial(trial: Trial) -> Record:
    """Train, if there is anything to train, and measure; plain numbers, for JSON."""
    bench = WritingSetup(trial.size, trial.seed)
    torch.manual_seed(trial.seed)
    writer = RIVALS[trial.system].build(bench)
    spent = writer.learn(trial.setting)
    found = {"dev_nll": writer.nll(bench.corpus["dev"])}
    if trial.size.questions:
        found |= measure_writer(writer, bench)
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": trial.setting}
    return named | spent | found


def measure_writer(writer: Writer, bench: WritingSetup) -> dict[str, Any]:
    """Test figures: what it writes for words that nobody was trained on, and how it scores sentences about them."""
    written = writer.write(bench.words, min_new_tokens=1)  # a text cannot be over before it has begun
    return {
        **bench.score_texts(written, bench.words),
        "slor_human": nanmean([bench.judge.slor(bench.ids(text)[:-1]) for text in bench.test["text"]]),
        "nll": writer.nll(bench.test),
        "forgotten": round(writer.forgetting(), 4),
        "flops_per_written_token": _a_written_token(writer, bench.words[:4]),
        "written": list(zip(bench.words, written, strict=True)),
    }


def _a_written_token(writer: Writer, words: Sequence[str]) -> int:
    """Operations, without those for what is read before: the difference between long lines and short ones."""
    short, long = (
        counted_by_torch(lambda n=n: writer.write(words, min_new_tokens=n, max_new_tokens=n)) for n in (8, 24)
    )
    return round((long - short) / (16 * len(words)))


def made_by() -> Provenance:
    """Return what decides the figures: the version, the frozen model, the shipped auxiliary and the sentences."""
    weights = (data_dir() / "checkpoints" / SHIPPED / WEIGHTS).read_bytes()
    corpus = digest(*(text_hash(part["text"]) for part in load_corpus().values()))
    return provenance(VERSION, smollm2=load_expert().fingerprint, corpus=corpus, **{SHIPPED: digest(weights)})


def run_experiment(folder: Path, jobs: int = 2) -> tuple[list[Record], float]:
    """Search, then compare; every trial is kept in ``folder`` and not done twice.

    Returns the comparisons, and the seconds that all trials took together, divided by ``jobs``.
    """
    made = made_by()
    tried = [Trial(name, SEARCH_SEED, SEARCHED, setting) for name, r in RIVALS.items() for setting in r.settings]
    found = _run(folder, tried, made, jobs)
    settings = chosen(found)
    lost = {name for name, rival in RIVALS.items() if rival.settings and name not in settings}
    compared = [Trial(n, seed, WHOLE, settings.get(n, {})) for n in LONGEST_FIRST if n not in lost for seed in SEEDS]
    records = _run(folder, compared, made, jobs)
    failed = [record for record in found if "error" in record and record["system"] in lost]
    return records + failed, sum(record["seconds"] for record in [*found, *records]) / jobs


def chosen(found: Iterable[Record]) -> dict[str, Setting]:
    """The setting of each system with the fewest nats on development sentences."""
    best: dict[str, Record] = {}
    for record in found:
        name = record["system"]
        if "error" not in record and (name not in best or record["dev_nll"] < best[name]["dev_nll"]):
            best[name] = record
    return {name: record["setting"] for name, record in best.items()}


def _run(folder: Path, trials: Sequence[Trial], made: Provenance, jobs: int) -> list[Record]:
    named = {trial.name: {"system": trial.system, "seed": trial.seed} for trial in trials}
    done = run_trials(folder, {trial.name: trial for trial in trials}, run_trial, made, jobs)
    return [named[name] | record for name, record in done.items()]
