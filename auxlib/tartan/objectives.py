"""What may be asked of a body that is shared? Every objective has texts of its own, a head of its own, and one loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import mean_state
from auxlib.collator import IGNORE_INDEX, padded
from auxlib.errors import TrainingError
from auxlib.tartan.meta_weights import Batch

Texts = Sequence[Sequence[int]]
Rows = Sequence[Mapping[str, Any]]


def texts_batch(texts: Texts) -> dict[str, Tensor]:
    """Token ids of texts side by side: ``input_ids [B, T]``, and ``mask [B, T]``, True where a row has a token."""
    lengths = torch.tensor([len(text) for text in texts])
    input_ids = padded([np.asarray(text) for text in texts], np.int64)
    return {"input_ids": input_ids, "mask": torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)}


def rows_batch(rows: Rows) -> dict[str, Tensor]:
    """The same for rows with ``token_ids`` and ``label``: ``labels [B]`` beside the texts."""
    return texts_batch([row["token_ids"] for row in rows]) | {"labels": torch.tensor([row["label"] for row in rows])}


class Objective(nn.Module, ABC):
    """One who asks something of the body.

    Args:
        name: in messages and tables.
        asked: what there is to learn from; a batch is drawn from it with replacement.

    Raises:
        TrainingError: there is nothing to learn from.
    """

    def __init__(self, name: str, asked: Sequence[Any]) -> None:
        super().__init__()
        if not len(asked):
            raise TrainingError(f"objective {name!r} has no text to learn from; give it some, or leave it out.")
        self.name, self.asked = name, asked

    def draw(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A batch of its texts."""
        drawn = torch.randint(len(self.asked), (size,), generator=generator).tolist()
        return self.batch([self.asked[i] for i in drawn], generator)

    @abstractmethod
    def batch(self, asked: Sequence[Any], generator: torch.Generator) -> dict[str, Tensor]:
        """``input_ids`` and ``mask`` ``[B, T]``, and what is asked about them."""

    @abstractmethod
    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """From the body's states ``[B, T, D]`` of this batch."""


class Classification(Objective):
    """Which label has a text? The end task, or another that has labels.

    Args:
        rows: with ``token_ids`` and ``label``.
        width: D.
        count: K.
    """

    def __init__(self, name: str, rows: Rows, width: int, count: int) -> None:
        super().__init__(name, rows)
        self.head = nn.Linear(width, count)

    def batch(self, asked: Rows, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows as they are."""
        return rows_batch(asked)

    def scores(self, states: Tensor, mask: Tensor) -> Tensor:
        """``[B, K]`` from the mean of a text's states."""
        return self.head(mean_state(states, mask))

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the right labels."""
        return F.cross_entropy(self.scores(states, batch["mask"]), batch["labels"])


class CollapseObjective(Objective):
    """One who does harm: all texts are to look alike. What tells them apart is what it takes away.

    Args:
        texts: token ids of each.
        strength: of what the body is told.
    """

    def __init__(self, name: str, texts: Texts, strength: float = 1.0) -> None:
        super().__init__(name, texts)
        self.strength = strength

    def batch(self, asked: Texts, generator: torch.Generator) -> dict[str, Tensor]:
        """Texts as they are."""
        return texts_batch(asked)

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """The mean squared distance of a text's mean state from that of them all."""
        means = mean_state(states, batch["mask"])
        return self.strength * (means - means.mean(0)).square().sum(-1).mean()


class MaskedLM(Objective):
    """Which words have been hidden? Masked language modelling (Devlin et al. 2019) with a head tied to the embeddings.

    Args:
        texts: token ids of each.
        embedding: the body's own word embeddings ``[V, D]``; they score the words, and learn from that too.
        mask_id: what stands in a hidden word's place: in 8 of 10, a random word in 1, the word itself in 1.
        hideable: which tokens may be hidden, ``[V]``.
        share: of those, so many are hidden.
    """

    def __init__(
        self, name: str, texts: Texts, embedding: nn.Embedding, mask_id: int, hideable: Tensor, share: float = 0.15
    ) -> None:
        super().__init__(name, texts)
        self.mask_id, self.hideable, self.share = mask_id, hideable, share
        self.tied = (embedding,)  # in a tuple: it is a part of the body, and no second one of the head
        width = embedding.embedding_dim
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def batch(self, asked: Texts, generator: torch.Generator) -> dict[str, Tensor]:
        """``targets [B, T]``: the word where one is hidden, `IGNORE_INDEX` elsewhere."""
        batch = hidden_batch(asked, self.mask_id, self.hideable, self.share, generator)
        words, targets = batch["input_ids"], batch["targets"]
        kind = torch.rand(words.shape, generator=generator)
        known = self.hideable.nonzero().squeeze(1)
        other = known[torch.randint(len(known), words.shape, generator=generator)]
        shown = torch.where(kind < 0.8, words, torch.where(kind < 0.9, other, targets))
        return batch | {"input_ids": torch.where(targets == IGNORE_INDEX, words, shown)}

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the hidden words; no other word is scored."""
        hidden = batch["targets"] != IGNORE_INDEX
        scores = F.linear(self.transform(states[hidden]), self.tied[0].weight, self.bias)
        return F.cross_entropy(scores, batch["targets"][hidden])


class BagOfWordsMLM(Objective):
    """Which words belong into this text? As above, but told from the mean of its states, wherever they stood.

    What a whole text is about is asked directly, as by a label; so it is learned in fewer steps than word by word.

    Args:
        texts, mask_id, hideable, share: as for `MaskedLM`.
        width: D.
    """

    def __init__(self, name: str, texts: Texts, width: int, mask_id: int, hideable: Tensor, share: float = 0.5) -> None:
        super().__init__(name, texts)
        self.mask_id, self.hideable, self.share = mask_id, hideable, share
        self.head = nn.Linear(width, len(hideable))

    def batch(self, asked: Texts, generator: torch.Generator) -> dict[str, Tensor]:
        """``targets [B, T]``: the word where one is missing, `IGNORE_INDEX` elsewhere."""
        return hidden_batch(asked, self.mask_id, self.hideable, self.share, generator)

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the missing words, each told from its whole text."""
        told = self.head(mean_state(states, batch["mask"])).log_softmax(-1)
        row, column = (batch["targets"] != IGNORE_INDEX).nonzero(as_tuple=True)
        return F.nll_loss(told[row], batch["targets"][row, column])


def hidden_batch(
    texts: Texts, mask_id: int, hideable: Tensor, share: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Texts with some words replaced by ``mask_id``; ``targets [B, T]`` holds them, `IGNORE_INDEX` elsewhere.

    Each word that may be hidden is with probability ``share``; if chance spares a whole batch, all are.
    """
    batch = texts_batch(texts)
    words = batch["input_ids"]
    can = hideable[words] & batch["mask"]
    hidden = can & (torch.rand(words.shape, generator=generator) < share)
    hidden = hidden if hidden.any() else can
    return batch | {
        "input_ids": words.masked_fill(hidden, mask_id),
        "targets": words.masked_fill(~hidden, IGNORE_INDEX),
    }
