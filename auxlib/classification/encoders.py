"""What does a frozen encoder say about texts that are to be told apart, once and for all?

An *encoder* reads a whole text at once and gives every token a vector. It is read and never written, so its states are
a dataset: computed once, kept on disk, and every epoch after that costs only what is trained on them. It may be cut
after any layer: what a label needs often stands in the middle, and reading less is cheaper.
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
LENGTH = 64  # tokens of a text that are read


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder, its tokenizer, and where they came from.

    Attributes:
        layers: how many of its layers are read.
        fingerprint: 16 hexadecimal digits over all weights that are read.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reference: str
    fingerprint: str
    layers: int

    @property
    def width(self) -> int:
        """D, numbers a token."""
        return self.model.config.hidden_size

    def encode(self, rows: Mapping[str, Sequence[str]], length: int = LENGTH) -> list[list[int]]:
        """Token ids of each text, or of each pair where there is a column ``second``; cut after ``length``.

        Raises:
            TaskError: no text of this length could be read.
        """
        longest = self.model.config.max_position_embeddings
        if not 3 <= length <= longest:
            raise TaskError(f"length is {length}; {self.reference!r} reads from 3 to {longest} tokens of a text.")
        return self.tokenizer(rows["text"], rows.get("second"), truncation=True, max_length=length)["input_ids"]

    @torch.inference_mode()
    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The states ``[B, T, D]`` of tokens ``[B, T]``; ``mask`` is False where a row has none."""
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
        layers: read only so many, from the first on; None reads all.
        dtype, device: as for ``load_expert``.

    Raises:
        AssetError: there is no such asset, folder or id.
        TaskError: it has not as many layers.
    """
    from transformers import AutoModel

    model, tokenizer = load_frozen(AutoModel, "encoder", reference, dtype, device)
    whole = model.config.num_hidden_layers
    if not 1 <= (layers := whole if layers is None else layers) <= whole:
        raise TaskError(f"{str(reference)!r} has {whole} layers; it cannot be read up to layer {layers}.")
    stack = next(part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == whole)
    del stack[layers:]
    model.config.num_hidden_layers = layers
    return Encoder(model, tokenizer, str(reference), fingerprint(model), layers)


def cache_states(
    encoder: Encoder, rows: Dataset, length: int = LENGTH, batch_tokens: int = 4096, progress: bool = True
) -> Dataset:
    """Read every text once and keep the states.

    Args:
        rows: with ``text`` and ``label``, and ``second`` for pairs.
        length: tokens of a text that are read; how many texts were longer is said once, when they are read.
        batch_tokens: how many tokens are read at once.

    Returns:
        A memory-mapped ``Dataset`` sorted by length: ``token_ids [T]``, ``hidden [T * D]`` in float16, ``label``.
    """
    from datasets import Features, List, Value

    if not len(rows):
        raise TaskError("there is no text to read.")
    encoded, labels = encoder.encode(rows[:], length), list(rows["label"])

    def read(batches: Batches) -> Iterator[dict]:
        if cut := sum(len(ids) == length for ids in encoded):
            print(f"{cut} of {len(encoded)} texts have {length} tokens or more; what follows is not read.")
        return _state_rows(encoder, encoded, labels, batches, progress)

    columns = Features({"token_ids": List(Value("int32")), "hidden": List(Value("float16")), "label": Value("int64")})
    key = json.dumps([encoder.fingerprint, str(encoder.model.dtype), encoded, labels])
    folder = cache_dir() / "states" / hashlib.sha256(key.encode()).hexdigest()[:20]
    return load_or_build(folder, columns, lambda: list(by_length(encoded, batch_tokens)), read)


def _state_rows(
    encoder: Encoder, encoded: Sequence[Sequence[int]], labels: Sequence[int], batches: Batches, progress: bool
) -> Iterator[dict]:
    from tqdm.auto import tqdm

    total = sum(map(len, batches))
    with tqdm(
        total=total, desc="frozen encoder reads", unit="text", disable=not progress or rank_and_world_size()[0] > 0
    ) as bar:
        for batch in batches:
            ids, mask = as_batch(encoder, [encoded[row] for row in batch])
            states = encoder.read(ids, mask).to("cpu", torch.float16)
            for row, state in zip(batch, states, strict=True):
                tokens = encoded[row]
                yield {"token_ids": tokens, "hidden": state[: len(tokens)].flatten().numpy(), "label": labels[row]}
            bar.update(len(batch))


def mean_state(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of states ``[B, T, D]`` over a text's own tokens, where ``mask [B, T]`` is True: ``[B, D]``."""
    return (hidden.float() * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def as_batch(encoder: Encoder, encoded: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids ``[B, T]`` with padding to the right, and the mask that is True where a row has a token."""
    ids = padded([np.asarray(tokens) for tokens in encoded], np.int64)
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    mask = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
    return ids.to(encoder.model.device), mask.to(encoder.model.device)
