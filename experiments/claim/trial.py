"""One trial: a system with a seed and a setting, trained, measured at checkpoints, and its cost."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from auxlib.worlds.grammar import FULL_STOP
from experiments.baselines.decoding import DecodingContext, System, write
from experiments.claim.plan import SYSTEMS, SystemSpec
from experiments.claim.setup import TrialSetup, measure_system, train_steps, training_batches
from experiments.flops import ComputeLedger, count_flops, counted_by_torch
from experiments.records import Record
from experiments.runner import SystemTrial

EARLY = 200  # first steps whose losses are recorded


def run_trial(trial: SystemTrial) -> Record:
    """Train and measure one system and return plain numbers, for JSON."""
    spec = SYSTEMS[trial.system]
    setup = TrialSetup(trial.size, trial.seed, spec.expert)
    setting = dict(trial.setting)
    rate, batch = setting.pop("rate", 0.0), setting.pop("batch", 0)
    torch.manual_seed(trial.seed)
    system = spec.build(setup, **setting)
    figures = _train(system, spec, setup, rate, int(batch)) if spec.learns else _untrained(system, setup)
    last = figures.pop("last")
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": dict(trial.setting)}
    return {**named, **figures, "dial": _over_weights(last, spec, setup), **_decoding_cost(last, setup)}


def _untrained(system: System, setup: TrialSetup) -> dict[str, Any]:
    """Return the one checkpoint of a system that is not trained, at step 0 and without cost."""
    point = {"step": 0, "epoch": 0.0, "flops": 0.0, "train_seconds": 0.0} | _measure(system, setup)
    return {"curve": [point], "last": system}


def _train(system: System, spec: SystemSpec, setup: TrialSetup, rate: float, batch: int) -> dict[str, Any]:
    """Train in place; return checkpoints, first losses, costs, and the averaged system under "last"."""
    ledger, counted = _step_cost(system, spec, setup, batch)
    sentences, epochs = setup.size.train, setup.size.epochs * spec.epochs
    only_last = spec.last_only or not setup.size.test
    checkpoints = _checkpoint_steps(ceil(sentences / batch), epochs, spec, only_last)
    curve: list[Record] = []
    early: list[float] = []
    start, paused, last = perf_counter(), 0.0, system
    for step, last, loss in train_steps(system, _batches_of(spec, setup, epochs, batch), rate):
        early += [round(loss, 4)] if step <= EARLY else []
        if step in checkpoints:
            now = perf_counter()
            point = {"step": step, "epoch": checkpoints[step], "flops": ledger.flops(step, sentences)}
            curve.append(point | {"train_seconds": round(now - start - paused, 1)} | _measure(last, setup))
            paused += perf_counter() - now
    costs = vars(ledger) | {"memory_bytes": ledger.memory_bytes, "task_bytes": ledger.task_bytes}
    return {"curve": curve, "early_losses": early, "ledger": costs | {"step_flops_counted": counted}, "last": last}


def _batches_of(
    spec: SystemSpec, setup: TrialSetup, epochs: float, batch: int
) -> Iterator[tuple[DecodingContext, Tensor]]:
    return training_batches(setup, epochs, batch, spec.cached, spec.shuffled, spec.condition_dropout)


def _measure(system: System, setup: TrialSetup) -> dict[str, Any]:
    """Return development figures, by which checkpoints are chosen, and test figures if there are test sentences."""
    system.eval()
    figures = {"dev": measure_system(system, setup.dev, setup, briefly=True)}
    return figures | ({"test": measure_system(system, setup.test, setup)} if setup.size.test else {})


def _checkpoint_steps(steps_per_epoch: int, epochs: float, spec: SystemSpec, only_last: bool) -> dict[int, float]:
    """Return the steps of the checkpoints with their epoch: from the last one backwards, a constant factor apart.

    A search has its last step only.
    """
    factor = 2**0.5 if spec.fine else 2.0
    steps: dict[int, float] = {}
    while not steps or (epochs > 0.49 and not only_last):
        steps[max(1, round(epochs * steps_per_epoch))] = round(epochs, 3)
        epochs /= factor
    return steps


def _step_cost(system: System, spec: SystemSpec, setup: TrialSetup, batch: int) -> tuple[ComputeLedger, int]:
    """Return the cost of one step, by the rule of `ComputeLedger` and by torch's counter."""
    context, token_ids = next(_batches_of(spec, setup, 1, batch))

    def step() -> Tensor:
        return system.loss(context, token_ids)

    cache = (setup.read_flops, setup.hidden.nbytes) if spec.cached else ()
    ledger = ComputeLedger.of(system, step, batch, *cache)
    counted = counted_by_torch(lambda: step().backward())
    system.zero_grad()
    return ledger, counted


def _over_weights(system: System, spec: SystemSpec, setup: TrialSetup) -> list[dict[str, float]]:
    """Measure the last checkpoint at other weights λ, on test sentences."""
    points, trained = [], system.weight
    for system.weight in spec.weights if setup.size.test else ():
        points.append({"weight": system.weight} | measure_system(system, setup.test, setup))
    system.weight = trained
    return points


def _decoding_cost(system: System, setup: TrialSetup, n: int = 64) -> dict[str, float]:
    """Return the cost of one decoded token: operations by the rule, and milliseconds in a batch of n sentences."""
    keyword_ids, stop = setup.dev[1][:n], setup.world.ids[FULL_STOP]
    start = perf_counter()
    with count_flops(system) as tally:
        written, _ = write(system, keyword_ids, stop, torch.Generator().manual_seed(0))
    spent, tokens = perf_counter() - start, int((written != 0).sum())
    return {
        "flops_per_written_token": round(tally.flops / tokens),
        "ms_per_written_token": round(1e3 * spent / tokens, 3),
    }
