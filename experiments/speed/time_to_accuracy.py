"""How long until the keyword is used? Seconds of training until nine of ten sentences hold the word asked for.

The same sentences for both, words of the development part to ask for, and a clock that stands still while anybody is
asked. The auxiliary's clock begins before the frozen model has read anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import TrainerCallback

from auxlib.data.corpora import load_corpus
from auxlib.features import TextTemplate
from auxlib.frozen import Expert, load_expert
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import Recipe, prepare_data, train
from experiments.smollm.fine_tuning import lora
from experiments.smollm.headline import held_out_words
from experiments.speed.baselines import baseline_trainer
from experiments.speed.train import LORA_EPOCHS, LORA_RATE, unread

if TYPE_CHECKING:
    from datasets import DatasetDict

GOAL, SENTENCES, WORDS = 0.9, 2000, 200
RATE, EPOCHS = 2e-3, 10  # as in the comparison of the rivals, like LoRA's
FIRST, GROWTH = 30.0, 1.4  # seconds before the first question, and by how much later ones come later
PATIENCE = 6.0  # times the auxiliary's own time, then LoRA is stopped


@dataclass
class TimeToAccuracyCallback(TrainerCallback):
    """Asks whoever is being trained, at growing intervals, and stops it at the goal or when its time is up.

    Attributes:
        ask: the share of words that a model uses.
        budget: seconds of training.
        spent: seconds so far; those before the training began may be given.
        seen: pairs of seconds and share.
    """

    ask: Callable[[nn.Module], float]
    budget: float = inf
    spent: float = 0.0
    seen: list[tuple[float, float]] = field(default_factory=list)

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Start the clock."""
        self.since, self.next = perf_counter(), self.spent + FIRST

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **known: Any) -> None:
        """Stop the clock, ask, go on."""
        self.spent += perf_counter() - self.since
        over = self.spent >= self.budget or state.global_step == state.max_steps
        if over or self.spent >= self.next:
            self.seen.append((self.spent, self.ask(model.eval())))
            model.train()
            self.next = self.spent * GROWTH
            control.should_training_stop = over or self.seen[-1][1] >= GOAL
        self.since = perf_counter()


def time_to_accuracy_figures(
    sentences: int = SENTENCES, words: int = WORDS, patience: float = PATIENCE
) -> dict[str, Any]:
    """Seconds to the goal, and their ratio; where LoRA was stopped before it, the ratio is an upper bound."""
    expert, corpus, asked = load_expert(), load_corpus(limit=sentences), held_out_words(load_corpus(), "dev")[:words]
    ours = auxiliary_curve(expert, corpus, asked)
    rival = lora_curve(expert, corpus, asked, budget=patience * ours[-1][0])
    return {
        "time_to_090_ratio_lora": ours[-1][0] / rival[-1][0],
        "reached": {"auxiliary": ours[-1][1] >= GOAL, "LoRA": rival[-1][1] >= GOAL},
        "seconds_and_accuracy": {"auxiliary": ours, "LoRA": rival},
        "reach_sentences": len(corpus["train"]),
        "reach_words": len(asked),
    }


def auxiliary_curve(expert: Expert, corpus: DatasetDict, words: Sequence[str]) -> list[tuple[float, float]]:
    """Pairs of seconds and accuracy; the reading is in the first of them."""
    read = unread(prepare_data(Recipe(epochs=EPOCHS, learning_rate=RATE), expert, progress=False, corpus=corpus))
    start = perf_counter()
    stuff = read()

    def ask(loss: nn.Module) -> float:
        return share(words, write_sentences(AuxiliaryTunedLM(expert, loss.auxiliary, stuff.template), words))

    watch = TimeToAccuracyCallback(ask, spent=perf_counter() - start)
    with TemporaryDirectory() as folder:
        train(stuff, output_dir=folder, progress=False, save_strategy="no", callbacks=[watch])
    return watch.seen


def lora_curve(expert: Expert, corpus: DatasetDict, words: Sequence[str], budget: float) -> list[tuple[float, float]]:
    """The same for LoRA, which reads the request in words."""
    system, frame = lora(expert), TextTemplate.of(expert)
    watch = TimeToAccuracyCallback(
        lambda model: share(words, system.write(words, frame.end_id, min_new_tokens=1)), budget
    )
    with TemporaryDirectory() as folder:
        options = {"learning_rate": LORA_RATE, "num_train_epochs": LORA_EPOCHS, "callbacks": [watch]}
        baseline_trainer(system, frame, corpus["train"], Path(folder), **options).train()
    return watch.seen


def share(words: Sequence[str], texts: Sequence[str]) -> float:
    """Of the words that stand in their texts."""
    return sum(map(contains_keyword, texts, words)) / len(words)
