"""How does the auxiliary learn?

By maximum likelihood of the task's texts under the product, with the expert fixed. Its hidden states come from the
feature cache, so the loop below never runs the expert: it is `transformers.Trainer` (checkpoints, resume, bf16,
logging, ``accelerate``) around one small module.

A text that holds its keyword shows what comes next. A text that does *not* hold the keyword teaches something too: it
cannot have been over where it ended. Such a censored observation has a likelihood as well, ``P(next token closes
nothing)``, and it matters: a sampled text that has missed its word looks like these, and unlike anything in the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from auxlib.auxiliary import AuxiliaryModel, text_mask
from auxlib.collator import IGNORE_INDEX, FeatureCollator, FeatureRows
from auxlib.errors import TrainingError
from auxlib.features import CLOSING
from auxlib.keywords import batched_keyword_progress
from auxlib.sparse_logits import SparseLogits, exclusion_nll, token_nll

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback


class FeatureLoss(nn.Module):
    """The product's log-loss on cached features: what the trainer trains.

    Args:
        auxiliary: the only thing in here with parameters.
        continues: ``[V]`` from ``continuation_mask``.
    """

    def __init__(self, auxiliary: AuxiliaryModel, continues: Tensor) -> None:
        super().__init__()
        self.auxiliary = auxiliary
        self.register_buffer("continuation_mask", continues, persistent=False)

    def forward(
        self,
        token_ids: Tensor,
        targets: Tensor,
        hidden: Tensor,
        log_mass_outside_support: Tensor,
        log_z: Tensor,
        keyword_ids: Tensor,
        censored: Tensor,
    ) -> dict[str, Tensor]:
        """Mean nats per scored position, and the nats of each token (``[B, T]``, zero on padding and censored rows)."""
        position = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
        progress = batched_keyword_progress(token_ids, position, keyword_ids, self.continuation_mask)
        states = hidden.float()  # whatever the expert computes in: a loss is a difference of large logits
        mask = text_mask(position, token_ids.shape[1])
        parts = self.auxiliary(token_ids, states, log_z, position, keyword_ids, progress, mask)
        seen = (targets != IGNORE_INDEX) & ~censored.unsqueeze(1)
        over = self._closing(targets) & censored.unsqueeze(1)
        unembedding = self.auxiliary.unembedding
        nll = token_nll(states[seen], log_mass_outside_support[seen], _pick(parts, seen), unembedding, targets[seen])
        closing = self.auxiliary.groups[:, CLOSING].nonzero().squeeze(-1)
        lost = exclusion_nll(states[over], log_mass_outside_support[over], _pick(parts, over), unembedding, closing)
        total = (nll.sum() + lost.sum()) / self._of_all(len(nll) + len(lost))
        return {"loss": total, "nll": torch.zeros_like(log_z).masked_scatter(seen, nll.to(log_z.dtype))}

    def _of_all(self, scored: int) -> Tensor | int:
        """What to divide by, so that the mean over processes is the mean over all that they score together."""
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return scored
        together = torch.tensor(float(scored), device=self.continuation_mask.device)
        dist.all_reduce(together)
        return together / dist.get_world_size()

    def _closing(self, targets: Tensor) -> Tensor:
        return self.auxiliary.groups[targets.clamp(min=0), CLOSING] & (targets != IGNORE_INDEX)


def _pick(parts: SparseLogits, chosen: Tensor) -> SparseLogits:
    """The parts at chosen positions, flattened to ``[N, …]``: padding pays for no unembedding."""
    return replace(
        parts,
        shift=parts.shift[chosen],
        boost_ids=None if parts.boosts is None else parts.boost_ids[chosen],
        boosts=None if parts.boosts is None else parts.boosts[chosen],
    )


@dataclass(frozen=True)
class TrainingRun:
    """What a training produced beside the trained weights: for receipts and pictures.

    Attributes:
        steps, losses: the logged optimiser steps and the mean training loss since the one before.
        dev_loss: nats per token on the dev features, if they were given.
        minutes: of the training loop alone.
    """

    steps: list[int]
    losses: list[float]
    dev_loss: float | None
    minutes: float


def train_auxiliary(
    loss: FeatureLoss,
    features: Dataset,
    collator: FeatureCollator,
    dev_features: Dataset | None = None,
    output_dir: str | Path = "build/training",
    epochs: float = 4,
    batch_size: int = 48,
    learning_rate: float = 1e-3,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    **arguments: Any,
) -> TrainingRun:
    """Train in place with ``transformers.Trainer``: AdamW, short warm-up, cosine to zero, gradients clipped at one.

    Started by ``accelerate launch`` or ``torchrun`` it trains on all processes. One of them makes the batches and deals
    them out in equal parts, so that any number of processes takes the steps that one would take; only a last batch that
    does not divide evenly is filled up with rows of the first.

    Args:
        loss: the auxiliary and what scores it.
        features: from ``cache_features``; texts of similar length share a batch.
        collator: draws conditions and pads.
        output_dir: checkpoints of every epoch go here, so that ``resume=True`` goes on where a killed run stopped.
        batch_size: texts a step, of all processes together.
        resume: go on from the newest checkpoint in ``output_dir``, if there is one.
        callbacks: further ones, as `transformers` knows them.
        arguments: anything else that ``TrainingArguments`` knows: ``bf16``, ``fsdp``, ``save_strategy``, ….
    """
    from auxlib.resume import newest_checkpoint, restore

    trainer = _trainer(
        loss, features, collator, callbacks, output_dir=str(output_dir), num_train_epochs=epochs,
        per_device_train_batch_size=batch_size, learning_rate=learning_rate, seed=seed, disable_tqdm=not progress,
        **arguments,
    )  # fmt: skip
    start, last = perf_counter(), newest_checkpoint(Path(output_dir)) if resume else None
    if last:
        restore(collator.rng, last)
    trainer.train(resume_from_checkpoint=last and str(last))
    minutes = (perf_counter() - start) / 60
    logged = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    dev_loss = mean_nll(loss, dev_features, collator) if dev_features is not None else None
    return TrainingRun([step for step, _ in logged], [value for _, value in logged], dev_loss, minutes)


def _trainer(
    loss: FeatureLoss,
    features: Dataset,
    collator: FeatureCollator,
    callbacks: Sequence[TrainerCallback],
    **arguments: Any,
) -> Trainer:
    from transformers import PrinterCallback, Trainer, TrainingArguments
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from auxlib.resume import SaveRngState

    on_cpu = loss.continuation_mask.device.type == "cpu"
    if on_cpu and arguments.get("fsdp"):
        raise TrainingError(
            "accelerate shares weights out on GPUs only; on a CPU each process keeps all weights. Leave fsdp out."
        )
    steps = max(1, int(len(features) / arguments["per_device_train_batch_size"] * arguments["num_train_epochs"]))
    settings = {
        "lr_scheduler_type": "cosine", "warmup_steps": min(100, steps // 10), "adam_beta2": 0.98,
        "weight_decay": 0.01, "max_grad_norm": 1.0, "remove_unused_columns": False, "save_strategy": "epoch",
        "save_total_limit": 2, "logging_steps": max(1, steps // 40), "report_to": "none",
        "use_cpu": on_cpu, "ddp_find_unused_parameters": not loss.auxiliary.config.copy_head,
        "accelerator_config": {"split_batches": True, "dispatch_batches": True},
    }  # fmt: skip
    rows = FeatureRows(features)
    trainer = Trainer(
        loss, TrainingArguments(**settings | arguments), train_dataset=rows, data_collator=collator,
        callbacks=[SaveRngState(collator.rng), *callbacks],
    )  # fmt: skip
    # the trainer's own would sort by a lazy column, at the price of a look into the table for each comparison
    trainer._get_train_sampler = lambda *_: LengthGroupedSampler(trainer.args.train_batch_size, lengths=rows.lengths)
    if arguments["disable_tqdm"]:
        trainer.remove_callback(PrinterCallback)  # without a bar it prints every log line instead
    return trainer


@torch.inference_mode()
def mean_nll(loss: FeatureLoss, features: Dataset, collator: FeatureCollator, batch_size: int = 64) -> float:
    """Nats per token over a whole feature set, every token counted once."""
    was_training, total, count = loss.training, 0.0, 0
    loss.eval()
    rows = FeatureRows(features)
    for start in range(0, len(rows), batch_size):
        batch = collator([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
        batch = {name: value.to(loss.continuation_mask.device) for name, value in batch.items()}
        total += float(loss(**batch)["nll"].sum())
        count += int(((batch["targets"] != IGNORE_INDEX) & ~batch["censored"].unsqueeze(1)).sum())
    loss.train(was_training)
    return total / count
