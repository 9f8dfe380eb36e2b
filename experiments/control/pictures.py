"""What do the results look like? Pictures of the recorded figures, for notebook 08 and the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from auxlib import plot
from experiments.control.real import PLACES

KINDS = ("trait", "hero", "quality", "task", "object", "idle", "spot")
TASKS = ("tend", "mend", "carry")


def frontier(found: Mapping[str, Any], title: str) -> plot.Picture:
    """How often a word is said over how far one had to drift for it, with the least possible drift."""
    bound = found["bound"]
    lines = {"least possible": ([nats for _, nats in bound], [accuracy for accuracy, _ in bound])}
    for name, label in {"learned": "auxiliary, λ 0.25 to 2", "myopic": "push on the word, 1 to 8"}.items():
        rows = [row for row in found[name] if "drift" in row]
        lines[label] = ([row["drift"] for row in rows], [row["accuracy"] for row in rows])
    return plot.curves(lines, "drift from the frozen model (nats a sentence)", "keyword accuracy", title)


def composition(found: Mapping[str, Any], title: str) -> plot.Picture:
    """What adding two exact answers costs, by the kinds of the two words; empty where no sentence has both."""
    sums: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for key, row in found["kinds"].items():
        first, second = ("task" if kind in TASKS else kind for kind in key.split(" + "))
        for pair in ((first, second), (second, first)):
            sums.setdefault(pair, []).append((row["nats"], row["n"]))
    table = torch.full((len(KINDS), len(KINDS)), torch.nan)
    for (row, column), found_here in sums.items():
        weights = sum(n for _, n in found_here)
        table[KINDS.index(row), KINDS.index(column)] = sum(nats * n for nats, n in found_here) / weights
    return plot.heatmap(table, KINDS, KINDS, title, "one word", "the other", unit="nats a sentence")


def places(found: Mapping[str, Any], names: Mapping[str, str], title: str) -> plot.Picture:
    """Where in a sentence its word stands, as shares: ``names`` of what was recorded, with their labels."""
    groups = {label: _shares(found[name]["places"]) for name, label in names.items()}
    fifths = [f"{20 * i}–{20 * (i + 1)} %" for i in range(PLACES)]
    return plot.bars(groups, fifths, title, "share of the sentences", "place of the word in its sentence")


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]
