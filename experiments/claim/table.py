"""Tables and sentences of the claim's results, the same for README, notebook 06 and terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.claim.rule import FACTORS, SEEDS_NEEDED
from experiments.tables import Row, as_text, failure_row, label_of

MAIN = (
    *("truth", "auxiliary", "own_trunk", "scratch", "scratch_aided", "scratch_small", "scratch_both", "fine_tuned"),
    *("lora_16", "lora_4", "prompt_tuned", "classifier", "pair", "similar", "forced", "prompted", "expert"),
)
CONTROLS = ("untold", "shuffled", "no_expert")
VARIANTS = (
    *("auxiliary", "random_init", "logit_space", "no_boost", "no_flag", "dropped"),
    *("width_16", "width_32", "width_256", "not_cached", "weak_expert"),
)


def system_rows(results: Mapping[str, Any], names: Sequence[str] = MAIN) -> list[Row]:
    """Return one row for each system: quality on test sentences, and cost.

    Intervals are 95 %, over seeds and sentences. A system that was planned for none of the seeds has no row.
    """
    return [_system_row(results["systems"][name]) for name in names if name in results["systems"]]


def _system_row(system: Mapping[str, Any]) -> Row:
    if "error" in system:
        return failure_row(system)
    efficiency, write_flops = system["efficiency"], system["flops_per_written_token"]
    return {
        "system": label_of(system),
        "seeds": str(system["seeds"]),
        "keyword": _with_interval(system["accuracy_interval"], 3),
        "SLOR": _with_interval(system["slor_interval"], 2),
        "grammatical": f"{system['grammatical']:.3f}",
        "both": f"{system['success']:.3f}",
        "nats": f"{system['nll']:.2f}" if "nll" in system else "–",
        "efficiency": "–" if efficiency is None else f"{efficiency:.2f}",
        "to the bar": _cost_to_bar(system),
        "weights": f"{system['learning']:,}" if system["learning"] else "–",
        "training memory": f"{system['memory_bytes'] / 1e6:.0f} MB" if system["learning"] else "–",
        "a written token": f"{write_flops / 1e6:.2f} MFLOP" if write_flops else "",
    }


def _with_interval(interval: Sequence[float], digits: int) -> str:
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return f"{value} [{low}, {high}]"


def _cost_to_bar(system: Mapping[str, Any]) -> str:
    """Return the operations until the bar was passed, and how many times fewer than from scratch (medians)."""
    if not system["learning"]:
        return "–"
    if system["flops_to_bar"] is None or not system["fewer_to_bar"]:
        return "never"
    return f"{system['flops_to_bar'] / 1e9:,.0f} GFLOP (÷ {system['fewer_to_bar']:.1f})"


def as_lines(results: Mapping[str, Any]) -> list[str]:
    """Return the lines that a terminal shows after a run: the table, every seed's verdict, the conclusion."""
    table = as_text(system_rows(results), ("system", "keyword", "SLOR", "grammatical", "to the bar"))
    verdicts = [f"seed {seed}: {verdict_line(verdict)}" for seed, verdict in results["verdicts"].items()]
    return [*table.split("\n"), "", *verdicts, conclusion(results)]


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """Return one seed's verdict as a line."""
    if "flops_ratio" not in verdict:
        return f"does not pass: {verdict['why']}"
    ours, bar = verdict["auxiliary"], verdict["bar"]
    head = f"{'passes' if verdict['passes'] else 'does not pass'} ({verdict['why']})"
    control = f"accuracy {ours['accuracy']:.3f} (bar {bar['accuracy']:.3f})"
    fluency = f"SLOR {ours['slor']:.2f} (bar {bar['slor']:.2f})"
    return f"{head}; {control}, {fluency}, {verdict['flops_ratio']:.1f} times fewer operations"


def conclusion(results: Mapping[str, Any]) -> str:
    """Return the verdict on the claim in a sentence, with the factors of the saved operations."""
    if len(results["verdicts"]) < SEEDS_NEEDED:
        return f"One seed decides nothing: {SEEDS_NEEDED} have to pass."
    held = "supported" if results["supported"] else "not supported"
    head = f"The claim is {held} at this scale: {results['seeds_passing']} of {len(results['verdicts'])} seeds pass."
    if results["flops_ratio"] is None:
        return head
    fewer, cheaper, cached = (results["factors"][name] for name in FACTORS)
    return (
        f"{head} The auxiliary takes {results['flops_ratio']:.1f} times fewer training operations to the bar (median): "
        f"{fewer:.1f} × from fewer sentences, {cheaper:.1f} × from cheaper ones, {cached:.1f} × from cached states."
    )
