"""What are label vectors good for, beside accuracy? Learning from few labels, and knowing a label by its name alone."""

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
from experiments.ytuning.setup import TrainingSetup
from experiments.ytuning.systems import ClassifierSpec, Setting

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# one group of each field: whoever was trained on the other fifteen has met its neighbours, and never itself
UNSEEN = ("comp.graphics", "rec.sport.baseball", "sci.med", "soc.religion.christian", "talk.politics.mideast")
JUDGED = 2000  # test texts: enough to tell two points apart, and few enough to be read again by every tuned encoder


def few(texts: DatasetDict, each: int, seed: int) -> DatasetDict:
    """As many training texts of every label, no more development texts than that, and `JUDGED` of the test texts."""
    from datasets import DatasetDict

    train = texts["train"].shuffle(seed=seed)
    met: Counter[int] = Counter()
    taken = []
    for row, label in enumerate(train["label"]):
        met[label] += 1
        if met[label] <= each:
            taken.append(row)
    dev = texts["dev"].shuffle(seed=seed).select(range(min(len(taken), len(texts["dev"]))))
    test = texts["test"].shuffle(seed=0).select(range(min(JUDGED, len(texts["test"]))))
    return DatasetDict({"train": train.select(taken), "dev": dev, "test": test})


def with_labels(rows: Dataset, names: list[str]) -> Dataset:
    """Only the texts of some labels, which are then all labels there are."""
    from datasets import ClassLabel, Value

    known = label_names(rows)
    number = {known.index(name): i for i, name in enumerate(names)}
    kept = rows.filter(lambda row: row["label"] in number).cast_column("label", Value("int64"))
    return kept.map(lambda row: {"label": number[row["label"]]}).cast_column("label", ClassLabel(names=names))


def unseen(system: ClassifierSpec, setting: Setting, texts: DatasetDict, seed: int) -> dict[str, float]:
    """Trained on all labels but some, asked to tell those apart by their names alone.

    Returns:
        ``accuracy`` among the unseen labels (each guess is one of them), ``seen`` among the others, and ``cosine``:
        the label whose name is nearest to the text for the whole encoder, without any training.
    """
    from datasets import DatasetDict

    seen = [name for name in label_names(texts["train"]) if name not in UNSEEN]
    desk = TrainingSetup(
        system, setting, DatasetDict({part: with_labels(rows, seen) for part, rows in texts.items()}), seed
    )
    desk.learn()
    found = {"seen": desk.judge()["accuracy"]}
    desk.texts = DatasetDict({"test": with_labels(texts["test"], list(UNSEEN))})
    desk.module = desk.module.with_labels(name_states(desk.encoder, UNSEEN))
    return found | {"accuracy": desk.judge()["accuracy"], "cosine": _nearest_name(load_encoder(), desk.texts["test"])}


def _nearest_name(encoder: Encoder, rows: Dataset) -> float:
    """Accuracy of the label whose name points the way the text does."""

    class Nearest(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return F.normalize(mean_state(hidden, mask), dim=-1) @ names.T

    names = F.normalize(name_states(encoder, label_names(rows)), dim=-1)
    read = FeatureRows(cache_states(encoder, rows, progress=False), plain="label")
    return classification_metrics(predict_logits(Nearest(), read, states_batch), labels_of(read))["accuracy"]
