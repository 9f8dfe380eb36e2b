"""The claim's experiment: a search for the settings, then every system with every seed.

The search runs on development data of a seed that is not compared; the comparison is judged by `rule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from auxlib.data.assets import data_dir
from auxlib.data.storage import write_json_atomic
from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K, load_story_lm
from experiments.claim.pictures import illustrate
from experiments.claim.plan import SYSTEMS
from experiments.claim.report import assemble, behaviour_probe, curves, differences
from experiments.claim.rule import best
from experiments.claim.setup import SEARCH_SEED, WHOLE, TrialSize, load_world
from experiments.claim.table import as_lines
from experiments.claim.trial import run_trial
from experiments.records import CLAIM_CURVES, RECORDS, Record, Setting
from experiments.runner import Experiment, Provenance, SystemTrial, TrialRunner, digest, provenance

VERSION = 1
SEEDS = (0, 1, 2, 3, 4)
OTHER_SIZES = (1250, 20_000)  # training sentences of the data-efficiency curve, beside those of the comparison
SLOW = (
    *("scratch", "fine_tuned", "scratch_aided", "lora_16", "lora_4", "scratch_both"),
    *("classifier", "prompt_tuned", "pair", "own_trunk", "auxiliary"),
)


def made_by() -> Provenance:
    """Return what decides the figures: the experiment's version, the world's grammar and sentences, the experts."""
    sample = load_world().sample(200, torch.Generator().manual_seed(0))
    return provenance(
        VERSION,
        grammar=digest((data_dir() / "storyland" / "grammar.toml").read_bytes()),
        sentences=digest(sample.numpy().tobytes()),
        **{name: load_story_lm(name).fingerprint for name in (SHIPPED_LM_600K, SHIPPED_LM)},
    )


def searches(size: TrialSize = WHOLE) -> list[SystemTrial]:
    """Return the trials of the search: every setting on development data, with half the epochs."""
    small = TrialSize(size.train, size.epochs / 2, size.dev, test=0)
    searched = [(name, spec) for name, spec in SYSTEMS.items() if len(spec.settings) > 1]
    trials = [SystemTrial(name, SEARCH_SEED, small, setting) for name, spec in searched for setting in spec.settings]
    return _longest_first(trials)


def chosen(records: Iterable[Record]) -> dict[str, Setting]:
    """Return the setting of each searched system with the most success at its best checkpoint."""
    top: dict[str, tuple[float, Setting]] = {}
    for record in records:
        if "error" not in record:
            success = best(record["curve"])["dev"]["success"]
            if success > top.get(record["system"], (-1.0, {}))[0]:
                top[record["system"]] = success, record["setting"]
    return {name: setting for name, (_, setting) in top.items()}


def comparisons(size: TrialSize, settings: Mapping[str, Setting], seeds: Sequence[int] = SEEDS) -> list[SystemTrial]:
    """Return all systems with their seeds; at full size also two of them on more and on fewer sentences."""
    trials = []
    for name, spec in SYSTEMS.items():
        setting = settings.get(spec.like or name, {})
        trials += [SystemTrial(name, seed, size, setting) for seed in seeds if seed < spec.seeds]
    for sentences in OTHER_SIZES if size == WHOLE else ():
        # the product of sentences and epochs stays the same
        other = TrialSize(sentences, size.epochs * size.train / sentences)
        for name in ("scratch", "auxiliary"):
            trials += [SystemTrial(name, seed, other, settings.get(name, {})) for seed in seeds if seed < 1]
    return _longest_first(trials)


def _longest_first(trials: Iterable[SystemTrial]) -> list[SystemTrial]:
    """Sort trials so that no process starts a long one last."""
    return sorted(trials, key=lambda trial: SLOW.index(trial.system) if trial.system in SLOW else len(SLOW))


def run_experiment(run: TrialRunner, size: TrialSize = WHOLE, seeds: Sequence[int] = SEEDS) -> list[Record]:
    """Search, then compare; return the records of both."""
    searched = run(searches(size))
    return [*searched, *run(comparisons(size, chosen(searched), seeds))]


def results_of(records: Sequence[Record], sentences: int = WHOLE.train) -> Record:
    """Return the results of a search and a comparison."""
    searched = [record for record in records if record["seed"] == SEARCH_SEED]
    return assemble(_compared(records), sentences) | {"settings": chosen(searched)}


def _compared(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record["seed"] != SEARCH_SEED]


def finish(root: Path, records: Sequence[Record]) -> None:
    """Write the curves of all trials and the figure beside the record."""
    write_json_atomic(root / CLAIM_CURVES, curves(_compared(records)))
    illustrate(root)


def repeat_seed(run: TrialRunner, seed: int, recorded: Record | None) -> tuple[Record, list[str]]:
    """Run one seed again with the recorded settings, and return its results and its differences from the record.

    Nothing is written. Without a record there is a search first, and there are no differences.
    """
    settings = chosen(run(searches())) if recorded is None else recorded["settings"]
    results = assemble(run(comparisons(WHOLE, settings, (seed,))), WHOLE.train)
    return results, [] if recorded is None else differences(results, recorded, seed)


EXPERIMENT = Experiment(
    RECORDS["claim"],
    run=run_experiment,
    assemble=results_of,
    work=run_trial,
    made_by=made_by,
    behaviour_probe=behaviour_probe,
    tolerance=5e-4,  # the probe is in float32 throughout, and processors agree to its fourth digit
    summary=lambda results: "\n".join(as_lines(results)),
    finish=finish,
    repeat_seed=repeat_seed,
)
