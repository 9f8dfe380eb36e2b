"""What if the labels are what learns? Y-Tuning (Liu, An and Qiu 2022, arXiv 2202.09817).

A frozen encoder has read a text; its states stay as they are. Every label has a vector of its own, which looks at the
other labels and at the text's states, and is then asked how well it fits. No gradient enters the encoder.

From the paper's abstract: dense label representations, aligned to fixed features, without tuning either the features
of the text or the model. Its full text could not be had, so the rest is a reconstruction of ours: how many blocks,
what a block is (the one of the keyword auxiliary: attention among the labels, attention to the text, a feed-forward
net), the score, the margin of the loss (that it is a margin loss is from memory), and labels that begin at their names.

Axes: ``B`` texts, ``T`` tokens, ``K`` labels, ``D`` the encoder's width, ``d`` the labels'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.auxiliary import Block
from auxlib.checkpoint import read_files, write_files
from auxlib.classification.encoders import LENGTH, Encoder, as_batch, load_encoder, mean_state
from auxlib.errors import CheckpointError, TaskError
from auxlib.frozen import require_same_expert

MARGIN = 1.0
CHUNK_ROWS = 128  # texts that are read together


@dataclass(frozen=True)
class LabelConfig:
    """The shape of a label decoder.

    Attributes:
        width, layers, heads: of its blocks; the width is that of a label's vector.
        dropout: share of the text's states that a block does not see in training.
        named: whether a label's vector begins at what the encoder says about its name. Such a decoder can be asked
            about labels that it was not trained on.
    """

    width: int = 96
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1
    named: bool = False


class LabelDecoder(nn.Module):
    """Scores for all labels of a text, from the frozen states of its tokens.

    Args:
        config: its shape.
        encoder_width: D.
        labels: K, how many there are; or for a named decoder what the encoder says about their names, ``[K, D]``.
    """

    def __init__(self, config: LabelConfig, encoder_width: int, labels: int | Tensor) -> None:
        super().__init__()
        if config.named != isinstance(labels, Tensor):
            raise TaskError("a named decoder needs the states of its labels' names [K, D], another one their number K.")
        count = len(labels) if isinstance(labels, Tensor) else labels
        self.config = config
        self.text = nn.Sequential(nn.RMSNorm(encoder_width), nn.Linear(encoder_width, config.width, bias=False))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.out = nn.RMSNorm(config.width)
        # a named label begins at its name, and learns what is particular about it
        self.own = nn.Parameter(torch.zeros(count, config.width) if config.named else _spread(count, config.width))
        self.bias = nn.Parameter(torch.zeros(count))
        if config.named:
            self.name = nn.Linear(encoder_width, config.width, bias=False)
            self.register_buffer("names", F.normalize(labels.detach().float(), dim=-1) * encoder_width**0.5)

    @property
    def embeddings(self) -> Tensor:
        """A vector for every label, before it has looked at a text: ``[K, d]``."""
        return self.own + self.name(self.names) if self.config.named else self.own

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Scores ``[B, K]`` from ``hidden [B, T, D]``, of which ``mask [B, T]`` is True where a row has a token."""
        own = self.embeddings
        labels = own.expand(len(hidden), -1, -1)
        text, seen = self.text(hidden.float()), mask[:, None, None]
        if self.training:  # a label must not hang on a single token; the first one always stays
            seen = seen & (torch.rand_like(mask[:, None, None], dtype=torch.float) >= self.config.dropout)
            seen[..., 0] = True
        among = torch.ones(1, 1, 1, len(own), dtype=torch.bool, device=hidden.device)
        for block in self.blocks:
            labels = block(labels, among, text, seen, None, 0)
        # how far a label has moved towards what it stands for: one rule for all, none has a place of its own
        moved = self.out(labels - own)
        return (moved * F.normalize(own, dim=-1)).sum(-1) + self.bias

    def renamed(self, names: Tensor) -> LabelDecoder:
        """The same decoder for other labels, of which only the names are known: what the encoder says of them, [K, D].

        Raises:
            TaskError: this decoder does not read names.
        """
        if not self.config.named:
            raise TaskError("this decoder knows its labels by number only; train one with LabelConfig(named=True).")
        other = LabelDecoder(self.config, names.shape[1], names)
        keep = {k: v for k, v in self.state_dict().items() if k not in ("own", "bias", "names")}
        other.load_state_dict(keep, strict=False)
        return other.to(self.own.device).train(self.training)


def _spread(count: int, width: int) -> Tensor:
    """Label vectors to begin with: of one length, in random directions."""
    return F.normalize(torch.randn(count, width), dim=-1) * width**0.5


def margin_loss(scores: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over texts of ``Σ_{k≠c} max(0, margin − s_c + s_k)``: no other label may come near the right one c.

    Args:
        scores: ``[B, K]``.
        labels: ``[B]``.
    """
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


LOSSES = {"margin": margin_loss, "softmax": F.cross_entropy}


def name_states(encoder: Encoder, names: Sequence[str]) -> Tensor:
    """What the encoder says about each label's name, the mean over its tokens: ``[K, D]``."""
    ids, mask = as_batch(encoder, encoder.encode({"text": [spoken(name) for name in names]}))
    return mean_state(encoder.read(ids, mask), mask)


def spoken(name: str) -> str:
    """A label's name as words: ``rec.sport.baseball`` is "rec sport baseball"."""
    return " ".join(name.replace(".", " ").replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True)
class LabelTuned:
    """A frozen encoder and a label decoder beside it: texts in, labels out.

    Attributes:
        names: of the labels, in the order of the scores.
        length: tokens of a text that are read.
        receipt: how the decoder was made.
    """

    encoder: Encoder
    decoder: LabelDecoder
    names: tuple[str, ...]
    length: int = LENGTH
    receipt: dict[str, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def scores(self, texts: Sequence[str], second: Sequence[str] | None = None) -> Tensor:
        """One row a text, one column a label: ``[B, K]``."""
        if not texts or any(not text.strip() for text in texts):
            raise TaskError("there is a text without a word; leave it out, there is nothing to tell it by.")
        rows = {"text": list(texts)} | ({} if second is None else {"second": list(second)})
        encoded, found = self.encoder.encode(rows, self.length), []
        for start in range(0, len(encoded), CHUNK_ROWS):
            ids, mask = as_batch(self.encoder, encoded[start : start + CHUNK_ROWS])
            found.append(self.decoder.eval()(self.encoder.read(ids, mask), mask))
        return torch.cat(found)

    def predict(self, texts: Sequence[str], second: Sequence[str] | None = None) -> list[str]:
        """The name of the best label of each text."""
        return [self.names[best] for best in self.scores(texts, second).argmax(-1).tolist()]

    def save(self, folder: str | Path) -> None:
        """Write the decoder, and who its encoder is: two files, each whole or not at all."""
        known = {"reference": self.encoder.reference, "fingerprint": self.encoder.fingerprint}
        settings = {
            "decoder": asdict(self.decoder.config), "encoder": {**known, "layers": self.encoder.layers},
            "names": list(self.names), "length": self.length, "receipt": self.receipt,
        }  # fmt: skip
        write_files(folder, "labels", self.decoder, settings)

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder | None = None) -> LabelTuned:
        """Read both files.

        Args:
            encoder: an already loaded one; by default the one the decoder names.

        Raises:
            CheckpointError: a file is missing, truncated, or not a label decoder.
            ExpertMismatch: the encoder is not the one the decoder was trained beside.
        """
        settings, weights = read_files(folder, "labels", "decoder", "encoder.fingerprint", "names", "length", "receipt")
        known, names = settings["encoder"], tuple(settings["names"])
        encoder = encoder or load_encoder(known["reference"], known["layers"])
        require_same_expert(encoder, known["fingerprint"], f"the label decoder in {folder}")
        try:
            config = LabelConfig(**settings["decoder"])
            decoder = LabelDecoder(config, encoder.width, weights["names"] if config.named else len(names))
            decoder.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder} does not hold the decoder that it describes: {error}") from error
        device = encoder.model.device
        return cls(encoder, decoder.float().to(device).eval(), names, settings["length"], settings["receipt"])
