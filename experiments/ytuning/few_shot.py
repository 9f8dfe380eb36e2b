"""Few labelled texts, and labels that are known by their name alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from auxlib.classification.encoders import Encoder, cache_states, load_encoder, mean_state
from auxlib.classification.trainer import classification_metrics, labels_of, predict_logits, states_batch
from auxlib.classification.ytuning import name_states
from auxlib.collator import FeatureRows
from auxlib.data.tasks import label_names
from experiments.records import Setting
from experiments.ytuning.setup import TrainingSetup
from experiments.ytuning.systems import ClassifierSpec

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# one newsgroup of each field: training on the other fifteen includes its neighbours, but never itself
UNSEEN = ("comp.graphics", "rec.sport.baseball", "sci.med", "soc.religion.christian", "talk.politics.mideast")
TESTED = 2000  # test texts: enough to tell two points of accuracy apart, few enough for every trainable encoder


def few_per_label(texts: DatasetDict, each: int, seed: int) -> DatasetDict:
    """Return ``each`` training texts of every label, at most as many development texts, and `TESTED` test texts."""
    from datasets import DatasetDict

    train = texts["train"].shuffle(seed=seed)
    counts: Counter[int] = Counter()
    taken = []
    for row, label in enumerate(train["label"]):
        counts[label] += 1
        if counts[label] <= each:
            taken.append(row)
    dev = texts["dev"].shuffle(seed=seed).select(range(min(len(taken), len(texts["dev"]))))
    test = texts["test"].shuffle(seed=0).select(range(min(TESTED, len(texts["test"]))))
    return DatasetDict({"train": train.select(taken), "dev": dev, "test": test})


def with_labels(rows: Dataset, names: list[str]) -> Dataset:
    """Return the texts of some labels, which become the only labels of the dataset."""
    from datasets import ClassLabel, Value

    all_names = label_names(rows)
    number = {all_names.index(name): i for i, name in enumerate(names)}
    kept = rows.filter(lambda row: row["label"] in number).cast_column("label", Value("int64"))
    return kept.map(lambda row: {"label": number[row["label"]]}).cast_column("label", ClassLabel(names=names))


def unseen_labels(system: ClassifierSpec, setting: Setting, texts: DatasetDict, seed: int) -> dict[str, float]:
    """Train on all labels but `UNSEEN`, and classify the texts of those by the labels' names alone.

    Returns:
        ``accuracy`` among the unseen labels (each prediction is one of them), ``seen`` among the others, and
        ``cosine``: that of the label whose name is nearest to the text for the whole encoder, without training.
    """
    from datasets import DatasetDict

    seen = [name for name in label_names(texts["train"]) if name not in UNSEEN]
    kept = DatasetDict({part: with_labels(rows, seen) for part, rows in texts.items()})
    setup = TrainingSetup(system, setting, kept, seed)
    setup.learn()
    figures = {"seen": setup.evaluate()["accuracy"]}
    setup.texts = DatasetDict({"test": with_labels(texts["test"], list(UNSEEN))})
    setup.module = setup.module.with_labels(name_states(setup.encoder, UNSEEN))
    cosine = _nearest_name(load_encoder(), setup.texts["test"])
    return figures | {"accuracy": setup.evaluate()["accuracy"], "cosine": cosine}


def _nearest_name(encoder: Encoder, rows: Dataset) -> float:
    """Return the accuracy of the label whose name has the largest cosine with the text."""

    class Nearest(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return F.normalize(mean_state(hidden, mask), dim=-1) @ names.T

    names = F.normalize(name_states(encoder, label_names(rows)), dim=-1)
    states = FeatureRows(cache_states(encoder, rows, progress=False), plain="label")
    return classification_metrics(predict_logits(Nearest(), states, states_batch), labels_of(states))["accuracy"]
