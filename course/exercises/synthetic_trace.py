"""Inputs for the exercises of notebook 09: a random profiler trace and a tiny training run."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

KINDS = ("to", "clone", "copy_", "cat", "contiguous", "mm", "linear", "add")  # the first five only move memory


def synthetic_trace() -> list[dict[str, Any]]:
    """Return random events, nested up to four deep, in the order of their start.

    Times are in microseconds: ``total`` with callees, ``self`` without; the others are what common mistakes compute.
    """
    events: list[dict[str, Any]] = []

    def fill(start: float, depth: int) -> tuple[float, float]:
        """Add an event and its callees; return its end and the total time of all that it encloses."""
        name = random.choice((*KINDS, "copy_", "linear"))
        events.append({"name": name, "start": start})
        event, now, children, enclosed = events[-1], start, [], 0.0
        for _ in range(random.choice((0, 0, 1, 2, 3)) if depth < 3 else 0):
            child_start = now + _micros(9)
            now, below = fill(child_start, depth + 1)
            children.append(now - child_start)
            enclosed += now - child_start + below
        total = now + _micros(30 if name in KINDS[:5] else 60) - start
        own = total - sum(children)
        event |= {"end": start + total, "total": total, "self": own, "twice": total - enclosed}
        event |= {"outer": own * (depth == 0), "inner": own * (not children), "first": total - sum(children[:1])}
        return event["end"], enclosed

    now = 0.0
    for _ in range(7):
        now, _ = fill(now + _micros(5), 0)
    return events


def _micros(limit: int) -> float:
    """Return a random time whose sums are exact and hardly ever equal."""
    return random.randint(1, 1024 * limit) / 1024


class ToyTraining:
    """A small training run whose only source of randomness is ``rng``."""

    def __init__(self, seed: int) -> None:
        self.rows, self.rng = torch.linspace(-1, 1, 80).view(20, 4).sin(), random.Random(seed)
        self.model = nn.Linear(4, 3)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 0.1)
        self.schedule = LambdaLR(self.optimiser, lambda step: 1 / (1 + step))
        self.parts = self.model, self.optimiser, self.schedule, self.rng

    def steps(self, count: int) -> ToyTraining:
        """Train for ``count`` steps and return the run itself."""
        for _ in range(count):
            self.optimiser.zero_grad()
            self.model(self.rows[self.rng.sample(range(20), 6)]).square().sum().backward()
            self.optimiser.step()
            self.schedule.step()
        return self
