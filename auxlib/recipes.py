"""How is the course's auxiliary made, and how is it used? The main job, end to end, in three calls.

``material`` fetches the expert, the corpus and its cached features; ``train`` fits an auxiliary to them;
``write_sentences`` lets the pair write. The command line and the notebooks call these and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.constraints import KeywordConstraint
from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus, text_hash
from auxlib.errors import CorpusError, KeywordError
from auxlib.features import EXAMPLES_PREAMBLE, TextTemplate, cache_features, choose_support, token_groups
from auxlib.frozen import DEFAULT_EXPERT, Expert, load_expert
from auxlib.keywords import Keywords, continuation_mask, keyword_batch
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.product import as_weights
from auxlib.training import FeatureCollator, FeatureLoss, TrainingRun, train_auxiliary

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SHIPPED, SHIPPED_MULTI_KEYWORD, SHIPPED_LENGTH = "wordnet-keyword", "wordnet-keywords", "wordnet-length"
OTHER_ENDS = {"eos_token_id", "max_length", "max_time", "stop_strings", "stopping_criteria"}
SAMPLING = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 0, "max_new_tokens": 24}


@dataclass(frozen=True)
class Recipe:
    """Every choice that decides what is trained; written into the receipt of the result.

    Attributes:
        corpus, sentences: which text, and how much of its training part (None: all).
        support_at_least: the auxiliary speaks about tokens seen this often in training.
        drop, foreign: share of training rows without a condition, and with a word that is not theirs.
        keywords: how many words a row may be asked for at once.
        labels: whether its keywords are labels, which say something about the text and need not be in it.
    """

    expert: str = DEFAULT_EXPERT
    corpus: str = "wordnet-examples"
    sentences: int | None = None
    preamble: str = EXAMPLES_PREAMBLE
    support_at_least: int = 5
    epochs: float = 5
    batch_size: int = 48
    learning_rate: float = 1e-3
    drop: float = 0.1
    foreign: float = 0.2
    keywords: int = 1
    labels: bool = False
    seed: int = 0


QUICK = Recipe(sentences=400, epochs=2)
RECIPES = {SHIPPED: Recipe(), SHIPPED_MULTI_KEYWORD: Recipe(keywords=3), SHIPPED_LENGTH: Recipe(epochs=2)}


@dataclass(frozen=True)
class TrainingData:
    """What a recipe needs on the table: the expert, its frame, the corpus, and the features it left on disk."""

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
    """Load and compute everything that does not depend on the auxiliary. The second call finds it on disk.

    A ``corpus`` that is at hand already is taken as it is, whatever the recipe says.
    """
    expert = expert or load_expert(recipe.expert)
    corpus = corpus or load_corpus(recipe.corpus, seed=recipe.seed, limit=recipe.sentences)
    if missing := {"train", "dev"} - set(corpus):
        raise CorpusError(
            f"corpus {recipe.corpus} has no {' and no '.join(missing)} part: it is too small to be split."
        )
    frame = TextTemplate.of(expert, recipe.preamble)
    encoded = [frame.encode(expert, text) for text in corpus["train"]["text"]]
    support = choose_support(encoded, expert.unembedding.shape[0], recipe.support_at_least)
    train, dev = (cache_features(expert, corpus[part], frame, support, progress=progress) for part in ("train", "dev"))
    continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
    return TrainingData(recipe, expert, frame, corpus, support, continues, token_groups(encoded, continues), train, dev)


def labelled(data: TrainingData, label: Callable[[str], str]) -> TrainingData:
    """The same material with a label of each text in the place of its keywords; nothing is read again."""

    def relabelled(rows: Dataset) -> Dataset:
        return rows.remove_columns("keywords").add_column("keywords", [[label(text)] for text in rows["text"]])

    recipe = replace(data.recipe, labels=True)
    return replace(data, recipe=recipe, train=relabelled(data.train), dev=relabelled(data.dev))


def length_label(text: str) -> str:
    """Up to five words are short, up to eight medium: about a third of WordNet's examples each."""
    words = len(text.split())
    return "short" if words <= 5 else "medium" if words <= 8 else "long"


def train(
    data: TrainingData, config: AuxiliaryConfig | None = None, output_dir: str | Path = "build/training", **options: Any
) -> tuple[AuxiliaryTunedLM, TrainingRun]:
    """Train an auxiliary on the material; the expert comes out as it went in. Options go to ``train_auxiliary``."""
    recipe = data.recipe
    torch.manual_seed(recipe.seed)
    unembedding = data.expert.unembedding
    spelled = not recipe.labels  # there is no progress with a word that need not be written
    config = config or AuxiliaryConfig(joint_keywords=recipe.keywords > 1, progress=spelled, copy_head=spelled)
    auxiliary = AuxiliaryModel(config, unembedding, data.groups, data.support)
    loss = FeatureLoss(auxiliary, data.continuation_mask).to(unembedding.device)
    opening = data.template.preamble_ids[-1]
    collator = FeatureCollator(
        data.expert.tokenizer, opening, recipe.drop, recipe.foreign * spelled, seed=recipe.seed,
        max_keywords=recipe.keywords, must_appear=spelled,
    )  # fmt: skip
    run = train_auxiliary(
        loss, data.train, collator, data.dev, output_dir, epochs=recipe.epochs,
        batch_size=recipe.batch_size, learning_rate=recipe.learning_rate, seed=recipe.seed, **options,
    )  # fmt: skip
    model = AuxiliaryTunedLM(data.expert, auxiliary.eval(), data.template)
    model.receipt.update({
        "recipe": asdict(recipe),
        "training_texts": {"count": len(data.train), "sha256": text_hash(data.corpus["train"]["text"])},
        "minutes": round(run.minutes, 1),
        "optimiser_steps": run.steps[-1] if run.steps else 0,
        "dev_nll": run.dev_loss,
    })  # fmt: skip
    return model, run


def load_pretrained(expert: Expert | None = None, multi_keyword: bool = False) -> AuxiliaryTunedLM:
    """An auxiliary that comes with the repository, beside its expert: ready in seconds.

    ``several`` chooses the one that was trained to read several keywords of a sentence together.
    """
    folder = data_dir() / "checkpoints" / (SHIPPED_MULTI_KEYWORD if multi_keyword else SHIPPED)
    return AuxiliaryTunedLM.from_pretrained(folder, expert)


@torch.inference_mode()
def write_sentences(
    model: AuxiliaryTunedLM,
    keywords: Sequence[Keywords],
    weight: float | Tensor = 1.0,
    start: str = "",
    seed: int | None = 0,
    batch_size: int = 32,
    progress: bool = False,
    guarantee: bool = False,
    **generation: Any,
) -> list[str]:
    """One sentence per row of keywords.

    Args:
        keywords: a word for each sentence, several words, or None for none.
        weight: λ, one number, one per sentence, or one per word ``[B, N]``; 0 is the frozen model.
        start: how every sentence begins.
        guarantee: no sentence is over without its words (`auxlib.constraints`); ``max_new_tokens`` is then the only
            limit there can be.
        seed: for sampling; None leaves the generator as it is.
        generation: goes to ``generate``; by default nucleus 0.95 at temperature 0.8, at most 24 new tokens.

    Returns:
        The sentences, the given start included, without the preamble.

    Raises:
        KeywordError: a keyword that cannot be one; or one is guaranteed, and something else may end a text before.
    """
    options = {**SAMPLING, **generation}
    if guarantee and (ends := OTHER_ENDS & options.keys()):
        raise KeywordError(
            f"{', '.join(sorted(ends))} may end a text before its words are there; with a guarantee only "
            "max_new_tokens does."
        )
    if seed is not None:
        torch.manual_seed(seed)
    whole = keyword_batch(model.expert_info.tokenizer, keywords)  # whatever cannot be asked for is refused at once
    terms = whole.shape[1] if whole.dim() == 4 else 1
    weights = as_weights(weight, len(keywords), terms, model.device)
    written: list[str] = []
    batches = [range(len(keywords))[first : first + batch_size] for first in range(0, len(keywords), batch_size)]
    for rows in tqdm(batches, desc="writing", unit="batch", disable=not progress):
        inputs = model.inputs_for([keywords[i] for i in rows], [start] * len(rows))
        if whole.dim() == 4:  # as many terms in every batch
            inputs["keyword_ids"] = whole[list(rows)].to(model.device)
        # all rows begin alike, so one reading of the preamble serves them
        read = model.read_preamble(len(rows), terms, options.get("auxiliaries")) if _one_text_a_row(options) else None
        if guarantee:
            sure = KeywordConstraint.beside(model, inputs, options["max_new_tokens"])
            options["logits_processor"] = [*generation.get("logits_processor", ()), sure]
        ids = model.generate(**inputs, past_key_values=read, weight=weights[list(rows)], **options)
        new = ids[:, inputs["input_ids"].shape[1] :]
        written += [start + text for text in model.expert_info.tokenizer.batch_decode(new, skip_special_tokens=True)]
    return [" ".join(text.split()) for text in written]


def _one_text_a_row(options: dict[str, Any]) -> bool:
    """Beams and several texts a row make ``generate`` repeat the rows, and then it wants a cache of its own size."""
    return options.get("use_cache", True) and options.get("num_beams", 1) == options.get("num_return_sequences", 1) == 1


def scaled_down(recipe: Recipe, sentences: int, epochs: float) -> Recipe:
    """The same recipe on less text: what a notebook runs while its reader waits."""
    return replace(recipe, sentences=sentences, epochs=epochs)
