"""Training time until nine of ten sampled sentences hold their keyword, for the auxiliary and for LoRA.

Both train on the same sentences and are evaluated on words of the development part, with the clock stopped. The
auxiliary's time includes the frozen model's forward pass over all sentences.
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
from auxlib.training import FeatureLoss
from experiments.smollm.fine_tuning import lora
from experiments.smollm.headline import held_out_words
from experiments.speed.baselines import baseline_trainer
from experiments.speed.train import LORA_EPOCHS, LORA_RATE, drop_cache

if TYPE_CHECKING:
    from datasets import DatasetDict

GOAL, SENTENCES, WORDS = 0.9, 2000, 200
RATE, EPOCHS = 2e-3, 10  # as chosen in the comparison with SmolLM2, like LoRA's
FIRST, GROWTH = 30.0, 1.4  # seconds before the first evaluation, and the factor between later ones
PATIENCE = 6.0  # LoRA is stopped after so many times the auxiliary's time


@dataclass
class TimeToAccuracyCallback(TrainerCallback):
    """A callback that evaluates at growing intervals, and stops at the goal or when the budget is spent.

    Attributes:
        measure: the accuracy of a model.
        budget: seconds of training.
        spent: seconds so far; may start with those before the training.
        curve: pairs of seconds and accuracy.
    """

    measure: Callable[[Any], float]
    budget: float = inf
    spent: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Start the clock."""
        self.since, self.next = perf_counter(), self.spent + FIRST

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Stop the clock, evaluate if it is time, and go on."""
        model: nn.Module = options["model"]
        self.spent += perf_counter() - self.since
        over = self.spent >= self.budget or state.global_step == state.max_steps
        if over or self.spent >= self.next:
            self.curve.append((self.spent, self.measure(model.eval())))
            model.train()
            self.next = self.spent * GROWTH
            control.should_training_stop = over or self.curve[-1][1] >= GOAL
        self.since = perf_counter()


def time_to_accuracy_figures(
    sentences: int = SENTENCES, words: int = WORDS, patience: float = PATIENCE
) -> dict[str, Any]:
    """Return the seconds to the goal and their ratio, an upper bound where LoRA was stopped before the goal."""
    expert, corpus = load_expert(), load_corpus(limit=sentences)
    keywords = held_out_words(load_corpus(), "dev")[:words]
    ours = auxiliary_curve(expert, corpus, keywords)
    theirs = lora_curve(expert, corpus, keywords, budget=patience * ours[-1][0])
    return {
        "time_to_090_ratio_lora": ours[-1][0] / theirs[-1][0],
        "reached": {"auxiliary": ours[-1][1] >= GOAL, "LoRA": theirs[-1][1] >= GOAL},
        "seconds_and_accuracy": {"auxiliary": ours, "LoRA": theirs},
        "reach_sentences": len(corpus["train"]),
        "reach_words": len(keywords),
    }


def auxiliary_curve(expert: Expert, corpus: DatasetDict, words: Sequence[str]) -> list[tuple[float, float]]:
    """Return pairs of seconds and accuracy; the first includes the forward pass of the frozen model."""
    recipe = Recipe(epochs=EPOCHS, learning_rate=RATE)
    prepare_again = drop_cache(prepare_data(recipe, expert, progress=False, corpus=corpus))
    start = perf_counter()
    data = prepare_again()

    def measure(loss: FeatureLoss) -> float:
        return share(words, write_sentences(AuxiliaryTunedLM(expert, loss.auxiliary, data.template), words))

    watch = TimeToAccuracyCallback(measure, spent=perf_counter() - start)
    with TemporaryDirectory() as folder:
        train(data, output_dir=folder, progress=False, save_strategy="no", callbacks=[watch])
    return watch.curve


def lora_curve(expert: Expert, corpus: DatasetDict, words: Sequence[str], budget: float) -> list[tuple[float, float]]:
    """Return pairs of seconds and accuracy of LoRA, which reads the keyword in a prompt."""
    system, frame = lora(expert), TextTemplate.of(expert)
    watch = TimeToAccuracyCallback(
        lambda model: share(words, system.write(words, frame.end_id, min_new_tokens=1)), budget
    )
    with TemporaryDirectory() as folder:
        options = {"learning_rate": LORA_RATE, "num_train_epochs": LORA_EPOCHS}
        baseline_trainer(system, frame, corpus["train"], Path(folder), [watch], **options).train()
    return watch.curve


def share(words: Sequence[str], texts: Sequence[str]) -> float:
    """Return the share of words that occur in their texts."""
    return sum(map(contains_keyword, texts, words)) / len(words)
