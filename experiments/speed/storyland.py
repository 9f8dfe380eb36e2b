"""How fast are Storyland's exact answers?"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import torch

from auxlib.worlds.storyland import Storyland


def storyland_figures(prefixes: int = 1000, rounds: int = 5) -> dict[str, Any]:
    """Seconds on one thread for exact keyword log-odds: the first time in a world, with its tables, and again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent: dict[str, list[float]] = {"load": [], "first": [], "again": []}
    for seed in range(rounds):
        start = perf_counter()
        world = Storyland.load()
        spent["load"].append(perf_counter() - start)
        token_ids = world.sample(prefixes, torch.Generator().manual_seed(seed))
        keyword_ids = world.draw_keywords(token_ids, torch.Generator().manual_seed(seed))
        for name in ("first", "again"):
            start = perf_counter()
            world.keyword_log_odds(token_ids[:, :6], keyword_ids)
            spent[name].append(perf_counter() - start)
    torch.set_num_threads(threads)
    seconds = {f"storyland_seconds_{name}": median(times) for name, times in spent.items()}
    return {**seconds, "storyland_prefixes": prefixes, "storyland_states": len(world.automaton.step)}
