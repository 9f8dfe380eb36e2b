"""The classifiers of the comparison: label decoders, probes on the same frozen states, LoRA and full fine-tuning.

Every classifier has three settings to choose from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auxlib.classification.encoders import Encoder, load_encoder, mean_state
from auxlib.classification.ytuning import LabelConfig, LabelDecoder, name_states
from auxlib.frozen import best_dtype
from experiments.lora import add_lora
from experiments.records import Setting

MIDDLE, LAST = 4, 6  # layers of MiniLM after which the states are taken


class LinearProbe(nn.Module):
    """One linear layer on the mean of a text's states: a label decoder without layers."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return scores ``[B, K]`` from ``hidden [B, T, D]`` where ``mask [B, T]``."""
        return self.head(mean_state(hidden, mask))


class AttentionProbe(nn.Module):
    """Attention pooling with one query for all labels, then one linear layer."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)
        self.head = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return scores ``[B, K]`` from ``hidden [B, T, D]`` where ``mask [B, T]``."""
        hidden = hidden.float()
        attention = self.query(hidden).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(-1)
        return self.head((attention.unsqueeze(-1) * hidden).sum(1))


class TrainableEncoder(nn.Module):
    """A trainable encoder with a linear layer on the mean of its states."""

    def __init__(self, model: nn.Module, width: int, labels: int) -> None:
        super().__init__()
        self.model, self.head = model, nn.Linear(width, labels)

    def states(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Return states ``[B, T, D]``, computed in the precision of training: bfloat16 where that is fast."""
        dtype = best_dtype(input_ids.device)
        with torch.autocast(input_ids.device.type, dtype, enabled=dtype == torch.bfloat16):
            return self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state.float()

    def forward(self, mask: Tensor, input_ids: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        """Return scores ``[B, K]`` from tokens ``[B, T]``, or from ``hidden [B, T, D]`` if given."""
        if hidden is None:
            assert input_ids is not None, "one of input_ids and hidden must be given"
            hidden = self.states(input_ids, mask)
        return self.head(mean_state(hidden, mask))


def lora(encoder: Encoder, labels: int, rank: int = 8) -> TrainableEncoder:
    """Return the encoder with low-rank updates."""
    return TrainableEncoder(add_lora(encoder.model.requires_grad_(False), rank), encoder.width, labels)


def fine_tuned(encoder: Encoder, labels: int) -> TrainableEncoder:
    """Return the encoder with all weights trainable."""
    return TrainableEncoder(encoder.model.requires_grad_(True), encoder.width, labels)


@dataclass(frozen=True)
class ClassifierSpec:
    """One classifier of the comparison.

    Attributes:
        label: its name in tables.
        build: from an encoder and the labels' names.
        settings: what the search tries: ``rate``, and ``layer`` or ``loss`` where they are chosen.
        epochs: the most epochs; development texts choose the best.
        cached: whether it reads cached states of the frozen encoder, or the texts.
    """

    label: str
    build: Callable[[Encoder, list[str]], nn.Module]
    settings: tuple[Setting, ...]
    epochs: int = 10
    cached: bool = True

    def encoder(self, setting: Setting) -> Encoder:
        """Return the encoder for this classifier: frozen up to a layer, or a copy of its own in full precision."""
        return load_encoder(layers=setting["layer"]) if self.cached else load_encoder(dtype=torch.float32)


def on_states(*settings: tuple[float, int], **more: Any) -> tuple[Setting, ...]:
    """Return settings from pairs of learning rate and layer."""
    return tuple({"rate": rate, "layer": layer, **more} for rate, layer in settings)


def _decoder(encoder: Encoder, names: list[str]) -> LabelDecoder:
    return LabelDecoder(LabelConfig(), encoder.width, len(names))


def _named(encoder: Encoder, names: list[str]) -> LabelDecoder:
    return LabelDecoder(LabelConfig(named=True), encoder.width, name_states(encoder, names))


def _misnamed(encoder: Encoder, names: list[str]) -> LabelDecoder:
    """Return a decoder whose labels start from the names of other labels."""
    return _named(encoder, [*names[1:], names[0]])


PROBED = on_states((3e-3, MIDDLE), (3e-3, LAST), (1e-2, MIDDLE))
MATCHED = on_states((1e-3, MIDDLE), (1e-3, LAST)) + on_states((1e-3, MIDDLE), loss="margin")
SYSTEMS: dict[str, ClassifierSpec] = {
    "ytuning": ClassifierSpec("Y-Tuning (label decoder)", _decoder, MATCHED),
    "linear": ClassifierSpec("linear probe", lambda e, names: LinearProbe(e.width, len(names)), PROBED),
    "attention": ClassifierSpec("attention probe", lambda e, names: AttentionProbe(e.width, len(names)), PROBED),
    "lora": ClassifierSpec(
        "LoRA, rank 8",
        lambda e, names: lora(e, len(names)),
        ({"rate": 3e-4}, {"rate": 1e-3}, {"rate": 3e-3}),
        epochs=3,
        cached=False,
    ),
    "full": ClassifierSpec(
        "full fine-tuning",
        lambda e, names: fine_tuned(e, len(names)),
        ({"rate": 5e-5}, {"rate": 1e-4}, {"rate": 3e-4}),
        epochs=3,
        cached=False,
    ),
}
BY_NAME: dict[str, ClassifierSpec] = {
    "named": ClassifierSpec("label decoder that begins at the labels' names", _named, MATCHED),
    "misnamed": ClassifierSpec("… at the names of other labels", _misnamed, MATCHED),
}
