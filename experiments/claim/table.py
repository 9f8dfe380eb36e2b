"""How are the results said? Rows of words and rounded numbers, the same for README, notebook and terminal.

A system that failed keeps its row, and its error stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.claim.results import FACTORS
from experiments.claim.rule import SEEDS_NEEDED

Row = dict[str, str]
MAIN = (
    "truth", "auxiliary", "own_trunk", "scratch", "scratch_aided", "scratch_small", "scratch_both", "fine_tuned",
    "lora_16", "lora_4", "prompt_tuned", "classifier", "pair", "similar", "forced", "prompted", "expert",
)  # fmt: skip
CONTROLS = ("untold", "shuffled", "no_expert")
VARIANTS = (
    "auxiliary", "random_init", "logit_space", "no_boost", "no_flag", "dropped", "width_16", "width_32", "width_256",
    "not_cached", "weak_expert",
)  # fmt: skip


def system_rows(found: Mapping[str, Any], names: Sequence[str] = MAIN) -> list[Row]:
    """One row for each system: quality on test sentences, and cost. Intervals are 95 %, over seeds and sentences.

    Systems that were not to be run with any of the seeds have none.
    """
    return [_row(found["systems"][name]) for name in names if name in found["systems"]]


def _row(system: Mapping[str, Any]) -> Row:
    if "error" in system:
        return failure(system)
    efficiency = system["efficiency"]
    return {
        "system": name_of(system),
        "seeds": str(system["seeds"]),
        "keyword": _with_interval(system["accuracy_interval"], 3),
        "SLOR": _with_interval(system["slor_interval"], 2),
        "grammatical": f"{system['grammatical']:.3f}",
        "both": f"{system['success']:.3f}",
        "nats": f"{system['nll']:.2f}" if "nll" in system else "–",
        "efficiency": "–" if efficiency is None else f"{efficiency:.2f}",
        "to the bar": _to_bar(system),
        "weights": f"{system['learning']:,}" if system["learning"] else "–",
        "training memory": f"{system['memory_bytes'] / 1e6:.0f} MB" if system["learning"] else "–",
        "a written token": f"{system['flops_per_written_token'] / 1e6:.2f} MFLOP"
        * bool(system["flops_per_written_token"]),
    }


def failure(system: Mapping[str, Any]) -> Row:
    """The row of a system that failed altogether."""
    return {"system": system["label"], "keyword": f"FAILED: {' '.join(system['error'].split())}"}


def name_of(system: Mapping[str, Any]) -> str:
    """A system's label, and the seeds in which it failed."""
    lost = f" (seed {', '.join(map(str, system['failed_seeds']))} FAILED)" if system["failed_seeds"] else ""
    return system["label"] + lost


def _with_interval(interval: Sequence[float], digits: int) -> str:
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return f"{value} [{low}, {high}]"


def _to_bar(system: Mapping[str, Any]) -> str:
    """Operations until the bar was passed, and how many times fewer than from scratch: each the median over seeds."""
    if not system["learning"]:
        return "–"
    if system["flops_to_bar"] is None or not system["fewer_to_bar"]:
        return "never"
    return f"{system['flops_to_bar'] / 1e9:,.0f} GFLOP (÷ {system['fewer_to_bar']:.1f})"


def as_markdown(table: Sequence[Row]) -> str:
    """A table for README and notebook; columns of the longest row: one that failed has few."""
    names = list(max(table, key=len))
    lines = ["| " + " | ".join(names) + " |", "|---" + "|--:" * (len(names) - 1) + "|"]
    lines += ["| " + " | ".join(row.get(name, "").replace("|", r"\|") for name in names) + " |" for row in table]
    return "\n".join(lines) + "\n"


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """What a terminal shows after a run."""
    shown = ("system", "keyword", "SLOR", "grammatical", "to the bar")
    table = [
        [row.get(name, "") for name in shown] for row in (dict(zip(shown, shown, strict=True)), *system_rows(found))
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [
        *lines,
        "",
        *(f"seed {seed}: {said(verdict)}" for seed, verdict in found["verdicts"].items()),
        conclusion(found),
    ]


def said(verdict: Mapping[str, Any]) -> str:
    """One seed's verdict in a line."""
    if "flops_ratio" not in verdict:
        return f"does not pass: {verdict['why']}"
    ours, bar = verdict["auxiliary"], verdict["bar"]
    head = f"{'passes' if verdict['passes'] else 'does not pass'} ({verdict['why']})"
    control = f"accuracy {ours['accuracy']:.3f} (bar {bar['accuracy']:.3f})"
    fluency = f"SLOR {ours['slor']:.2f} (bar {bar['slor']:.2f})"
    return f"{head}; {control}, {fluency}, {verdict['flops_ratio']:.1f} times fewer operations"


def conclusion(found: Mapping[str, Any]) -> str:
    """The verdict in a sentence, with where the factor came from."""
    if len(found["verdicts"]) < SEEDS_NEEDED:
        return f"One seed decides nothing: {SEEDS_NEEDED} have to pass."
    held = "supported" if found["supported"] else "not supported"
    head = f"The claim is {held} at this scale: {found['seeds_passing']} of {len(found['verdicts'])} seeds pass."
    if found["flops_ratio"] is None:
        return head
    fewer, cheaper, cached = (found["factors"][name] for name in FACTORS)
    return (
        f"{head} The auxiliary takes {found['flops_ratio']:.1f} times fewer training operations to the bar (median): "
        f"{fewer:.1f} × from fewer sentences, {cheaper:.1f} × from cheaper ones, {cached:.1f} × from cached states."
    )
