"""Training an auxiliary by maximum likelihood on cached features.

The objective is the likelihood of the task's texts under the product, with the language model fixed. Its hidden states
come from the feature cache, so training never runs it: the loop is `transformers.Trainer` (checkpoints, resume, bf16,
logging, ``accelerate``) around one small module.

A text that holds its keyword shows what comes next. A text that does *not* hold the keyword is informative too: under
that condition it could not have ended where it did. Such a censored observation has a likelihood as well,
``P(next token closes no text)``, and it matters: a sampled text that has missed its word looks like these, and unlike
anything in the corpus.

Axes: ``B`` texts, ``T`` positions, ``D`` the frozen model's width, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from auxlib.auxiliary import AuxiliaryModel, text_mask
from auxlib.checkpoint import SaveRngState, newest_checkpoint, restore_rng_state
from auxlib.collator import IGNORE_INDEX, FeatureCollator, FeatureRows
from auxlib.errors import TrainingError
from auxlib.features import CLOSING
from auxlib.keywords import batched_keyword_progress

if TYPE_CHECKING:
    from datasets import Dataset


class FeatureLoss(nn.Module):
    """The product's log-loss on cached features.

    Args:
        auxiliary: the only part with parameters.
        continues: ``[V]`` from ``continuation_mask``.
    """

    continuation_mask: Tensor

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
        """Return ``loss``, the mean over scored positions, and ``nll [B, T]``; arguments as from `FeatureCollator`.

        Both are in nats; ``nll`` is zero on padding and on censored rows.
        """
        position = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
        progress = batched_keyword_progress(token_ids, position, keyword_ids, self.continuation_mask)
        states = hidden.float()  # also of a model in half precision: a loss is a difference of large logits
        mask = text_mask(position, token_ids.shape[1])
        logits = self.auxiliary(token_ids, states, log_z, position, keyword_ids, progress, mask)
        seen = (targets != IGNORE_INDEX) & ~censored.unsqueeze(1)
        over = self.auxiliary.groups[targets.clamp(min=0), CLOSING] & (targets != IGNORE_INDEX) & censored.unsqueeze(1)
        unembedding, outside = self.auxiliary.unembedding, log_mass_outside_support
        # padding pays for no unembedding: only scored positions are kept, flattened to [P]
        nll = logits.map(lambda x: x[seen]).nll(states[seen], outside[seen], unembedding, targets[seen])
        closing = self.auxiliary.groups[:, CLOSING].nonzero().squeeze(-1)
        censored_nll = logits.map(lambda x: x[over]).exclusion_nll(states[over], outside[over], unembedding, closing)
        total = (nll.sum() + censored_nll.sum()) / self._scored_per_rank(len(nll) + len(censored_nll))
        return {"loss": total, "nll": torch.zeros_like(outside).masked_scatter(seen, nll.to(outside.dtype))}

    def _scored_per_rank(self, scored: int) -> Tensor | int:
        """Return the scored positions, averaged over ranks: the mean of the ranks' losses is then the whole mean."""
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return scored
        total = torch.tensor(float(scored), device=self.continuation_mask.device)
        dist.all_reduce(total)
        return total / dist.get_world_size()


@dataclass(frozen=True)
class TrainingRun:
    """The record of a training, for receipts and figures.

    Attributes:
        steps, losses: the logged optimiser steps, and the mean training loss since the previous one.
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
        loss: the auxiliary and its objective.
        features: from ``cache_features``; texts of similar length share a batch.
        collator: draws conditions and pads.
        output_dir: a checkpoint of every epoch is written here, for ``resume``.
        batch_size: texts a step, of all processes together.
        resume: continue from the newest complete checkpoint in ``output_dir``, if there is one.
        callbacks: further ones, as `transformers` knows them.
        arguments: anything else that ``TrainingArguments`` knows: ``bf16``, ``fsdp``, ``save_strategy``, ….

    Raises:
        TrainingError: ``fsdp`` on a CPU.
    """
    trainer = _trainer(
        loss,
        features,
        collator,
        callbacks,
        output_dir=str(output_dir),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        disable_tqdm=not progress,
        **arguments,
    )
    start, checkpoint = perf_counter(), newest_checkpoint(Path(output_dir)) if resume else None
    if checkpoint is not None:
        restore_rng_state(collator.rng, checkpoint)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    minutes = (perf_counter() - start) / 60
    logged = [(int(entry["step"]), entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    dev_loss = mean_nll(loss, dev_features, collator) if dev_features is not None else None
    return TrainingRun([step for step, _ in logged], [value for _, value in logged], dev_loss, minutes)


def _trainer(
    loss: FeatureLoss,
    features: Dataset,
    collator: FeatureCollator,
    callbacks: Sequence[TrainerCallback],
    **arguments: Any,
) -> Trainer:
    on_cpu = loss.continuation_mask.device.type == "cpu"
    if on_cpu and arguments.get("fsdp"):
        raise TrainingError(
            "accelerate shares weights out on GPUs only; on a CPU each process keeps all weights. Leave fsdp out."
        )
    steps = max(1, int(len(features) / arguments["per_device_train_batch_size"] * arguments["num_train_epochs"]))
    settings: dict[str, Any] = {
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(100, steps // 10),
        "adam_beta2": 0.98,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "remove_unused_columns": False,
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "logging_steps": max(1, steps // 40),
        "report_to": "none",
        "use_cpu": on_cpu,
        "ddp_find_unused_parameters": not loss.auxiliary.config.copy_head,
        "accelerator_config": {"split_batches": True, "dispatch_batches": True},
    }
    rows = FeatureRows(features)
    trainer = Trainer(
        loss,
        TrainingArguments(**settings | arguments),
        train_dataset=rows,
        data_collator=collator,
        callbacks=[SaveRngState(collator.rng), *callbacks],
    )
    # the trainer's own sampler would sort by a lazy column, with a look into the table for each comparison
    trainer._get_train_sampler = lambda *_: LengthGroupedSampler(  # type: ignore[method-assign]
        trainer.args.train_batch_size, lengths=rows.lengths
    )
    if arguments["disable_tqdm"]:
        trainer.remove_callback(PrinterCallback)  # without a bar it prints every log line instead
    return trainer


@torch.inference_mode()
def mean_nll(loss: FeatureLoss, features: Dataset, collator: FeatureCollator, batch_size: int = 64) -> float:
    """Return the nats per token over a whole feature set, every token counted once."""
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
