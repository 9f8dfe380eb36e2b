"""Multi-task training of a shared body, with equal or meta-learned objective weights.

`transformers.Trainer` runs the loop; the training step computes every objective's gradient once and leaves their
weighted sum to the optimiser. The batches of a step depend on the seed and the step's number only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from auxlib.classification.trainer import classification_metrics, training_args
from auxlib.errors import TrainingError
from auxlib.frozen import best_device, best_dtype
from auxlib.tartan.meta_weights import (
    Batch,
    Gradient,
    GradientStats,
    MetaWeights,
    ObjectiveLoss,
    accumulate_weighted_grads,
    development_gradient,
)
from auxlib.tartan.objectives import Classification, Objective, Rows, rows_batch

HEAD_DECAY = 1.0  # of the head fitted on few development texts: it is then close to the labels' mean states
META_PASSES = 4 / 3  # through the body for a development gradient: one, and a forward pass, which costs a third


@dataclass(frozen=True)
class TrainingConfig:
    """Budget and hyperparameters.

    Attributes:
        passes: the budget: batches that go forward and backward through the body, for any objective.
        batch_size: texts of each objective in a step.
        learning_rate: of the body.
        head_lr_multiplier: learning rate of the heads, relative to the body's.
        eval_steps: steps between evaluations on the development texts.
        seed: of the batches and of dropout.
        ema: weight of the past in the moving average of the development gradient; 0 in the authors' code.
        bf16: compute the body in bfloat16 where the hardware is fast at it; a small body gains nothing.
    """

    passes: int
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_lr_multiplier: float = 3.0
    eval_steps: int = 25
    seed: int = 0
    ema: float = 0.9
    bf16: bool = False

    def steps(self, objectives: int, meta: bool) -> int:
        """Return the number of steps within the budget; with META each also computes a development gradient."""
        return int(self.passes / (objectives + meta * META_PASSES))


@dataclass(frozen=True)
class History:
    """Metrics of a training run of S steps.

    Attributes:
        dev: macro-F1 on the development rows at each evaluation; the model keeps the weights of the best.
        losses, weights, cosines: of each objective in each step, ``[S, N]``; cosines are 0 without META.
        seconds: of the whole run.
        step_seconds: median of a training step, without the optimiser's.
    """

    dev: list[float]
    losses: Tensor
    weights: Tensor
    cosines: Tensor
    seconds: float
    step_seconds: float


class MultiTaskModel(nn.Module):
    """A shared body and a head for each objective, the end task's first.

    Args:
        body: maps ``input_ids`` and ``attention_mask`` to ``last_hidden_state [B, T, D]``.
    """

    def __init__(self, body: nn.Module, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.body, self.objectives = body, cast(Sequence[Objective], nn.ModuleList(objectives))

    @property
    def end_task(self) -> Classification:
        """The first objective."""
        return cast(Classification, self.objectives[0])

    def states(self, batch: Batch) -> Tensor:
        """Return the body's states ``[B, T, D]``; padding is not attended to."""
        return self.body(input_ids=batch["input_ids"], attention_mask=batch["mask"]).last_hidden_state.float()

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> Any:
        """Return the end task's class logits ``[B, K]``, or with labels the dictionary that `Trainer` expects."""
        scores = self.end_task.scores(self.states(batch), batch["mask"])
        return scores if labels is None else {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def train_multitask(
    model: MultiTaskModel,
    config: TrainingConfig,
    dev: Rows = (),
    meta: MetaWeights | None = None,
    progress: bool = True,
) -> History:
    """Train in place; with development rows, keep the weights that are best on them.

    Args:
        dev: development rows of the end task, for the choice of weights and for ``meta``.
        meta: learns the objectives' weights (META-TARTAN); None gives all the same weight (MT-TARTAN).

    Raises:
        TrainingError: ``meta`` without two development rows of one label, or with a wrong number of weights; or the
            loss of an objective is not finite. Body and heads are then as the last complete step has left them.
    """
    if meta is not None and max(Counter(row["label"] for row in dev).values(), default=0) < 2:
        raise TrainingError(
            f"the weights learn from pairs of development rows with one label, and {len(dev)} rows hold none: hold "
            "more texts out."
        )
    if meta is not None and len(meta.weights) != len(model.objectives):
        raise TrainingError(f"{len(meta.weights)} weights for {len(model.objectives)} objectives.")
    start = perf_counter()
    with TemporaryDirectory() as folder:
        args = training_args(
            folder,
            "eval_macro_f1" if dev else None,
            config.seed,
            progress,
            max_steps=config.steps(len(model.objectives), meta is not None),
            warmup_steps=0.06,
            eval_strategy="steps" if dev else "no",
            eval_steps=config.eval_steps,
            logging_strategy="no",
            bf16=config.bf16 and best_dtype(best_device()) == torch.bfloat16,
        )
        trainer = _MultiTaskTrainer(_StepBatches(model, config, dev, meta is not None), meta, args)
        trainer.train()
    return trainer.history(perf_counter() - start)


def label_matched_batches(rows: Rows, size: int, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Return two disjoint batches of at most ``size`` rows with the same labels, each equally often.

    So every label of the second batch is known to a head fitted on the first. Rows without a partner are left out.
    """
    unpaired: dict[int, Any] = {}
    pairs = []
    for row in (rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()):
        if (partner := unpaired.pop(row["label"], None)) is not None:
            pairs.append((partner, row))
        else:
            unpaired[row["label"]] = row
    fit_rows, eval_rows = zip(*pairs[:size], strict=True)
    return fit_rows, eval_rows


class _StepBatches(torch.utils.data.Dataset):
    """The batches of each step: one for each objective, and with META two of development rows."""

    def __init__(self, model: MultiTaskModel, config: TrainingConfig, dev: Rows, meta: bool) -> None:
        self.model, self.config, self.dev, self.meta = model, config, dev, meta

    def __len__(self) -> int:
        return self.config.steps(len(self.model.objectives), self.meta)

    def __getitem__(self, step: int) -> dict[str, dict[str, Tensor]]:
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        size = self.config.batch_size
        batches = {str(i): objective.draw(size, rng) for i, objective in enumerate(self.model.objectives)}
        if self.meta:
            fit_rows, eval_rows = label_matched_batches(self.dev, size, rng)
            batches |= {"fit": rows_batch(fit_rows), "eval": rows_batch(eval_rows)}
        return batches


class _MultiTaskTrainer(Trainer):
    """Trainer whose step accumulates the objectives' weighted gradients."""

    def __init__(self, batches: _StepBatches, meta: MetaWeights | None, args: TrainingArguments) -> None:
        self.multitask, self.config, self.meta = batches.model, batches.config, meta
        self.reference_grad: Gradient | None = None
        self.stats: list[GradientStats] = []
        self.weights: list[Tensor] = []
        self.step_seconds: list[float] = []
        self.body = [weight for weight in self.multitask.body.parameters() if weight.requires_grad]
        heads = [weight for objective in self.multitask.objectives for weight in objective.parameters()]
        groups = [
            {"params": self.body, "lr": self.config.learning_rate},
            {"params": heads, "lr": self.config.head_lr_multiplier * self.config.learning_rate},
        ]
        super().__init__(
            self.multitask,
            args,
            data_collator=rows_batch,
            train_dataset=batches,
            eval_dataset=cast(Any, batches.dev or None),
            optimizers=(torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01), None),
            compute_metrics=_metrics,
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return the steps in their order; each item is a batch already."""
        return torch.utils.data.DataLoader(cast(_StepBatches, self.train_dataset), batch_size=None)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Leave the weighted sum of gradients in ``.grad`` and return the weighted loss."""
        start, inputs = perf_counter(), self._prepare_inputs(inputs)
        self._update_reference(inputs)
        model.train()
        count = len(self.multitask.objectives)
        weights = torch.full((count,), 1 / count) if self.meta is None else self.meta.weights
        losses = [
            ObjectiveLoss(objective.name, partial(self._loss, objective, inputs[str(i)]), list(objective.parameters()))
            for i, objective in enumerate(self.multitask.objectives)
        ]
        stats = accumulate_weighted_grads(self.body, losses, weights, self.reference_grad)
        if self.meta is not None:
            self.meta.step(stats)
        self.stats.append(stats)
        self.weights.append(weights)
        self.step_seconds.append(perf_counter() - start)
        return (weights.to(stats.losses) * stats.losses).sum()

    def _loss(self, objective: Objective, batch: Batch) -> Tensor:
        return objective.loss(self._states(batch), batch)

    def _states(self, batch: Batch) -> Tensor:
        with self.accelerator.autocast():
            return self.multitask.states(batch)

    def _update_reference(self, inputs: dict[str, Any]) -> None:
        """With META, move the reference gradient towards this step's development gradient."""
        if self.meta is None:
            return
        self.multitask.eval()
        count = self.multitask.end_task.head.out_features
        fresh = development_gradient(self.body, self._states, inputs["fit"], inputs["eval"], count, HEAD_DECAY)
        # the gradient of a few texts is noisy; the body changes slowly, so an average over steps reduces the noise
        past = self.reference_grad or fresh
        self.reference_grad = [new.lerp(old, self.config.ema) for new, old in zip(fresh, past, strict=True)]

    def history(self, seconds: float) -> History:
        """Return the metrics of the run."""
        dev = [entry["eval_macro_f1"] for entry in self.state.log_history if "eval_macro_f1" in entry]
        losses, cosines = (torch.stack([getattr(s, name) for s in self.stats]).cpu() for name in ("losses", "cosines"))
        return History(dev, losses, torch.stack(self.weights), cosines, seconds, median(self.step_seconds))


def _metrics(output: Any) -> dict[str, float]:
    return classification_metrics(torch.tensor(output.predictions), output.label_ids.tolist())
