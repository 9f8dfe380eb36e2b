"""How is control measured, whole? Storyland's trials and those with the real model, each kept when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auxlib.checkpoint import WEIGHTS
from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus, text_hash
from auxlib.frozen import load_expert
from auxlib.recipes import SHIPPED, SHIPPED_LENGTH, SHIPPED_MULTI_KEYWORD
from experiments.claim.campaign import made_by as storyland_made_by
from experiments.control import real, storyland
from experiments.runner import Provenance, Record, Trial, digest, provenance, run_trials

VERSION = 1


@dataclass(frozen=True)
class ControlSize:
    """How large the experiment is, in Storyland and with SmolLM2."""

    storyland: storyland.StorySize = field(default_factory=storyland.StorySize)
    real: real.RealSize = field(default_factory=real.RealSize)


WHOLE = ControlSize()
TRIALS = {"storyland": storyland.TRIALS, "real": real.TRIALS}


def run_trial(trial: Trial) -> Record:
    """One part of the experiment, by its name; plain numbers, for JSON."""
    where, name = trial.system.split("-")
    return TRIALS[where][name](trial.size)


def run_experiment(folder: Path, size: ControlSize = WHOLE, jobs: int = 2) -> tuple[dict[str, Record], float]:
    """All parts, each kept in ``folder`` and not done twice.

    Returns what each part found, by its name, and the seconds that all took together, divided by ``jobs``.
    """
    trials = [Trial(f"{where}-{name}", 0, getattr(size, where)) for where, works in TRIALS.items() for name in works]
    records = run_trials(folder, {trial.name: trial for trial in trials}, run_trial, made_by(), jobs)
    named = {trial.system: records[trial.name] for trial in trials}
    return named, sum(record["seconds"] for record in named.values()) / jobs


def made_by() -> Provenance:
    """Return what decides the figures: the version, what the claim stands on, the auxiliaries, model and sentences."""
    auxiliaries = {name: weights_hash(name) for name in (SHIPPED, SHIPPED_MULTI_KEYWORD, SHIPPED_LENGTH)}
    corpus = digest(*(text_hash(part["text"]) for part in load_corpus().values()))
    return provenance(
        VERSION, **storyland_made_by()["data"], smollm2=load_expert().fingerprint, corpus=corpus, **auxiliaries
    )


def weights_hash(name: str) -> str:
    """Return the digest of the weights of an auxiliary that the course ships."""
    return digest((data_dir() / "checkpoints" / name / WEIGHTS).read_bytes())


def merged(records: Mapping[str, Record]) -> dict[str, Any]:
    """What all parts found, in one table."""
    own = {"seconds", "made_by", "error"}
    return {key: value for record in records.values() for key, value in record.items() if key not in own}
