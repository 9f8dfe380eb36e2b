"""A training process for `torchrun`: reads a file of settings and writes its losses."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.features import TextTemplate, cache_features, choose_support, rank_and_world_size, token_groups
from auxlib.frozen import load_expert
from auxlib.keywords import continuation_mask
from auxlib.training import FeatureCollator, FeatureLoss, train_auxiliary


class Doomed(FeatureCollator):
    """Kills its process at the n-th batch."""

    left = 0

    def __call__(self, rows: Any) -> Any:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(rows)


def prepare(job: dict[str, Any]) -> tuple[FeatureLoss, Dataset, FeatureCollator]:
    """Return loss, features and collator, as a user's script does."""
    torch.set_num_threads(1)
    expert = load_expert(job["expert"], dtype=torch.float32)
    frame = TextTemplate.of(expert, job["preamble"])
    encoded = [frame.encode(expert, row["text"]) for row in job["rows"]]
    vocabulary = expert.unembedding.shape[0]
    support, continues = choose_support(encoded, vocabulary, 1), continuation_mask(expert.tokenizer, vocabulary)
    features = cache_features(expert, Dataset.from_list(job["rows"]), frame, support, batch_tokens=30, progress=False)
    torch.manual_seed(job["weights"])
    config, groups = AuxiliaryConfig(width=16, heads=2), token_groups(encoded, continues, 1)
    loss = FeatureLoss(AuxiliaryModel(config, expert.unembedding, groups, support), continues)
    collator = Doomed(expert.tokenizer, frame.preamble_ids[-1], negative_rate=0.3)
    collator.left = job["dies_at"]
    return loss, features, collator


def train(job: dict[str, Any]) -> list[float]:
    """Return the loss of every step."""
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "progress": False}
    run = train_auxiliary(*prepare(job), output_dir=job["out"], resume=job["resume"], **settings)
    return run.losses


def shard(job: dict[str, Any]) -> list[list[float]]:
    """Losses of some steps with replicated and with sharded weights."""
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo")
    curves = []
    for sharded in (False, True):
        loss, features, collator = prepare(job)
        if sharded:
            for block in loss.auxiliary.blocks:
                fully_shard(block)
            fully_shard(loss)
        optimiser = torch.optim.AdamW(loss.parameters(), 1e-2)
        batch = collator([features.with_format("numpy")[i] for i in range(6)])
        curves.append([])
        for _ in range(4):
            value = loss(**batch)["loss"]
            value.backward()
            optimiser.step(), optimiser.zero_grad()
            curves[-1].append(float(value))
        held = {type(weight.data).__name__ for weight in loss.parameters()}
        assert held == ({"DTensor"} if sharded else {"Tensor"}), held
    return curves


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    found = {"train": train, "shard": shard}[job["do"]](job)
    if rank_and_world_size()[0] == 0:
        Path(sys.argv[1]).with_suffix(".found").write_text(json.dumps(found))
