"""Training objectives of a shared body: each has its own texts, its own head and one loss.

Axes: ``B`` texts, ``T`` tokens, ``D`` the body's width, ``K`` labels, ``V`` tokens of the vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.classification.encoders import mean_state, pad_tokens
from auxlib.collator import IGNORE_INDEX
from auxlib.errors import TrainingError
from auxlib.tartan.meta_weights import Batch

Texts = Sequence[Sequence[int]]
Rows = Sequence[Mapping[str, Any]]


def texts_batch(texts: Texts) -> dict[str, Tensor]:
    """Collate token ids: ``input_ids [B, T]``, and ``mask [B, T]``, False on padding."""
    input_ids, mask = pad_tokens(texts)
    return {"input_ids": input_ids, "mask": mask}


def rows_batch(rows: Rows) -> dict[str, Tensor]:
    """Collate rows with ``token_ids`` and ``label``: as `texts_batch`, and ``labels [B]``."""
    return texts_batch([row["token_ids"] for row in rows]) | {"labels": torch.tensor([row["label"] for row in rows])}


class Objective(nn.Module, ABC):
    """A training objective of the shared body.

    Args:
        name: for messages and tables.
        examples: the training data; batches are drawn from it with replacement.

    Raises:
        TrainingError: there are no examples.
    """

    def __init__(self, name: str, examples: Sequence[Any]) -> None:
        super().__init__()
        if not len(examples):
            raise TrainingError(f"objective {name!r} has no text to learn from; give it some, or leave it out.")
        self.name, self.examples = name, examples

    def draw(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch of examples."""
        rows = torch.randint(len(self.examples), (size,), generator=generator).tolist()
        return self.batch([self.examples[i] for i in rows], generator)

    def batch(self, examples: Sequence[Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Collate examples, here token ids: ``input_ids`` and ``mask`` ``[B, T]``; subclasses add targets."""
        return texts_batch(examples)

    @abstractmethod
    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch from the body's states ``[B, T, D]``."""


class Classification(Objective):
    """Text classification from the mean state: the end task, or an auxiliary objective with labels.

    Args:
        rows: with ``token_ids`` and ``label``.
        width: D.
        count: K.
    """

    def __init__(self, name: str, rows: Rows, width: int, count: int) -> None:
        super().__init__(name, rows)
        self.head = nn.Linear(width, count)

    def batch(self, examples: Rows, generator: torch.Generator) -> dict[str, Tensor]:
        """Collate rows."""
        return rows_batch(examples)

    def scores(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return class logits ``[B, K]``."""
        return self.head(mean_state(states, mask))

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the labels."""
        return F.cross_entropy(self.scores(states, batch["mask"]), batch["labels"])


class CollapseObjective(Objective):
    """Harmful control objective: collapses the mean states of all texts, and with them what separates the labels.

    Args:
        texts: token ids of each.
        strength: factor of the loss.
    """

    def __init__(self, name: str, texts: Texts, strength: float = 1.0) -> None:
        super().__init__(name, texts)
        self.strength = strength

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared distance of the texts' mean states from their centre."""
        means = mean_state(states, batch["mask"])
        return self.strength * (means - means.mean(0)).square().sum(-1).mean()


class MaskedLM(Objective):
    """Masked language modelling (Devlin et al. 2019) with a head tied to the embeddings.

    Args:
        texts: token ids of each.
        embedding: the body's word embeddings ``[V, D]``; they score the tokens and are trained by this loss as well.
        mask_id: replaces 8 of 10 selected tokens; 1 is replaced by a random token, 1 stays as it is.
        maskable: which tokens can be selected, ``[V]``.
        rate: fraction of these tokens that is selected.
    """

    def __init__(
        self, name: str, texts: Texts, embedding: nn.Embedding, mask_id: int, maskable: Tensor, rate: float = 0.15
    ) -> None:
        super().__init__(name, texts)
        self.mask_id, self.maskable, self.rate = mask_id, maskable, rate
        self.tied = (embedding,)  # in a tuple, so that it is registered as a parameter of the body only
        width = embedding.embedding_dim
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def batch(self, examples: Texts, generator: torch.Generator) -> dict[str, Tensor]:
        """Collate and mask texts; ``targets [B, T]`` are the selected tokens, `IGNORE_INDEX` elsewhere."""
        batch = mask_tokens(examples, self.mask_id, self.maskable, self.rate, generator)
        masked, targets = batch["input_ids"], batch["targets"]
        kind = torch.rand(masked.shape, generator=generator)
        candidates = self.maskable.nonzero().squeeze(1)
        random = candidates[torch.randint(len(candidates), masked.shape, generator=generator)]
        replaced = torch.where(kind < 0.8, masked, torch.where(kind < 0.9, random, targets))
        return batch | {"input_ids": torch.where(targets == IGNORE_INDEX, masked, replaced)}

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the selected tokens; no other position is scored."""
        selected = batch["targets"] != IGNORE_INDEX
        scores = F.linear(self.transform(states[selected]), self.tied[0].weight, self.bias)
        return F.cross_entropy(scores, batch["targets"][selected])


class BagOfWordsMLM(Objective):
    """Masked language modelling from the mean state: predict the masked tokens, regardless of their positions.

    It trains the mean state directly, as classification does, and so needs fewer steps than `MaskedLM`.

    Args:
        texts, mask_id, maskable, rate: as for `MaskedLM`; all selected tokens are replaced by ``mask_id``.
        width: D.
    """

    def __init__(self, name: str, texts: Texts, width: int, mask_id: int, maskable: Tensor, rate: float = 0.5) -> None:
        super().__init__(name, texts)
        self.mask_id, self.maskable, self.rate = mask_id, maskable, rate
        self.head = nn.Linear(width, len(maskable))

    def batch(self, examples: Texts, generator: torch.Generator) -> dict[str, Tensor]:
        """Collate and mask texts; ``targets [B, T]`` are the masked tokens, `IGNORE_INDEX` elsewhere."""
        return mask_tokens(examples, self.mask_id, self.maskable, self.rate, generator)

    def loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of the masked tokens, each predicted from its text's mean state."""
        log_probs = self.head(mean_state(states, batch["mask"])).log_softmax(-1)
        row, column = (batch["targets"] != IGNORE_INDEX).nonzero(as_tuple=True)
        return F.nll_loss(log_probs[row], batch["targets"][row, column])


def mask_tokens(
    texts: Texts, mask_id: int, maskable: Tensor, rate: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Collate texts and replace some tokens by ``mask_id``; ``targets [B, T]`` keeps them, `IGNORE_INDEX` elsewhere.

    Each maskable token is selected with probability ``rate``; if none is selected in the whole batch, all are.
    """
    batch = texts_batch(texts)
    tokens = batch["input_ids"]
    candidates = maskable[tokens] & batch["mask"]
    selected = candidates & (torch.rand(tokens.shape, generator=generator) < rate)
    selected = selected if selected.any() else candidates
    targets = tokens.masked_fill(~selected, IGNORE_INDEX)
    return batch | {"input_ids": tokens.masked_fill(selected, mask_id), "targets": targets}
