"""Recipes: how the auxiliaries of the course are trained, from corpus to checkpoint.

`prepare_data` loads the frozen model and the corpus and computes its cached features; `train` fits an auxiliary to
them; `load_pretrained` loads one that ships with the course. `auxlib.generation` samples from the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.collator import FeatureCollator
from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus, text_hash
from auxlib.errors import CorpusError
from auxlib.features import EXAMPLES_PREAMBLE, TextTemplate, cache_features, choose_support, token_groups
from auxlib.frozen import DEFAULT_EXPERT, Expert, load_expert
from auxlib.keywords import continuation_mask
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.training import FeatureLoss, TrainingRun, train_auxiliary

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SHIPPED, SHIPPED_MULTI_KEYWORD, SHIPPED_LENGTH = "wordnet-keyword", "wordnet-keywords", "wordnet-length"


@dataclass(frozen=True)
class Recipe:
    """Every choice that decides what is trained; written into the receipt of the result.

    Attributes:
        corpus, sentences: which text, and how much of its training part (None: all).
        support_at_least: the auxiliary's support is the tokens seen this often in training.
        condition_dropout, negative_rate: share of training rows without a condition, and with another row's word.
        keywords: the most words that a row has as its condition.
        labels: whether keywords are labels, which describe the text and need not be in it.
    """

    expert: str = DEFAULT_EXPERT
    corpus: str = "wordnet-examples"
    sentences: int | None = None
    preamble: str = EXAMPLES_PREAMBLE
    support_at_least: int = 5
    epochs: float = 5
    batch_size: int = 48
    learning_rate: float = 1e-3
    condition_dropout: float = 0.1
    negative_rate: float = 0.2
    keywords: int = 1
    labels: bool = False
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a receipt, under the names that receipts have had from the first."""
        names = {"condition_dropout": "drop", "negative_rate": "foreign"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


QUICK = Recipe(sentences=400, epochs=2)
RECIPES = {SHIPPED: Recipe(), SHIPPED_MULTI_KEYWORD: Recipe(keywords=3), SHIPPED_LENGTH: Recipe(epochs=2)}


@dataclass(frozen=True)
class TrainingData:
    """The inputs of a training: frozen model, template, corpus, and the features cached on disk."""

    recipe: Recipe
    expert: Expert
    template: TextTemplate
    corpus: DatasetDict
    support: Tensor
    continuation_mask: Tensor
    groups: Tensor
    train: Dataset
    dev: Dataset


def prepare_data(
    recipe: Recipe, expert: Expert | None = None, progress: bool = True, corpus: DatasetDict | None = None
) -> TrainingData:
    """Load and compute everything that does not depend on the auxiliary; a second call finds it on disk.

    Args:
        recipe: what to train.
        expert: the frozen model, if it is loaded already.
        corpus: taken in the place of the recipe's, if it is given.

    Raises:
        CorpusError: the corpus has no training or no development part.
    """
    expert = expert or load_expert(recipe.expert)
    corpus = corpus or load_corpus(recipe.corpus, seed=recipe.seed, limit=recipe.sentences)
    if missing := {"train", "dev"} - set(corpus):
        raise CorpusError(
            f"corpus {recipe.corpus} has no {' and no '.join(missing)} part: it is too small to be split."
        )
    template = TextTemplate.of(expert, recipe.preamble)
    encoded = [template.encode(expert, text) for text in corpus["train"]["text"]]
    support = choose_support(encoded, expert.unembedding.shape[0], recipe.support_at_least)
    train = cache_features(expert, corpus["train"], template, support, progress=progress, encoded=encoded)
    dev = cache_features(expert, corpus["dev"], template, support, progress=progress)
    continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    groups = token_groups(encoded, continues)
    return TrainingData(recipe, expert, template, corpus, support, continues, groups, train, dev)


def labelled(data: TrainingData, label: Callable[[str], str]) -> TrainingData:
    """Return the same data with a label of each text as its only keyword; nothing is computed again."""

    def relabelled(rows: Dataset) -> Dataset:
        return rows.remove_columns("keywords").add_column("keywords", [[label(text)] for text in rows["text"]])

    recipe = replace(data.recipe, labels=True)
    return replace(data, recipe=recipe, train=relabelled(data.train), dev=relabelled(data.dev))


def length_label(text: str) -> str:
    """Return "short" (up to five words), "medium" (up to eight) or "long": about a third of WordNet's examples each."""
    words = len(text.split())
    return "short" if words <= 5 else "medium" if words <= 8 else "long"


def train(
    data: TrainingData, config: AuxiliaryConfig | None = None, output_dir: str | Path = "build/training", **options: Any
) -> tuple[AuxiliaryTunedLM, TrainingRun]:
    """Train an auxiliary; the frozen model stays as it is. Options go to ``train_auxiliary``."""
    recipe, unembedding = data.recipe, data.expert.unembedding
    torch.manual_seed(recipe.seed)
    in_text = not recipe.labels  # a label need not be written, so there is no progress with it and nothing to copy
    config = config or AuxiliaryConfig(joint_keywords=recipe.keywords > 1, progress=in_text, copy_head=in_text)
    auxiliary = AuxiliaryModel(config, unembedding, data.groups, data.support)
    loss = FeatureLoss(auxiliary, data.continuation_mask).to(unembedding.device)
    collator = FeatureCollator(
        data.expert.tokenizer,
        data.template.preamble_ids[-1],
        recipe.condition_dropout,
        recipe.negative_rate * in_text,
        seed=recipe.seed,
        max_keywords=recipe.keywords,
        must_appear=in_text,
    )
    run = train_auxiliary(
        loss,
        data.train,
        collator,
        data.dev,
        output_dir,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        **options,
    )
    model = AuxiliaryTunedLM(data.expert, auxiliary.eval(), data.template)
    model.receipt.update(
        {
            "recipe": recipe.as_dict(),
            "training_texts": {"count": len(data.train), "sha256": text_hash(data.corpus["train"]["text"])},
            "minutes": round(run.minutes, 1),
            "optimiser_steps": run.steps[-1] if run.steps else 0,
            "dev_nll": run.dev_loss,
        }
    )
    return model, run


def load_pretrained(expert: Expert | None = None, multi_keyword: bool = False) -> AuxiliaryTunedLM:
    """Load an auxiliary that ships with the course beside its frozen model.

    Args:
        expert: the frozen model, if it is loaded already.
        multi_keyword: the auxiliary that was trained to read several keywords of a sentence together.
    """
    folder = data_dir() / "checkpoints" / (SHIPPED_MULTI_KEYWORD if multi_keyword else SHIPPED)
    return AuxiliaryTunedLM.from_pretrained(folder, expert)


def scaled_down(recipe: Recipe, sentences: int, epochs: float) -> Recipe:
    """Return the same recipe on less text, for a notebook."""
    return replace(recipe, sentences=sentences, epochs=epochs)
