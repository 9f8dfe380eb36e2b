"""How do objectives learn together? Every step asks each of them once, and follows a weighted sum of their gradients.

`transformers.Trainer` runs the loop; only its step is ours. Which batches a step gets hangs on the seed and the step's
number alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from auxlib.classification.trainer import classification_metrics
from auxlib.errors import TrainingError
from auxlib.frozen import best_device, best_dtype
from auxlib.tartan.meta_weights import (
    Batch,
    MetaWeights,
    ObjectiveLoss,
    accumulate_weighted_grads,
    development_gradient,
)
from auxlib.tartan.objectives import Objective, Rows, rows_batch

DECAY = 1.0  # of the fresh head: fitted on few texts, it is to be hardly more than the labels' mean states
ASKING = 4 / 3  # passes through the body for a development gradient: one, and a forward pass alone, which is a third


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast.

    Attributes:
        passes: batches that go through the body forward and backward, whoever asked for them: the budget.
        batch_size: texts of an objective in one step.
        rate: of the body; heads learn `faster` times as fast.
        every: steps between two looks at the development texts.
        seed: of all that is drawn: batches, and what dropout leaves out.
        smooth: how much of the development gradient is that of the steps before; 0 in the authors' code.
        halved: the body computes in bfloat16 where that is fast; a small one gains nothing by it.
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
        """How often all can be asked: with META each step also asks the development texts."""
        return int(self.passes / (objectives + meta * ASKING))


@dataclass(frozen=True)
class History:
    """What a training left beside the trained weights.

    Attributes:
        dev: macro-F1 on the development rows at each look; the weights are those of the best one.
        losses, weights, cosines: of each objective in each step, ``[S, N]``; cosines only where weights learn.
        seconds: of the whole training.
        step_seconds: of the middling step, before the optimiser's.
    """

    dev: list[float]
    losses: Tensor
    weights: Tensor
    cosines: Tensor
    seconds: float
    step_seconds: float


class MultiTaskModel(nn.Module):
    """A body and a head for each objective, the end task's first.

    Args:
        body: from ``input_ids`` and ``attention_mask`` to ``last_hidden_state [B, T, D]``.
    """

    def __init__(self, body: nn.Module, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.body, self.objectives = body, nn.ModuleList(objectives)

    def states(self, batch: Batch) -> Tensor:
        """``[B, T, D]``; padding is not attended."""
        return self.body(input_ids=batch["input_ids"], attention_mask=batch["mask"]).last_hidden_state.float()

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> Any:
        """Scores of the end task ``[B, K]``; with labels what a trainer wants. No other head computes anything."""
        end = self.objectives[0]
        scores = end.scores(self.states(batch), batch["mask"])
        return scores if labels is None else {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def train_multitask(
    model: MultiTaskModel,
    config: TrainingConfig,
    dev: Rows = (),
    meta: MetaWeights | None = None,
    progress: bool = True,
) -> History:
    """Train in place, and keep the weights that are best on development rows where there are any.

    Args:
        dev: the end task's; it chooses the weights, and with ``meta`` it also asks.
        meta: learns the objectives' weights; None weighs all the same (MT-TARTAN).

    Raises:
        TrainingError: ``meta`` without development rows; or an objective's loss is no finite number. The body and all
            heads are then as the step before has left them.
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
        trainer = _Together(
            model, config, dev, meta, _arguments(Path(folder), model, config, bool(dev), meta, progress)
        )
        trainer.train()
    return trainer.taught(perf_counter() - start)


def label_matched_batches(rows: Rows, size: int, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Two batches of at most ``size`` rows that hold the same labels, each as often: nobody asks for a label unheard.

    A row without a partner of its label is left out.
    """
    single: dict[int, Any] = {}
    pairs = []
    for row in (rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()):
        if (other := single.pop(row["label"], None)) is not None:
            pairs.append((other, row))
        else:
            single[row["label"]] = row
    fit, ask = zip(*pairs[:size], strict=True)
    return fit, ask


class _Steps(torch.utils.data.Dataset):
    """The batches of every step, by its number."""

    def __init__(self, shared: MultiTaskModel, plan: TrainingConfig, dev: Rows, meta: bool) -> None:
        self.shared, self.plan, self.dev, self.meta = shared, plan, dev, meta

    def __len__(self) -> int:
        return self.plan.steps(len(self.shared.objectives), self.meta)

    def __getitem__(self, step: int) -> dict[str, dict[str, Tensor]]:
        draw = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + step)
        size = self.plan.batch_size
        found = {str(i): one.draw(size, draw) for i, one in enumerate(self.shared.objectives)}
        if self.meta:
            found |= dict(
                zip(("fit", "ask"), map(rows_batch, label_matched_batches(self.dev, size, draw)), strict=True)
            )
        return found


class _Together(Trainer):
    """Trainer whose step adds one objective's gradient after another."""

    def __init__(
        self,
        shared: MultiTaskModel,
        plan: TrainingConfig,
        dev: Rows,
        meta: MetaWeights | None,
        arguments: TrainingArguments,
    ) -> None:
        self.shared, self.plan, self.meta, self.toward = shared, plan, meta, None
        self.seen, self.weights, self.took = [], [], []
        self.body = [weight for weight in shared.body.parameters() if weight.requires_grad]
        heads = [weight for one in shared.objectives for weight in one.parameters()]
        groups = [
            {"params": self.body, "lr": plan.learning_rate},
            {"params": heads, "lr": plan.head_lr_multiplier * plan.learning_rate},
        ]
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
        super().__init__(
            shared, arguments, data_collator=rows_batch, train_dataset=_Steps(shared, plan, dev, meta is not None),
            eval_dataset=dev or None, optimizers=(optimiser, None),
            compute_metrics=lambda out: classification_metrics(torch.tensor(out.predictions), out.label_ids.tolist()),
        )  # fmt: skip
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Steps in their order, each of them a batch already."""
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=None)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Leave the weighted sum of gradients where the optimiser finds it."""
        start, inputs = perf_counter(), self._prepare_inputs(inputs)
        toward = self._toward(inputs)
        model.train()
        count = len(self.shared.objectives)
        weights = torch.full((count,), 1 / count) if self.meta is None else self.meta.weights
        asked = [ObjectiveLoss(one.name, partial(self._loss, one, inputs[str(i)]), list(one.parameters()))
                 for i, one in enumerate(self.shared.objectives)]  # fmt: skip
        seen = accumulate_weighted_grads(self.body, asked, weights, toward)
        if self.meta is not None:
            self.meta.step(seen)
        self.seen.append(seen)
        self.weights.append(weights)
        self.took.append(perf_counter() - start)
        return (weights.to(seen.losses) * seen.losses).sum()

    def _loss(self, one: Objective, batch: Batch) -> Tensor:
        return one.loss(self._states(batch), batch)

    def _states(self, batch: Batch) -> Tensor:
        with self.accelerator.autocast():
            return self.shared.states(batch)

    def _toward(self, inputs: dict[str, Any]) -> Any:
        if self.meta is None:
            return None
        self.shared.eval()
        labels = self.shared.objectives[0].head.out_features
        fresh = development_gradient(self.body, self._states, inputs["fit"], inputs["ask"], labels, DECAY)
        # a few texts say little, and say it anew with each step; the body moves slowly, so what they said adds up
        keep = self.plan.ema if self.toward else 0.0
        self.toward = [part.lerp(old, keep) for part, old in zip(fresh, self.toward or fresh, strict=True)]
        return self.toward

    def taught(self, seconds: float) -> History:
        """What has been seen on the way."""
        dev = [entry["eval_macro_f1"] for entry in self.state.log_history if "eval_macro_f1" in entry]
        losses, cosines = (torch.stack([getattr(seen, what) for seen in self.seen]) for what in ("losses", "cosines"))
        return History(dev, losses.cpu(), torch.stack(self.weights), cosines.cpu(), seconds, median(self.took))


def _arguments(
    folder: Path,
    shared: MultiTaskModel,
    plan: TrainingConfig,
    judged_on_the_way: bool,
    meta: MetaWeights | None,
    progress: bool,
) -> TrainingArguments:
    choose = {
        "eval_strategy": "steps", "eval_steps": plan.eval_steps, "save_strategy": "best", "save_only_model": True,
        "load_best_model_at_end": True, "metric_for_best_model": "eval_macro_f1", "greater_is_better": True,
    }  # fmt: skip
    return TrainingArguments(
        output_dir=str(folder), max_steps=plan.steps(len(shared.objectives), meta is not None),
        per_device_eval_batch_size=128, lr_scheduler_type="cosine", warmup_steps=0.06, max_grad_norm=1.0,
        logging_strategy="no", remove_unused_columns=False, label_names=["labels"], report_to="none",
        disable_tqdm=not progress, seed=plan.seed, use_cpu=not torch.cuda.is_available(),
        bf16=plan.bf16 and best_dtype(best_device()) == torch.bfloat16,
        **(choose if judged_on_the_way else {"save_strategy": "no"}),
    )  # fmt: skip
