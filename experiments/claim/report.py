"""The claim's results: verdicts, the figures of every system, failures; and the curves for the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf, sqrt
from statistics import median, stdev
from typing import Any

import torch
from torch import Tensor

from auxlib.data.assets import data_dir
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.story_lm import SHIPPED_LM_600K, load_story_lm
from experiments.baselines.decoding import DecodingContext, write
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.benchmarking import hardware_info, package_versions
from experiments.claim.judge import holds_keyword
from experiments.claim.plan import SYSTEMS
from experiments.claim.rule import FACTORS, Threshold, Z, best, first_passing_checkpoint, supported, verdict
from experiments.claim.setup import SEARCH_SEED, TrialSetup, TrialSize, load_world, train_steps, training_batches
from experiments.flops import ComputeLedger, break_even
from experiments.metrics import min_kl_for_success, wilson
from experiments.records import Record

POOLED = ("accuracy", "grammatical", "success", "slor", "drift", "distinct_2", "nll")
EARLY_OF = ("auxiliary", "random_init")  # systems whose first losses a picture shows
BASE_RATE_SAMPLES = 20_000  # sentences of the expert alone
T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t by the number of seeds
Frontier = tuple[Tensor, Tensor]


def assemble(records: Sequence[Record], sentences: int) -> dict[str, Any]:
    """Return the results: the verdict by seed, and for every system its pooled test figures or its error."""
    main = [record for record in records if record["sentences"] == sentences]
    done = {(record["system"], record["seed"]): record for record in main if "error" not in record}
    seeds = sorted({record["seed"] for record in main})
    verdicts = {str(seed): _of_seed(done.get(("scratch", seed)), done.get(("auxiliary", seed))) for seed in seeds}
    bars = {seed: _bar(done["scratch", seed]["curve"]) for seed in seeds if ("scratch", seed) in done}
    frontier = control_frontier()
    planned = [name for name, spec in SYSTEMS.items() if min(seeds, default=0) < spec.seeds]
    systems = {name: _of_system(name, [r for r in main if r["system"] == name], bars, frontier) for name in planned}
    ratios = sorted((v for v in verdicts.values() if "factors" in v), key=lambda v: v["flops_ratio"])
    return {
        "supported": supported(list(verdicts.values())),
        "seeds_passing": sum(verdict["passes"] for verdict in verdicts.values()),
        "flops_ratio": _middle(v["flops_ratio"] for v in ratios),
        "flops_ratio_to_best": _middle(v["flops_ratio_to_best"] for v in ratios),
        # of the seed in the middle, for only one seed's factors make up its ratio
        "factors": ratios[(len(ratios) - 1) // 2]["factors"] if ratios else dict.fromkeys(FACTORS),
        "accuracy": {name: system.get("accuracy_interval") for name, system in systems.items()},
        "slor": {name: system.get("slor_interval") for name, system in systems.items()},
        "control_efficiency": {name: system.get("efficiency") for name, system in systems.items()},
        "break_even": _break_even(systems),
        "failed": {f"{r['system']}, seed {r['seed']}": r["error"] for r in records if "error" in r},
        "sentences": sentences,
        "verdicts": verdicts,
        "systems": systems,
        "frontier": [
            [a / 100, round(min_kl_for_success(a / 100, *frontier), 4)] for a in (5, *range(10, 100, 10), 95, 99)
        ],
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _of_seed(scratch: Record | None, ours: Record | None) -> dict[str, Any]:
    """Return the rule's verdict, and the factors of its ratio of operations."""
    if scratch is None or ours is None:
        return {"passes": False, "why": "a system failed"}
    judged = verdict(scratch["curve"], ours["curve"])
    if "flops_ratio" not in judged:
        return judged
    theirs, mine = (
        judged[f"{name}_step"] * r["ledger"]["batch"] for name, r in (("scratch", scratch), ("auxiliary", ours))
    )
    uncached = ours["ledger"]["step_flops"] / ours["ledger"]["batch"] + ours["ledger"]["read_flops"]
    factors = theirs / mine, judged["scratch_flops"] / theirs / uncached, uncached * mine / judged["auxiliary_flops"]
    return judged | {"sentences_read": [theirs, mine], "factors": dict(zip(FACTORS, factors, strict=True))}


def _bar(scratch: Sequence[Mapping[str, Any]]) -> tuple[Threshold, float]:
    """Return the bar that training from scratch sets in one seed, and its own cost to it by the rule."""
    top = best(scratch)
    bar = Threshold.of(top["dev"])
    return bar, (first_passing_checkpoint(scratch, bar) or top)["flops"]


def _of_system(
    name: str, records: Sequence[Record], bars: Mapping[int, tuple[Threshold, float]], frontier: Frontier
) -> dict[str, Any]:
    """Return one system's figures over its seeds, each at its best checkpoint on development data."""
    done = [record for record in records if "error" not in record]
    broken = {"failed_seeds": [record["seed"] for record in records if "error" in record]}
    if not done:
        return {"label": SYSTEMS[name].label, **broken, "error": records[0]["error"] if records else "was not run"}
    tops = [best(record["curve"]) for record in done]
    ledger = done[0].get("ledger", {})
    costs = {key: ledger.get(key, 0) for key in ("learning", "memory_bytes", "task_bytes")}
    if ledger:
        costs["rule_by_counter"] = round(ledger["step_flops"] / ledger["step_flops_counted"], 4)
    judged = [(bars[record["seed"]], record["curve"]) for record in done if record["seed"] in bars]
    there = [
        (theirs, (first_passing_checkpoint(curve, bar) or {"flops": inf})["flops"]) for (bar, theirs), curve in judged
    ]
    return {
        "label": SYSTEMS[name].label,
        **_pooled([top["test"] for top in tops], frontier),
        "by_seed": {
            str(r["seed"]): [round(top["test"][key], 3) for key in ("accuracy", "slor")]
            for r, top in zip(done, tops, strict=True)
        },
        "flops": _middle(top["flops"] for top in tops),
        "flops_to_bar": _middle(mine for _, mine in there),
        "fewer_to_bar": _middle(theirs / mine for theirs, mine in there if mine),
        "train_seconds": _middle(top["train_seconds"] for top in tops),
        **costs,
        **{key: _middle(record[key] for record in done) for key in ("flops_per_written_token", "ms_per_written_token")},
        "setting": done[0]["setting"],
        **broken,
    }


def _pooled(tests: Sequence[Mapping[str, float]], frontier: Frontier) -> dict[str, Any]:
    """Return test figures over all samples of all seeds, and the efficiency: least possible drift over drift.

    95 % intervals are over seeds (Student's t), and never narrower than those over sentences.
    """
    n = int(sum(test["n"] for test in tests))
    mean = {key: sum(test[key] for test in tests) / len(tests) for key in POOLED if key in tests[0]}
    accuracy, slor = mean["accuracy"], mean["slor"]
    spread, half = (_half_width([test[key] for test in tests]) for key in ("accuracy", "slor"))
    low, high = wilson(round(accuracy * n), n)
    low, high = max(0.0, min(low, accuracy - spread)), min(1.0, max(high, accuracy + spread))
    half = max(half, Z * sqrt(sum(test["slor_se"] ** 2 for test in tests)) / len(tests))
    drifted = mean["drift"] > 0.05  # below that, the ratio is noise
    return {
        **{key: round(value, 4) for key, value in mean.items()},
        "accuracy_interval": [round(value, 4) for value in (accuracy, low, high)],
        "slor_interval": [round(slor + shift, 4) for shift in (0.0, -half, half)],
        "efficiency": round(min_kl_for_success(mean["accuracy"], *frontier) / mean["drift"], 4) if drifted else None,
        "n": n,
        "seeds": len(tests),
    }


def _half_width(values: Sequence[float]) -> float:
    """Return half of a mean's 95 % interval by Student's t; 0 for a single value, whose spread is unknown."""
    return T_975[len(values)] * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def control_frontier() -> Frontier:
    """Return each keyword's base rate under the expert, and its share of the requests: ``[C]`` and ``[C]``."""
    world, expert = load_world(), FrozenExpertSystem(load_story_lm(SHIPPED_LM_600K))
    nothing = torch.zeros(BASE_RATE_SAMPLES, dtype=torch.long)
    written, _ = write(expert, nothing, world.ids[FULL_STOP], torch.Generator().manual_seed(0))
    shares = world.keyword_probs
    keywords = shares.nonzero()[:, 0]
    rates = torch.stack([holds_keyword(written, word.expand(BASE_RATE_SAMPLES)).double().mean() for word in keywords])
    return rates.clamp(min=0.5 / BASE_RATE_SAMPLES), shares[keywords]


def _break_even(systems: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return after how many tasks pre-training pays, by the cost to the bar; None where it never does."""
    scratch, ours = (systems[name].get("flops_to_bar") for name in ("scratch", "auxiliary"))
    receipt = json.loads((data_dir() / "checkpoints" / SHIPPED_LM_600K / "receipt.json").read_text(encoding="utf-8"))
    if scratch is None or ours is None:
        return None
    tasks = break_even(receipt["training_flops"], scratch, ours)
    return None if tasks == inf else round(tasks, 1)


def _middle(values: Iterable[float]) -> float | None:
    """Return the median; None without values, or where it is infinite."""
    kept = list(values)
    middle = float(median(kept)) if kept else inf  # a float in JSON, also where all values are whole
    return None if middle == inf else round(middle, 4)


def curves(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return what pictures need of every trial: test figures over steps and operations, and over the weight λ."""
    kept = ("accuracy", "grammatical", "success", "slor", "drift")
    return [
        {
            **{key: record[key] for key in ("system", "seed", "sentences", "setting")},
            "batch": record.get("ledger", {}).get("batch", 0),
            "curve": {
                **{key: [point[key] for point in record["curve"]] for key in ("step", "flops", "train_seconds")},
                **{key: [round(point["test"][key], 4) for point in record["curve"]] for key in kept},
            },
            "dial": [{key: round(point[key], 4) for key in ("weight", *kept)} for point in record["dial"]],
            "early_losses": record.get("early_losses", []) if record["system"] in EARLY_OF else [],
        }
        for record in records
        if "error" not in record
    ]


def differences(results: Mapping[str, Any], recorded: Mapping[str, Any], seed: int) -> list[str]:
    """Return one line for each system whose repeated seed differs from the record in a printed digit."""
    lines = []
    for name, system in results["systems"].items():
        now, then = (figures.get("by_seed", {}).get(str(seed)) for figures in (system, recorded["systems"][name]))
        if now != then:
            lines.append(f"{name}: accuracy and SLOR {now or system.get('error', 'missing')}, recorded {then}")
    return lines


def behaviour_probe() -> list[float]:
    """Return the figures of a rehearsal of a few seconds, for the two systems that the rule compares.

    For each: nats a token on development sentences after 20 steps, and millions of operations of a step.
    """
    setup = TrialSetup(TrialSize(train=640, dev=64, test=0), SEARCH_SEED, SHIPPED_LM_600K)
    figures: list[float] = []
    dev = DecodingContext.before(*setup.dev), setup.dev[0]
    for name in ("scratch", "auxiliary"):
        spec = SYSTEMS[name]
        torch.manual_seed(SEARCH_SEED)
        system = spec.build(setup)
        *_, (_, mean, _) = train_steps(system, training_batches(setup, 2, 64, spec.cached), spec.settings[0]["rate"])
        with torch.no_grad():
            nats = mean.loss(*dev).item()
        batch = next(training_batches(setup, 1, 64, spec.cached))
        ledger = ComputeLedger.of(system, partial(system.loss, *batch), 64)
        figures += [round(nats, 4), round(ledger.step_flops / 1e6, 4)]
    return figures
