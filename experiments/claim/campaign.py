"""What is tried, and in which order? The search first, then all systems with all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from auxlib.data.assets import data_dir
from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K, load_story_lm
from experiments.claim.plan import SYSTEMS, Setting
from experiments.claim.rule import best
from experiments.claim.setup import TrialSize, load_world
from experiments.claim.trial import run_trial
from experiments.runner import Provenance, Record, Trial, digest, provenance, run_trials

VERSION = 1
WHOLE = TrialSize()
SEEDS, SEARCH_SEED = (0, 1, 2, 3, 4), 100
OTHER_SIZES = (1250, 20_000)  # sentences of the data-efficiency curve, beside the main one
SLOW = (
    "scratch", "fine_tuned", "scratch_aided", "lora_16", "lora_4", "scratch_both", "classifier", "prompt_tuned", "pair",
    "own_trunk", "auxiliary",
)  # fmt: skip
Trials = dict[str, Trial]


def made_by() -> Provenance:
    """Return what decides the figures: the experiment's version, the world's grammar and sentences, the experts."""
    sample = load_world().sample(200, torch.Generator().manual_seed(0))
    return provenance(
        VERSION,
        grammar=digest((data_dir() / "storyland" / "grammar.toml").read_bytes()),
        sentences=digest(sample.numpy().tobytes()),
        **{name: load_story_lm(name).fingerprint for name in (SHIPPED_LM_600K, SHIPPED_LM)},
    )


def searches(size: TrialSize) -> Trials:
    """What has to be tried before anything can be compared: every setting, on development data, half as long."""
    small = TrialSize(size.train, size.epochs / 2, size.dev, test=0)
    asked = [(name, setting) for name, spec in SYSTEMS.items() if len(spec.settings) > 1 for setting in spec.settings]
    trials = [Trial(name, SEARCH_SEED, small, setting) for name, setting in asked]
    return {trial.name: trial for trial in _longest_first(trials)}


def chosen(found: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The best setting of each system that was searched: the most success at its best checkpoint."""
    top: dict[str, tuple[float, dict[str, float]]] = {}
    for record in found:
        if "error" not in record:
            reached = best(record["curve"])["dev"]["success"]
            if reached > top.get(record["system"], (-1.0, {}))[0]:
                top[record["system"]] = reached, record["setting"]
    return {name: setting for name, (_, setting) in top.items()}


def comparisons(size: TrialSize, settings: Mapping[str, dict[str, float]], seeds: Sequence[int] = SEEDS) -> Trials:
    """All systems with the seeds that are theirs, and two of them on more and on fewer sentences."""
    trials = []
    for name, spec in SYSTEMS.items():
        setting = settings.get(spec.like or name, {})
        trials += [Trial(name, seed, size, setting) for seed in seeds if seed < spec.seeds]
    for sentences in OTHER_SIZES if size == WHOLE else ():
        # as many sentences are read in all
        other = TrialSize(sentences, size.epochs * size.train / sentences)
        for name in ("scratch", "auxiliary"):
            trials += [Trial(name, seed, other, settings.get(name, {})) for seed in seeds if seed < 1]
    return {trial.name: trial for trial in _longest_first(trials)}


def _longest_first(trials: Iterable[Trial]) -> list[Trial]:
    """So that no core waits at the end for one that began last."""
    return sorted(trials, key=lambda trial: SLOW.index(trial.system) if trial.system in SLOW else len(SLOW))


def run_campaign(
    folder: Path, size: TrialSize, seeds: Sequence[int], jobs: int, settings: Mapping[str, Setting] | None = None
) -> tuple[list[Record], dict[str, Setting], float]:
    """Search unless the settings are known, then compare; every trial is kept in ``folder`` and not done twice.

    Returns the comparisons, the settings, and the seconds that all trials took together, divided by ``jobs``.
    """
    found, made = [], made_by()
    if settings is None:
        found = _run(folder, searches(size), made, jobs)
        settings = chosen(found)
    records = _run(folder, comparisons(size, settings, seeds), made, jobs)
    return records, dict(settings), sum(record["seconds"] for record in [*found, *records]) / jobs


def _run(folder: Path, trials: Trials, made: Provenance, jobs: int) -> list[Record]:
    """The records of trials; one that failed says as well which it was."""
    named = {name: {"system": t.system, "seed": t.seed, "sentences": t.size.train} for name, t in trials.items()}
    return [named[name] | record for name, record in run_trials(folder, trials, run_trial, made, jobs).items()]
