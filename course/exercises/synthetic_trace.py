"""What do the exercises of notebook 09 look at? A trace that nobody recorded, and a training that takes no time."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

KINDS = ("to", "clone", "copy_", "cat", "contiguous", "mm", "linear", "add")  # the first five only move memory


def made_up_trace() -> list[dict[str, Any]]:
    """Events nested up to four deep, in the order of their beginning, with their times as wrong answers see them."""
    events: list[dict[str, Any]] = []

    def fill(start: float, depth: int) -> tuple[float, float]:
        """Add an event and what it calls: its end, and the time of all that it encloses."""
        name = random.choice((*KINDS, "copy_", "linear"))
        events.append({"name": name, "start": start})
        event, now, children, deep = events[-1], start, [], 0.0
        for _ in range(random.choice((0, 0, 1, 2, 3)) if depth < 3 else 0):
            begun = now + _micros(9)
            now, below = fill(begun, depth + 1)
            children.append(now - begun)
            deep += now - begun + below
        total = now + _micros(30 if name in KINDS[:5] else 60) - start
        own = total - sum(children)
        event |= {"end": start + total, "total": total, "self": own, "twice": total - deep}
        event |= {"outer": own * (depth == 0), "inner": own * (not children), "first": total - sum(children[:1])}
        return event["end"], deep

    now = 0.0
    for _ in range(7):
        now, _ = fill(now + _micros(5), 0)
    return events


def _micros(most: int) -> float:
    """A time whose sums have no rounding, and hardly ever a twin."""
    return random.randint(1, 1024 * most) / 1024


class ToyTraining:
    """A small training, all chance in which comes from ``draw``."""

    def __init__(self, seed: int) -> None:
        self.rows, self.draw = torch.linspace(-1, 1, 80).view(20, 4).sin(), random.Random(seed)
        self.model = nn.Linear(4, 3)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 0.1)
        self.schedule = LambdaLR(self.optimiser, lambda step: 1 / (1 + step))
        self.parts = self.model, self.optimiser, self.schedule, self.draw

    def steps(self, count: int) -> ToyTraining:
        """Take so many steps, and return itself."""
        for _ in range(count):
            self.optimiser.zero_grad()
            self.model(self.rows[self.draw.sample(range(20), 6)]).square().sum().backward()
            self.optimiser.step()
            self.schedule.step()
        return self
