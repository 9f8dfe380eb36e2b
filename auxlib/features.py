"""The feature cache: a frozen language model's hidden states over a corpus, computed once.

A frozen model gives the same hidden states in every epoch, so they are computed once and stored on disk as an Arrow
table (`datasets`, memory-mapped): training then costs the auxiliary and one unembedding product, never the frozen
model. Per token the table holds one vector of D floats and the log-mass of the tokens outside the support; logits, V
floats a token, are never stored.

A text is laid out as ``preamble + text + end``: the preamble is a fixed text that only the frozen model reads (it shows
what kind of sentence is wanted), the end is the token that closes a text after that preamble.

Axes: ``B`` texts, ``T`` tokens, ``D`` the frozen model's width, ``V`` vocabulary, ``S`` support.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auxlib.data.assets import cache_dir
from auxlib.data.storage import Batches, by_length, load_or_build, rank_and_world_size
from auxlib.errors import CorpusError
from auxlib.frozen import Expert

if TYPE_CHECKING:
    from datasets import Dataset

CLOSING, CONTINUING = 0, 1  # the groups of token_groups
CHUNK_ROWS = 256  # rows of V logits that are computed together
CACHE_VERSION = 4  # counts up when the columns or their precision change: no older cache is taken for a new one
# shows the frozen model what is wanted: short, everyday example sentences, one a line; written for this course
EXAMPLES_PREAMBLE = (
    "Example sentences:\n"
    "The dog barked at the postman.\n"
    "She plays the violin very well.\n"
    "A narrow street.\n"
    "The committee rejected his proposal.\n"
    "Do not lean on the fence.\n"
    "Prices rose sharply in the autumn.\n"
)


@dataclass(frozen=True)
class TextTemplate:
    """The layout of a text: ``preamble_ids + text ids + end_id``.

    ``preamble_ids`` is never empty: without a preamble it is the end-of-text token, which also opens a text.
    """

    preamble_ids: tuple[int, ...]
    end_id: int

    @classmethod
    def of(cls, expert: Expert, preamble: str = EXAMPLES_PREAMBLE) -> TextTemplate:
        """Tokenise a preamble. If it ends in a line break, the line break ends every text."""
        opening = expert.end_of_text_id
        ids = expert.tokenizer(preamble, add_special_tokens=False)["input_ids"] if preamble else []
        return cls((opening, *ids), ids[-1] if preamble.endswith("\n") else opening)

    def encode(self, expert: Expert, text: str) -> list[int]:
        """Return the ids of one text with its end, without the preamble."""
        return [*expert.tokenizer(text, add_special_tokens=False)["input_ids"], self.end_id]


def choose_support(sequences: Sequence[Sequence[int]], vocabulary: int, at_least: int = 3) -> Tensor:
    """Return the support of an auxiliary: the tokens seen ``at_least`` times in training, sorted, ``[S]``.

    Outside the support the frozen model's logits stay as they are; they enter the normaliser as one cached number.
    """
    counts = torch.zeros(vocabulary, dtype=torch.long)
    for sequence in sequences:
        counts += torch.bincount(torch.tensor(sequence), minlength=vocabulary)
    return (counts >= at_least).nonzero().squeeze(-1)


def token_groups(sequences: Sequence[Sequence[int]], continues: Tensor, at_least: int = 5) -> Tensor:
    """Return the groups of tokens whose logits an auxiliary raises and lowers together, ``[V, 2]``.

    The first group closes a text: the end itself, and the tokens that stood right before it ``at_least`` times. A full
    stop that must not come yet thereby carries the meaning of the line break after it, which no training text shows.
    The second group carries a word on (``continuation_mask``).
    """
    closing = torch.zeros_like(continues)
    counts = Counter(sequence[-2] for sequence in sequences if len(sequence) > 1)
    ends = {sequence[-1] for sequence in sequences}
    closing[sorted(ends | {token for token, seen in counts.items() if seen >= at_least})] = True
    return torch.stack([closing, continues & ~closing], 1)


def cache_features(
    expert: Expert,
    dataset: Dataset,
    template: TextTemplate,
    support: Tensor | None = None,
    dtype: torch.dtype = torch.float16,
    batch_tokens: int = 1024,
    progress: bool = True,
    encoded: Sequence[Sequence[int]] | None = None,
) -> Dataset:
    """Run the frozen model over a corpus once and store what training needs.

    Args:
        dataset: rows with ``text`` and ``keywords``.
        template: preamble and end of every text.
        support: token ids ``[S]`` of the auxiliary's support; None means the whole vocabulary.
        dtype: of the stored vectors; float16 halves the size of float32 and moves the loss by less than 1e-3.
        batch_tokens: tokens in one batch of the frozen model.
        encoded: the texts as `TextTemplate.encode` gives them, when they are tokenised already.

    Returns:
        A memory-mapped ``Dataset`` sorted by length with columns ``text``, ``keywords``, ``token_ids`` (the text and
        its end, ``[T]``), ``hidden`` (``[T * D]``, the state that predicts each of those tokens),
        ``log_mass_outside_support`` (``[T]``, ``log Σ_{v∉S} exp(lm_logits_v)``, ``-inf`` for the whole vocabulary)
        and ``log_z`` (``[T]``, over all tokens). The folder's name is a hash of everything the numbers depend on.

    Raises:
        CorpusError: the corpus is empty.
    """
    from datasets import Features, List, Value

    if not len(dataset):
        raise CorpusError("there is no text to cache.")

    @cache
    def token_ids() -> Sequence[Sequence[int]]:
        return [template.encode(expert, text) for text in dataset["text"]] if encoded is None else encoded

    columns = Features(
        {
            "text": Value("string"),
            "keywords": List(Value("string")),
            "token_ids": List(Value("int32")),
            "hidden": List(Value(str(dtype).removeprefix("torch."))),
            "log_mass_outside_support": List(Value("float32")),
            "log_z": List(Value("float32")),
        }
    )

    def read(batches: Batches) -> Iterator[dict]:
        return _feature_rows(expert, dataset, token_ids(), batches, template, support, dtype, progress)

    folder = cache_dir() / "features" / _cache_key(expert, dataset, template, support, dtype)
    return load_or_build(folder, columns, lambda: list(by_length(token_ids(), batch_tokens)), read)


def _cache_key(
    expert: Expert, dataset: Dataset, template: TextTemplate, support: Tensor | None, dtype: torch.dtype
) -> str:
    settings = [CACHE_VERSION, expert.fingerprint, asdict(template), str(dtype), str(expert.model.dtype)]
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(b"all" if support is None else support.numpy().tobytes())
    for row in dataset.select_columns(["text", "keywords"]):
        digest.update(json.dumps([row["text"], row["keywords"]]).encode())
    return digest.hexdigest()[:20]


def _feature_rows(
    expert: Expert,
    dataset: Dataset,
    encoded: Sequence[Sequence[int]],
    batches: Batches,
    template: TextTemplate,
    support: Tensor | None,
    dtype: torch.dtype,
    progress: bool,
) -> Iterator[dict]:
    from tqdm.auto import tqdm

    source = dataset.select_columns(["text", "keywords"])
    prefix, total = read_preamble(expert, template), sum(len(encoded[row]) for batch in batches for row in batch)
    quiet = not progress or rank_and_world_size()[0] > 0
    with tqdm(total=total, desc="frozen expert reads", unit="token", disable=quiet) as bar:
        for batch in batches:
            ids = [encoded[row] for row in batch]
            hidden = read_texts(expert, prefix, ids, template)
            outside, log_z = normalisers(expert, hidden, support)
            for i, (row, tokens) in enumerate(zip(batch, ids, strict=True)):
                yield {
                    **source[row],
                    "token_ids": tokens,
                    "hidden": hidden[i, : len(tokens)].to("cpu", dtype).flatten().numpy(),
                    "log_mass_outside_support": outside[i, : len(tokens)].cpu().numpy(),
                    "log_z": log_z[i, : len(tokens)].cpu().numpy(),
                }
            bar.update(sum(map(len, ids)))


@torch.inference_mode()
def normalisers(expert: Expert, hidden: Tensor, support: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the frozen model's log-mass outside the support and over all tokens, ``[B, T, D]`` to ``[B, T]`` each.

    In place and a few rows at a time, because V logits a token are the largest tensor of all. In full precision, as the
    loss is: logits of 20 in bfloat16 are a tenth apart.
    """
    outside, log_z, matrix = [], [], expert.unembedding.float()
    for rows in hidden.flatten(0, 1).split(CHUNK_ROWS):
        lm_logits = rows.float() @ matrix.T
        top = lm_logits.amax(-1)
        shares = lm_logits.sub_(top.unsqueeze(-1)).exp_()
        log_z.append(shares.sum(-1).log() + top)
        shares[:, slice(None) if support is None else support.to(hidden.device)] = 0.0
        outside.append(shares.sum(-1).log() + top)
    return torch.cat(outside).view(hidden.shape[:2]), torch.cat(log_z).view(hidden.shape[:2])


@torch.inference_mode()
def read_preamble(expert: Expert, template: TextTemplate) -> tuple[Any, Tensor]:
    """Return the frozen model's cache after the preamble, and its last hidden state there, ``[1, 1, D]``."""
    ids = torch.tensor([template.preamble_ids], device=expert.model.device)
    out = expert.model.base_model(ids, use_cache=True)
    return out.past_key_values, out.last_hidden_state[:, -1:]


@torch.inference_mode()
def read_texts(
    expert: Expert, prefix: tuple[Any, Tensor], texts: Sequence[Sequence[int]], template: TextTemplate
) -> Tensor:
    """Return final hidden states ``[B, T, D]``: position t predicts the text's token t, the end included."""
    cache, opening = prefix
    cache = copy.deepcopy(cache)
    cache.batch_repeat_interleave(len(texts))
    length = max(map(len, texts))
    if length == 1:
        return opening.expand(len(texts), -1, -1)
    ids = torch.full((len(texts), length), template.end_id, device=expert.model.device)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    # the last column only closes the longest text; padding needs no mask, as it lies to the right
    hidden = expert.model.base_model(ids[:, :-1], past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([opening.expand(len(texts), -1, -1), hidden], 1)
