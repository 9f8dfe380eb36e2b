"""Pictures of the control results, for notebook 08."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from auxlib import plot
from experiments.control.table import PLACES

KINDS = ("trait", "hero", "quality", "task", "object", "idle", "spot")
TASKS = ("tend", "mend", "carry")


def frontier(results: Mapping[str, Any], title: str) -> plot.Picture:
    """Plot keyword accuracy over drift, with the least possible drift."""
    bound = results["bound"]
    lines = {"least possible": ([nats for _, nats in bound], [accuracy for accuracy, _ in bound])}
    for name, label in {"learned": "auxiliary, λ 0.25 to 2", "myopic": "push on the word, 1 to 8"}.items():
        rows = [row for row in results[name] if "drift" in row]
        lines[label] = ([row["drift"] for row in rows], [row["accuracy"] for row in rows])
    return plot.curves(lines, "drift from the frozen model (nats a sentence)", "keyword accuracy", title)


def composition(results: Mapping[str, Any], title: str) -> plot.Picture:
    """Plot the error of adding two exact auxiliaries by the classes of the two words."""
    sums: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for key, row in results["kinds"].items():
        first, second = ("task" if kind in TASKS else kind for kind in key.split(" + "))
        for pair in ((first, second), (second, first)):
            sums.setdefault(pair, []).append((row["nats"], row["n"]))
    table = torch.full((len(KINDS), len(KINDS)), torch.nan)
    for (row, column), cells in sums.items():
        weights = sum(n for _, n in cells)
        table[KINDS.index(row), KINDS.index(column)] = sum(nats * n for nats, n in cells) / weights
    return plot.heatmap(table, KINDS, KINDS, title, "one word", "the other", unit="nats a sentence")


def places(results: Mapping[str, Any], names: Mapping[str, str], title: str) -> plot.Picture:
    """Plot the shares of sentences with their word in each fifth; ``names`` of the results, with their labels."""
    groups = {label: _shares(results[name]["places"]) for name, label in names.items()}
    fifths = [f"{20 * i}–{20 * (i + 1)} %" for i in range(PLACES)]
    return plot.bars(groups, fifths, title, "share of the sentences", "place of the word in its sentence")


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]
