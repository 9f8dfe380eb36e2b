"""Systems that read the keyword in a prompt: untrained, fine-tuned with all weights, or by LoRA."""

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
from auxlib.frozen import Expert
from auxlib.keywords import choose_keyword
from experiments.flops import ComputeLedger, counted_by_torch
from experiments.lora import add_lora
from experiments.records import Setting
from experiments.smollm.prompt import PromptedModel
from experiments.smollm.setup import WritingSetup
from experiments.training import BATCH, quiet_trainer, trainer_arguments

if TYPE_CHECKING:
    from datasets import Dataset


class PromptedSystem:
    """A prompted model as a system of the comparison.

    Attributes:
        setup: sentences, words and judge of one seed.
        system: the model with its prompt; `learn` trains it in place.
    """

    def __init__(self, setup: WritingSetup, system: PromptedModel) -> None:
        self.setup, self.system = setup, system

    def learn(self, setting: Setting) -> dict[str, Any]:
        """Train with a setting and return the costs; without one do nothing."""
        return fine_tune(self.system, self.setup, setting["rate"], int(setting["epochs"])) if setting else {}

    def write(self, words: Sequence[str], **generation: Any) -> list[str]:
        """Return one line for each word."""
        return self.system.write(words, self.setup.frame.end_id, self.setup.seed, **generation)

    def nll(self, rows: Dataset) -> float | None:
        """Return nats per token of sentences given their headwords.

        None for a chat prompt: it closes a text with another token, so the scored tokens would differ.
        """
        if self.system.chat:
            return None
        words = [row["keywords"][0] for row in rows]
        return self.system.nll(words, [self.setup.ids(text) for text in rows["text"]])

    def forgetting(self) -> float:
        """Return by how many nats per token other text, without a request, scores worse than under the frozen model."""
        texts = [self.setup.ids(gloss) for gloss in self.setup.glosses]
        now, before = (
            PromptedModel(self.setup.expert, lambda word: "", model).nll([""] * len(texts), texts)
            for model in (self.system.model, self.setup.expert.model)
        )
        return now - before


def fine_tuned(expert: Expert) -> PromptedModel:
    """Return a copy of the expert with all weights trainable."""
    return PromptedModel(expert, model=copy.deepcopy(expert.model).requires_grad_(True))


def lora(expert: Expert, rank: int = 16) -> PromptedModel:
    """Return a copy of the expert with low-rank updates."""
    return PromptedModel(expert, model=add_lora(copy.deepcopy(expert.model), rank, task_type="CAUSAL_LM"))


def collate(
    system: PromptedModel, frame: TextTemplate, rng: random.Random, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Return a batch of corpus rows, each with one of its keywords drawn anew, as for the auxiliary."""
    words = [choose_keyword(row["keywords"], rng) or "" for row in rows]
    return system.batch(words, [frame.encode(system.expert, row["text"]) for row in rows])


def fine_tune(system: PromptedModel, setup: WritingSetup, rate: float, epochs: int) -> dict[str, Any]:
    """Train in place by `transformers.Trainer`, keep the epoch that is best on dev, and return the costs.

    Low-rank updates are then merged into the layers, so that a written token costs no more than before.
    """
    train, dev = (_with_length(setup, setup.corpus[part]) for part in ("train", "dev"))
    collator = partial(collate, system, setup.frame, random.Random(setup.seed))
    rows = sorted(train, key=lambda row: row["length"])
    middle = collator(rows[(len(rows) - BATCH) // 2 :][:BATCH])
    # batches hold rows of one length: the cost of a token in one of them is the cost in all
    times = epochs * float(collator(rows)["attention_mask"].sum() / middle["attention_mask"].sum())
    costs, start = step_costs(system, middle), perf_counter()
    with TemporaryDirectory() as folder:
        arguments = trainer_arguments(
            folder,
            num_train_epochs=epochs,
            learning_rate=rate,
            per_device_eval_batch_size=BATCH,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_only_model=True,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            prediction_loss_only=True,
            seed=setup.seed,
        )
        trainer = quiet_trainer(system.model, arguments, data_collator=collator, train_dataset=train, eval_dataset=dev)
        trainer.train()
    system.model = getattr(system.model, "merge_and_unload", lambda: system.model)().eval()
    spent = {name: times * costs.pop(f"step_{name}") for name in ("flops", "flops_by_rule")}
    return {**costs, **spent, "steps": trainer.state.global_step, "train_seconds": round(perf_counter() - start)}


def step_costs(system: PromptedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the cost of one training step, by torch's counter and by the rule of `ComputeLedger`."""
    inputs = system.on_device(batch)

    def step() -> Tensor:
        return system.model(**inputs).loss

    ledger = ComputeLedger.of(system.model, step, len(batch["labels"]))
    counted = counted_by_torch(lambda: step().backward())
    system.zero_grad()
    return {
        "step_flops": counted,
        "step_flops_by_rule": ledger.step_flops,
        "learning": ledger.learning,
        "memory_bytes": ledger.memory_bytes,
        "task_bytes": ledger.task_bytes,
    }


def _with_length(setup: WritingSetup, rows: Dataset) -> Dataset:
    """Add the number of tokens, by which rows are grouped into batches."""
    return rows.add_column("length", [len(setup.ids(text)) for text in rows["text"]])
