"""Who tells texts apart, beside the label decoder? Two probes on the same frozen states; and the encoder itself, tuned
by a few new weights or by all of them. Whoever learns has three settings to choose from, no more and no fewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auxlib.classification.encoders import Encoder, load_encoder, mean_state
from auxlib.classification.ytuning import LabelConfig, LabelDecoder, name_states
from auxlib.frozen import best_dtype

Setting = Mapping[str, Any]
MIDDLE, LAST = 4, 6  # layers of MiniLM: where the states are taken


class LinearProbe(nn.Module):
    """One linear layer on the mean of a text's states: a label decoder of no layers."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Scores ``[B, K]`` from ``hidden [B, T, D]`` where ``mask [B, T]``."""
        return self.head(mean_state(hidden, mask))


class AttentionProbe(nn.Module):
    """One query for all labels chooses where in the text to look; then one linear layer."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)
        self.head = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Scores ``[B, K]`` from ``hidden [B, T, D]`` where ``mask [B, T]``."""
        hidden = hidden.float()
        looked = self.query(hidden).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(-1)
        return self.head((looked.unsqueeze(-1) * hidden).sum(1))


class Tuned(nn.Module):
    """An encoder that learns, and a linear layer on the mean of its states."""

    def __init__(self, model: nn.Module, width: int, labels: int) -> None:
        super().__init__()
        self.model, self.head = model, nn.Linear(width, labels)

    def states(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """``[B, T, D]``, in the precision that it was trained in: `fit` computes in bfloat16 where that is fast."""
        dtype = best_dtype(input_ids.device)
        with torch.autocast(input_ids.device.type, dtype, enabled=dtype == torch.bfloat16):
            return self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state.float()

    def forward(self, mask: Tensor, input_ids: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        """Scores ``[B, K]`` from tokens ``[B, T]``, or from states that are given."""
        return self.head(mean_state(self.states(input_ids, mask) if hidden is None else hidden, mask))


def lora(encoder: Encoder, labels: int, rank: int = 8) -> Tuned:
    """Low-rank updates beside all linear layers (Hu et al. 2021), by `peft`."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return Tuned(get_peft_model(encoder.model.requires_grad_(False), config), encoder.width, labels)


def all_weights(encoder: Encoder, labels: int) -> Tuned:
    """Full fine-tuning."""
    return Tuned(encoder.model.requires_grad_(True), encoder.width, labels)


@dataclass(frozen=True)
class ClassifierSpec:
    """One who takes part.

    Attributes:
        label: its name in tables.
        build: from an encoder and the labels' names.
        settings: what a search tries: ``rate``, and ``layer`` or ``loss`` where they are to be chosen.
        epochs: at most so many; development texts choose the best.
        cached: whether it reads states that were kept, or the texts.
    """

    label: str
    build: Callable[[Encoder, list[str]], nn.Module]
    settings: tuple[Setting, ...]
    epochs: int = 10
    cached: bool = True

    def encoder(self, setting: Setting) -> Encoder:
        """The encoder as this system reads it: frozen up to a layer, or a copy of its own in full precision."""
        return load_encoder(layers=setting["layer"]) if self.cached else load_encoder(dtype=torch.float32)


def on_states(*settings: tuple[float, int], **more: Any) -> tuple[Setting, ...]:
    """Pairs of learning rate and layer."""
    return tuple({"rate": rate, "layer": layer, **more} for rate, layer in settings)


def _decoder(encoder: Encoder, names: list[str]) -> LabelDecoder:
    return LabelDecoder(LabelConfig(), encoder.width, len(names))


def _named(encoder: Encoder, names: list[str]) -> LabelDecoder:
    return LabelDecoder(LabelConfig(named=True), encoder.width, name_states(encoder, names))


def _misnamed(encoder: Encoder, names: list[str]) -> LabelDecoder:
    """Every label begins at the name of another."""
    return _named(encoder, [*names[1:], names[0]])


PROBED = on_states((3e-3, MIDDLE), (3e-3, LAST), (1e-2, MIDDLE))
MATCHED = on_states((1e-3, MIDDLE), (1e-3, LAST)) + on_states((1e-3, MIDDLE), loss="margin")
SYSTEMS: dict[str, ClassifierSpec] = {
    "ytuning": ClassifierSpec("Y-Tuning (label decoder)", _decoder, MATCHED),
    "linear": ClassifierSpec("linear probe", lambda e, names: LinearProbe(e.width, len(names)), PROBED),
    "attention": ClassifierSpec("attention probe", lambda e, names: AttentionProbe(e.width, len(names)), PROBED),
    "lora": ClassifierSpec(
        "LoRA, rank 8", lambda e, names: lora(e, len(names)), ({"rate": 3e-4}, {"rate": 1e-3}, {"rate": 3e-3}), 3, False
    ),
    "full": ClassifierSpec(
        "full fine-tuning", lambda e, names: all_weights(e, len(names)),
        ({"rate": 5e-5}, {"rate": 1e-4}, {"rate": 3e-4}), 3, False,
    ),
}  # fmt: skip
BY_NAME: dict[str, ClassifierSpec] = {
    "named": ClassifierSpec("label decoder that begins at the labels' names", _named, MATCHED),
    "misnamed": ClassifierSpec("… at the names of other labels", _misnamed, MATCHED),
}
