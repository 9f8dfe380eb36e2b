"""How fast is it, as a ratio from one run? Two things in turn, A B A B, so that a noisy machine is noisy for both."""

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


def decode() -> dict[str, Any]:
    """Greedy decoding of one row with cache: the pair against the frozen model alone."""
    return {**decode_ratio(shipped(), rounds=11), "machine": machine()}


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
