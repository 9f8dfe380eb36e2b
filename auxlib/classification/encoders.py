"""Frozen text encoders and their cached hidden states.

The encoder never changes, so its states are a dataset: they are computed once and kept on disk, and an epoch costs only
what is trained on them. An encoder can be cut after any layer; middle layers often suit a label better, and cost less.

Axes: ``B`` texts, ``T`` tokens, ``D`` the encoder's width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auxlib.collator import padded
from auxlib.data.assets import cache_dir
from auxlib.data.storage import Batches, by_length, load_or_build, rank_and_world_size
from auxlib.errors import TaskError
from auxlib.frozen import DEFAULTS, fingerprint, load_frozen

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_ENCODER = DEFAULTS["encoder"]
MAX_LENGTH = 64  # tokens; longer texts are truncated


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder, its tokenizer, and where they came from.

    Attributes:
        reference: the argument of `load_encoder` that loads it again.
        fingerprint: 16 hexadecimal digits over the weights of the layers in use.
        layers: number of layers in use.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reference: str
    fingerprint: str
    layers: int

    @property
    def width(self) -> int:
        """D, the size of a token's state."""
        return self.model.config.hidden_size

    def encode(self, rows: Mapping[str, Sequence[str]], length: int = MAX_LENGTH) -> list[list[int]]:
        """Return the token ids of each text, or of each pair if there is a column ``second``, truncated to ``length``.

        Raises:
            TaskError: the encoder cannot read texts of this length.
        """
        longest = self.model.config.max_position_embeddings
        if not 3 <= length <= longest:
            raise TaskError(f"length is {length}; {self.reference!r} reads from 3 to {longest} tokens of a text.")
        return self.tokenizer(rows["text"], rows.get("second"), truncation=True, max_length=length)["input_ids"]

    @torch.inference_mode()
    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the states ``[B, T, D]`` of tokens ``[B, T]``; ``mask`` is False on padding."""
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state


def load_encoder(
    reference: str | Path = DEFAULT_ENCODER,
    layers: int | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Encoder:
    """Load an encoder and freeze it.

    Args:
        reference: ``"minilm"``, a folder written by ``save_pretrained``, or a Hugging Face id.
        layers: use only the first so many layers; None uses all.
        dtype, device: as for ``load_expert``.

    Raises:
        AssetError: there is no such asset, folder or id.
        TaskError: the encoder has fewer layers.
    """
    from transformers import AutoModel

    model, tokenizer = load_frozen(AutoModel, "encoder", reference, dtype, device)
    available = model.config.num_hidden_layers
    if not 1 <= (layers := available if layers is None else layers) <= available:
        raise TaskError(f"{str(reference)!r} has {available} layers; it cannot be read up to layer {layers}.")
    stack = next(part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == available)
    del stack[layers:]
    model.config.num_hidden_layers = layers
    return Encoder(model, tokenizer, str(reference), fingerprint(model), layers)


def cache_states(
    encoder: Encoder, rows: Dataset, length: int = MAX_LENGTH, batch_tokens: int = 4096, progress: bool = True
) -> Dataset:
    """Compute the states of every text once and keep them on disk.

    Args:
        rows: with ``text`` and ``label``, and ``second`` for pairs.
        length: tokens after which a text is truncated; the number of truncated texts is printed.
        batch_tokens: tokens in a forward pass.

    Returns:
        A memory-mapped ``Dataset`` sorted by length: ``token_ids [T]``, ``hidden [T * D]`` in float16, ``label``.
    """
    from datasets import Features, List, Value

    if not len(rows):
        raise TaskError("there is no text to read.")
    encoded, labels = encoder.encode(rows[:], length), list(rows["label"])

    def compute_rows(batches: Batches) -> Iterator[dict]:
        if cut := sum(len(ids) == length for ids in encoded):
            print(f"{cut} of {len(encoded)} texts have {length} tokens or more; what follows is not read.")
        return _state_rows(encoder, encoded, labels, batches, progress)

    columns = Features({"token_ids": List(Value("int32")), "hidden": List(Value("float16")), "label": Value("int64")})
    key = json.dumps([encoder.fingerprint, str(encoder.model.dtype), encoded, labels])
    folder = cache_dir() / "states" / hashlib.sha256(key.encode()).hexdigest()[:20]
    return load_or_build(folder, columns, lambda: list(by_length(encoded, batch_tokens)), compute_rows)


def _state_rows(
    encoder: Encoder, encoded: Sequence[Sequence[int]], labels: Sequence[int], batches: Batches, progress: bool
) -> Iterator[dict]:
    from tqdm.auto import tqdm

    total, quiet = sum(map(len, batches)), not progress or rank_and_world_size()[0] > 0
    with tqdm(total=total, desc="frozen encoder reads", unit="text", disable=quiet) as bar:
        for batch in batches:
            states = encoder.read(*as_batch(encoder, [encoded[row] for row in batch])).to("cpu", torch.float16)
            for row, state in zip(batch, states, strict=True):
                tokens = encoded[row]
                yield {"token_ids": tokens, "hidden": state[: len(tokens)].flatten().numpy(), "label": labels[row]}
            bar.update(len(batch))


def mean_state(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of states ``[B, T, D]`` over each text's tokens, where ``mask [B, T]`` is True: ``[B, D]``."""
    return (hidden.float() * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def as_batch(encoder: Encoder, encoded: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return token ids ``[B, T]``, padded on the right, and their mask, both on the encoder's device."""
    ids, mask = pad_tokens(encoded)
    return ids.to(encoder.model.device), mask.to(encoder.model.device)


def pad_tokens(encoded: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return token ids ``[B, T]``, padded on the right, and a mask ``[B, T]`` that is True on tokens."""
    ids = padded([np.asarray(tokens) for tokens in encoded], np.int64)
    return ids, length_mask(encoded)


def length_mask(encoded: Sequence[Sequence[int]]) -> Tensor:
    """Return a mask ``[B, T]`` that is True on the tokens of each row and False on its padding."""
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    return torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
