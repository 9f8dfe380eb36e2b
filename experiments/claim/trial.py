"""What is one trial? One system, one seed, one setting: trained, measured at checkpoints, and weighed."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from auxlib.flops import ComputeLedger, count_flops, counted_by_torch
from auxlib.worlds.grammar import FULL_STOP
from experiments.baselines.reading import DecodingContext, System, write
from experiments.claim.plan import SYSTEMS, Spec
from experiments.claim.setup import TrialSetup, measure_system, train_steps, training_batches
from experiments.runner import Trial

EARLY = 200  # steps whose losses are kept


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train and measure one system; what comes back is plain numbers, for JSON."""
    spec = SYSTEMS[trial.system]
    bench = TrialSetup(trial.size, trial.seed, spec.expert)
    setting = dict(trial.setting)
    rate, batch = setting.pop("rate", 0.0), setting.pop("batch", 0)
    torch.manual_seed(trial.seed)
    system = spec.build(bench, **setting)
    found = _train(system, spec, bench, rate, int(batch)) if spec.learns else _at_once(system, bench)
    last = found.pop("last")
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": dict(trial.setting)}
    return {**named, **found, "dial": _dial(last, spec, bench), **_writing(last, bench)}


def _at_once(system: System, bench: TrialSetup) -> dict[str, Any]:
    """A system that learns nothing has one checkpoint, at step 0, for nothing."""
    point = {"step": 0, "epoch": 0.0, "flops": 0.0, "train_seconds": 0.0} | _both(system, bench)
    return {"curve": [point], "last": system}


def _train(system: System, spec: Spec, bench: TrialSetup, rate: float, batch: int) -> dict[str, Any]:
    ledger, counted = _weigh(system, spec, bench, batch)
    sentences, epochs = bench.size.train, bench.size.epochs * spec.epochs
    marks = _marks(ceil(sentences / batch), epochs, spec, only_last=spec.rarely or not bench.size.test)
    curve, early, start, aside, last = [], [], perf_counter(), 0.0, system
    for step, last, loss in train_steps(system, _lessons(spec, bench, epochs, batch), rate):
        early += [round(loss, 4)] if step <= EARLY else []
        if step in marks:
            now = perf_counter()
            point = {"step": step, "epoch": marks[step], "flops": ledger.flops(step, sentences)}
            curve.append(point | {"train_seconds": round(now - start - aside, 1)} | _both(last, bench))
            aside += perf_counter() - now
    costs = vars(ledger) | {"memory_bytes": ledger.memory_bytes, "task_bytes": ledger.task_bytes}
    return {"curve": curve, "early_losses": early, "ledger": costs | {"step_flops_counted": counted}, "last": last}


def _lessons(spec: Spec, bench: TrialSetup, epochs: float, batch: int) -> Iterator[tuple[DecodingContext, Tensor]]:
    return training_batches(bench, epochs, batch, spec.cached, spec.shuffled, spec.drop)


def _both(system: System, bench: TrialSetup) -> dict[str, Any]:
    """Development figures, which choose, and test figures, which do not."""
    system.eval()
    figures = {"dev": measure_system(system, bench.dev, bench, briefly=True)}
    return figures | ({"test": measure_system(system, bench.test, bench)} if bench.size.test else {})


def _marks(steps_per_epoch: int, epochs: float, spec: Spec, only_last: bool) -> dict[int, float]:
    """Steps at which to measure, with their epoch: from the last one backwards, a constant factor apart.

    A search is measured at its end alone.
    """
    factor, marks = 2**0.5 if spec.fine else 2.0, {}
    while not marks or (epochs > 0.49 and not only_last):
        marks[max(1, round(epochs * steps_per_epoch))] = round(epochs, 3)
        epochs /= factor
    return marks


def _weigh(system: System, spec: Spec, bench: TrialSetup, batch: int) -> tuple[ComputeLedger, int]:
    """The cost of one step, by rule and by torch's counter."""
    reading, token_ids = next(_lessons(spec, bench, 1, batch))

    def step() -> Tensor:
        return system.loss(reading, token_ids)

    kept = (bench.read_flops, bench.hidden.nbytes) if spec.cached else ()
    ledger = ComputeLedger.of(system, step, batch, *kept)
    counted = counted_by_torch(lambda: step().backward())
    system.zero_grad()
    return ledger, counted


def _dial(system: System, spec: Spec, bench: TrialSetup) -> list[dict[str, float]]:
    """The last checkpoint at other weights λ, on test sentences."""
    points, before = [], system.weight
    for system.weight in spec.dial if bench.size.test else ():
        points.append({"weight": system.weight} | measure_system(system, bench.test, bench))
    system.weight = before
    return points


def _writing(system: System, bench: TrialSetup, n: int = 64) -> dict[str, float]:
    """What a written token costs: operations by the rule, and milliseconds with n sentences side by side."""
    keyword_ids, stop = bench.dev[1][:n], bench.world.ids[FULL_STOP]
    start = perf_counter()
    with count_flops(system) as tally:
        written, _ = write(system, keyword_ids, stop, torch.Generator().manual_seed(0))
    spent, tokens = perf_counter() - start, int((written != 0).sum())
    return {
        "flops_per_written_token": round(tally.flops / tokens),
        "ms_per_written_token": round(1e3 * spent / tokens, 3),
    }
