"""What notebook 06 builds in a few lines is what decided the experiment; and it can show results that have holes."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from course.build import generate
from course.config import load_course
from course.exercises.exercise import load_exercise
from experiments.claim.plan import SYSTEMS
from experiments.claim.report import curves
from experiments.claim.rule import Threshold, best, first_passing_checkpoint, verdict
from experiments.claim.table import CONTROLS, MAIN
from experiments.flops import ComputeLedger, count_flops, counted_by_torch
from experiments.metrics import min_kl_for_success
from tests.experiments.claim.test_report import SEEDS, campaign, failing, results

COURSE = load_course()
ROW = COURSE.select(["06"])[0]
CODE = [cell.source for cell in generate(COURSE, ROW).cells if cell.cell_type == "code"]
step_flops, training_flops, passes_bar, decide, control_efficiency = (
    load_exercise(f"6.{n}").reference for n in range(1, 6)
)


# --- the ledger ---


@pytest.mark.parametrize("flags", ["1", "111", "100", "001", "0110", "01001", "10010"])
def test_a_step_costs_what_the_ledger_and_torch_count(flags: str) -> None:
    sizes, rows = [random.Random(flags).randint(3, 40) for _ in range(len(flags) + 1)], 7
    layers = [(sizes[i], sizes[i + 1], flag == "1") for i, flag in enumerate(flags)]
    stack = nn.Sequential(*(nn.Linear(n, m, bias=False).requires_grad_(learns) for n, m, learns in layers))
    with count_flops(stack) as tally:
        stack(torch.randn(rows, sizes[0]))
    assert step_flops(layers, rows) == tally.flops
    assert step_flops(layers, rows) == counted_by_torch(lambda: stack(torch.randn(rows, sizes[0])).sum().backward())


def test_a_training_costs_what_the_ledger_says() -> None:
    draw = random.Random(0)
    for _ in range(200):
        step, read, batch, steps, sentences = (draw.randint(0, 5000) for _ in range(5))
        ledger = ComputeLedger(step, float(read), batch, parameters=0, learning=0, kept_bytes=0)
        assert training_flops(step, read, batch, steps, sentences) == ledger.flops(steps, sentences)


# --- the rule ---


def figures(draw: random.Random, level: float) -> dict[str, float]:
    """What is measured at a checkpoint; coarse, so that there are ties."""
    accuracy = round(min(0.99, max(0.0, level + draw.uniform(-0.06, 0.06))), 2)
    slor = round(2.6 + 0.7 * level + draw.uniform(-0.08, 0.08), 2)
    success = round(accuracy * draw.uniform(0.9, 1.0), 2)
    return {"accuracy": accuracy, "success": success, "slor": slor, "slor_se": 0.03, "n": draw.choice((200, 1000))}


def training(draw: random.Random, flops: float) -> list[dict[str, Any]]:
    """A made-up curve of eight checkpoints; development and test do not quite agree."""
    reached = draw.uniform(0.8, 1.0)
    levels = [reached * (1 - 0.5**i) for i in range(1, 9)]
    return [
        {"step": 10 * i, "flops": flops * i} | {part: figures(draw, level) for part in ("dev", "test")}
        for i, level in enumerate(levels, 1)
    ]


def seeds(n: int = 1000) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    draw = random.Random(1)
    return [(training(draw, 30.0), training(draw, 60.0 / (1 + i % 6))) for i in range(n)]


def test_the_bar_is_the_rules() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        mine, top = (figures(draw, draw.uniform(0.6, 1.0)) for _ in range(2))
        for margin in (0.0, 1.0, 2.0):
            assert passes_bar(mine, top, margin=margin) == Threshold.of(top).passed(mine, margin)


def test_the_first_checkpoint_past_the_bar_is_the_rules() -> None:
    for scratch, auxiliary in seeds(200):
        top = best(scratch)["dev"]
        for curve in (scratch, auxiliary):
            past = [point for point in curve if passes_bar(point["dev"], top, margin=1.0)]
            assert first_passing_checkpoint(curve, Threshold.of(top)) == (past[0] if past else None)


def test_the_verdict_is_the_rules() -> None:
    outcomes = set()
    for scratch, auxiliary in seeds():
        found = verdict(scratch, auxiliary)
        assert decide(scratch, auxiliary, passes_bar) == (found["passes"], found.get("flops_ratio"))
        outcomes.add(found["why"])
    assert {"control, fluency and cost", "not control", "not fluency", "not cost"} < outcomes
    assert "the auxiliary never passed the bar on development data" in outcomes


# --- the frontier ---


def test_one_keyword_alone_has_the_frontier_of_its_coin() -> None:
    draw, one = random.Random(0), torch.ones(1, dtype=torch.float64)
    for _ in range(100):
        base_rate, drift = draw.uniform(0.01, 0.5), draw.uniform(0.1, 8.0)
        accuracy = draw.uniform(base_rate, 0.999)
        exact = min_kl_for_success(accuracy, base_rate * one, one) / drift
        assert control_efficiency(accuracy, base_rate, drift) == pytest.approx(exact, abs=1e-6)


def test_the_mean_base_rate_gives_too_low_an_efficiency() -> None:
    rates, shares = torch.tensor([0.005, 0.02, 0.1]).double(), torch.tensor([0.3, 0.4, 0.3]).double()
    for accuracy in (0.1, 0.5, 0.9, 0.99):
        assert control_efficiency(accuracy, float(rates @ shares), 1.0) < min_kl_for_success(accuracy, rates, shares)


# --- what the notebook shows of the record ---


def on_the_record(found: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Run the cells that show results, without those that train; the reader's own points are made up."""
    first = next(i for i, source in enumerate(CODE) if "read_record(" in source)
    shown = [source for source in CODE[first:] if not re.search(r"\bbench\b", source)]
    names: dict[str, Any] = {}
    for source in CODE[:2]:
        exec(source, names)
    live = {name: training(random.Random(0), 1e9) for name in ("scratch", "auxiliary")}
    names |= {"read_record": lambda name, root: found, "load_curves": lambda root: recorded, "live": live}
    names["display"] = lambda shown, raw: print(shown["text/plain"])
    for source in shown:
        exec(source, names)
    return names


@pytest.mark.parametrize("failed", [(), *((name,) for name in ("scratch", "auxiliary", "expert", "random_init")), MAIN])
def test_a_failed_system_is_shown_and_stops_no_cell(failed: Sequence[str]) -> None:
    records = campaign()
    for name in failed:
        records = failing(records, name, *SEEDS)
    found, printed = results(records) | {"settings": {}}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        names = on_the_record(found, curves(records))
    assert set(names["done"]) == set(SYSTEMS) - set(failed)
    for name in failed:
        assert re.search(rf"{re.escape(SYSTEMS[name].label)}[ |]+FAILED: RuntimeError", printed.getvalue())


def test_it_counts_the_systems_as_they_are() -> None:
    assert (len(SYSTEMS), len(MAIN), len(CONTROLS)) == (30, 17, 3), "notebook 06 says thirty, seventeen and three"
