"""How fast is it? As a ratio from one run where there are two things to compare: in turn, A B A B, so that a noisy
machine is noisy for both."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.evaluation import decode_ratio
from auxlib.features import normalisers, read_preamble, read_texts
from auxlib.metrics import machine, median
from auxlib.recipes import QUICK, material, shipped
from auxlib.training import FeatureCollator, FeatureLoss
from auxlib.worlds.storyland import Storyland

TWO = ("lantern", "harbour")


def decode() -> dict[str, Any]:
    """Greedy decoding with cache: a pair's tokens per second as a share of the frozen model's, by rows and request."""
    one, several = shipped(), shipped(several=True)
    asked = {"one word": (one, "lantern"), "sum of two": (one, TWO), "two together": (several, TWO)}
    shares = {
        f"{name}, {rows} rows": round(1 / decode_ratio(model, words, rows, rounds=3)["decode_ratio"], 3)
        for name, (model, words) in asked.items()
        for rows in (1, 8)
    }
    return {**shares, "machine": machine()}


def train(batch_size: int = 32, rounds: int = 5) -> dict[str, Any]:
    """One training step on cached features against the same step that runs the expert first."""
    stuff = material(QUICK)
    auxiliary = AuxiliaryModel(AuxiliaryConfig(), stuff.expert.unembedding, stuff.groups, stuff.support)
    loss = FeatureLoss(auxiliary, stuff.continues)
    rows = stuff.train.with_format("numpy").select(range(len(stuff.train) // 2, len(stuff.train) // 2 + batch_size))
    batch = FeatureCollator(stuff.expert.tokenizer, stuff.frame.preamble_ids[-1])(list(rows))
    texts, prefix = [list(map(int, row["token_ids"])) for row in rows], read_preamble(stuff.expert, stuff.frame)

    def step(live: bool) -> float:
        start = perf_counter()
        if live:
            hidden = read_texts(stuff.expert, prefix, texts, stuff.frame)
            normalisers(stuff.expert, hidden, stuff.support)
        loss(**batch)["loss"].backward()
        return perf_counter() - start

    step(False), step(True)
    cached, live = zip(*[(step(False), step(True)) for _ in range(rounds)], strict=True)
    tokens = sum(map(len, texts))
    return {
        "train_ratio": round(median([a / b for a, b in zip(cached, live, strict=True)]), 3),
        "tokens_per_second_cached": round(tokens / median(cached)),
        "tokens_per_second_live": round(tokens / median(live)),
        "threads": torch.get_num_threads(),
        "machine": machine(),
    }


def storyland(prefixes: int = 1000, rounds: int = 5) -> dict[str, Any]:
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
    seconds = {f"seconds_{name}": round(median(times), 4) for name, times in spent.items()}
    return {**seconds, "prefixes": prefixes, "states": len(world.automaton.step), "threads": 1, "machine": machine()}
