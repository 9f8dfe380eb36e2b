"""Speed of Storyland's exact posteriors."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import torch

from auxlib.worlds.storyland import Storyland


def storyland_figures(prefixes: int = 1000, rounds: int = 5) -> dict[str, Any]:
    """Return seconds on one thread for exact keyword log-odds: first, with the tables of the world, and again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"load": [], "first": [], "again": []}
    for seed in range(rounds):
        start = perf_counter()
        world = Storyland.load()
        seconds["load"].append(perf_counter() - start)
        token_ids = world.sample(prefixes, torch.Generator().manual_seed(seed))
        keyword_ids = world.draw_keywords(token_ids, torch.Generator().manual_seed(seed))
        for name in ("first", "again"):
            start = perf_counter()
            world.keyword_log_odds(token_ids[:, :6], keyword_ids)
            seconds[name].append(perf_counter() - start)
    torch.set_num_threads(threads)
    figures = {f"storyland_seconds_{name}": median(times) for name, times in seconds.items()}
    return {**figures, "storyland_prefixes": prefixes, "storyland_states": len(world.automaton.step)}
