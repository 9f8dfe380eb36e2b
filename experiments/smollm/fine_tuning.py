"""How do those take part who are told the keyword in words? Untrained, or trained on sentences that answer requests,
by a few new weights or by all."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from auxlib.features import TextTemplate
from auxlib.flops import ComputeLedger, counted_by_torch
from auxlib.frozen import Expert
from auxlib.keywords import choose_keyword
from experiments.smollm.prompt import Prompted
from experiments.smollm.setup import WritingSetup

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

BATCH = 16


class PromptedSystem:
    """One who is told the keyword in words."""

    def __init__(self, bench: WritingSetup, system: Prompted) -> None:
        self.bench, self.system = bench, system

    def learn(self, setting: Mapping[str, float]) -> dict[str, Any]:
        """Train, if there is a setting to train with, and say what it cost."""
        return tune(self.system, self.bench, setting["rate"], int(setting["epochs"])) if setting else {}

    def write(self, words: Sequence[str], **generation: Any) -> list[str]:
        """One line for each word."""
        return self.system.write(words, self.bench.frame.end_id, self.bench.seed, **generation)

    def nll(self, rows: Dataset) -> float | None:
        """Nats per token of sentences given their headwords; None for who closes a text in another way."""
        if self.system.chat:
            return None
        words = [row["keywords"][0] for row in rows]
        return self.system.nll(words, [self.bench.ids(text) for text in rows["text"]])

    def forgotten(self) -> float:
        """By how many nats per token other text, asked for nothing, is read worse than by the frozen model."""
        texts = [self.bench.ids(gloss) for gloss in self.bench.glosses]
        now, then = (
            Prompted(self.bench.expert, lambda word: "", model).nll([""] * len(texts), texts)
            for model in (self.system.model, self.bench.expert.model)
        )
        return now - then


def all_weights(expert: Expert) -> Prompted:
    """A copy of the expert, all of which may learn."""
    return Prompted(expert, model=copy.deepcopy(expert.model).requires_grad_(True))


def lora(expert: Expert, rank: int = 16) -> Prompted:
    """A copy of the expert with low-rank updates beside all linear layers but the last (Hu et al. 2021), by `peft`."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return Prompted(expert, model=get_peft_model(copy.deepcopy(expert.model), config))


def collate(
    system: Prompted, frame: TextTemplate, draw: random.Random, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Rows of a corpus to a batch, each asked for one of its own words, drawn anew as for the auxiliary."""
    words = [choose_keyword(row["keywords"], draw) for row in rows]
    return system.batch(words, [frame.encode(system.expert, row["text"]) for row in rows])


def tune(system: Prompted, bench: WritingSetup, rate: float, epochs: int) -> dict[str, Any]:
    """Train in place by `transformers.Trainer`, keep the epoch that is best on dev, and say what it cost.

    What was learned beside the layers is then added into them, so that a written token costs what it did.
    """
    train, dev = (_with_length(bench, bench.corpus[part]) for part in ("train", "dev"))
    ask = partial(collate, system, bench.frame, random.Random(bench.seed))
    rows = sorted(train, key=lambda row: row["length"])
    middling = ask(rows[(len(rows) - BATCH) // 2 :][:BATCH])
    # batches hold rows of one length: what a token costs in one of them it costs in all
    times = epochs * float(ask(rows)["attention_mask"].sum() / middling["attention_mask"].sum())
    costs, start = weigh(system, middling), perf_counter()
    with TemporaryDirectory() as folder:
        trainer = _trainer(system, train, dev, ask, _arguments(folder, rate, epochs, bench.seed))
        trainer.train()
    system.model = getattr(system.model, "merge_and_unload", lambda: system.model)().eval()
    spent = {name: times * costs.pop(f"step_{name}") for name in ("flops", "flops_by_rule")}
    return {**costs, **spent, "steps": trainer.state.global_step, "train_seconds": round(perf_counter() - start)}


def weigh(system: Prompted, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """What one step costs, by torch's counter and by the rule."""
    here = system.on_device(batch)

    def step() -> Tensor:
        return system.model(**here).loss

    ledger = ComputeLedger.of(system.model, step, len(batch["labels"]))
    counted = counted_by_torch(lambda: step().backward())
    system.zero_grad()
    return {
        "step_flops": counted, "step_flops_by_rule": ledger.step_flops, "learning": ledger.learning,
        "memory_bytes": ledger.memory_bytes, "task_bytes": ledger.task_bytes,
    }  # fmt: skip


def _with_length(bench: WritingSetup, rows: Dataset) -> Dataset:
    """Rows with the length by which they are put into batches."""
    return rows.add_column("length", [len(bench.ids(text)) for text in rows["text"]])


def _trainer(system: Prompted, train: Dataset, dev: Dataset, ask: Any, arguments: TrainingArguments) -> Trainer:
    from transformers import PrinterCallback, Trainer

    trainer = Trainer(system.model, arguments, data_collator=ask, train_dataset=train, eval_dataset=dev)
    trainer.remove_callback(PrinterCallback)  # without a bar it prints every log line instead
    return trainer


def _arguments(folder: str, rate: float, epochs: int, seed: int) -> TrainingArguments:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=BATCH, learning_rate=rate,
        per_device_eval_batch_size=BATCH, lr_scheduler_type="cosine", warmup_steps=0.1, adam_beta2=0.98,
        weight_decay=0.01, max_grad_norm=1.0, eval_strategy="epoch", save_strategy="epoch", save_only_model=True,
        save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="eval_loss", greater_is_better=False,
        train_sampling_strategy="group_by_length", length_column_name="length", remove_unused_columns=False,
        prediction_loss_only=True, report_to="none", disable_tqdm=True, seed=seed,
    )  # fmt: skip
