"""Y-Tuning: learn label representations beside a frozen encoder (Liu, An and Qiu 2022, arXiv 2202.09817).

Each label has an embedding that attends to the other labels and to the encoder's states of a text; a score measures how
far the text has moved it towards itself. No gradient enters the encoder.

From the paper's abstract: dense label representations, aligned to fixed features, without tuning either the features
of the text or the model. The full text was not available, so the rest is our reconstruction: the number of blocks, the
block itself (that of the keyword auxiliary: attention among the labels, attention to the text, a feed-forward net), the
score, the size of the margin (that the loss is a margin loss is from memory), and initial embeddings from label names.

Axes: ``B`` texts, ``T`` tokens, ``K`` labels, ``D`` the encoder's width, ``d`` the width of the label embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.auxiliary import Block
from auxlib.checkpoint import read_files, write_files
from auxlib.classification.encoders import MAX_LENGTH, Encoder, as_batch, cache_states, load_encoder, mean_state
from auxlib.classification.trainer import Loss, classification_metrics, fit, labels_of, predict_logits, states_batch
from auxlib.collator import FeatureRows
from auxlib.data.tasks import PARTS, label_names, load_task
from auxlib.errors import CheckpointError, TaskError
from auxlib.frozen import require_same_expert

MARGIN = 1.0
DEFAULT_LAYERS = 4  # of MiniLM's six
CHUNK_ROWS = 128  # texts in a forward pass


@dataclass(frozen=True)
class LabelConfig:
    """The shape of a label decoder.

    Attributes:
        width, layers, heads: of its blocks; the width is d.
        dropout: fraction of the text's states that are masked in training.
        named: start each label embedding from the encoder's state of the label's name. Such a decoder can also score
            labels that it was not trained on.
    """

    width: int = 96
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1
    named: bool = False


class LabelDecoder(nn.Module):
    """Scores of all labels from the frozen states of a text.

    Args:
        encoder_width: D.
        labels: K; for a named decoder the encoder's states of the label names, ``[K, D]``.

    Raises:
        TaskError: ``labels`` does not fit ``config.named``.
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
        # a named label learns an offset from its name; others start in random directions, all with norm √d
        random = None if config.named else F.normalize(torch.randn(count, config.width), dim=-1) * config.width**0.5
        self.own = nn.Parameter(torch.zeros(count, config.width) if random is None else random)
        self.bias = nn.Parameter(torch.zeros(count))
        if isinstance(labels, Tensor):
            self.name = nn.Linear(encoder_width, config.width, bias=False)
            self.register_buffer("names", F.normalize(labels.detach().float(), dim=-1) * encoder_width**0.5)

    @property
    def embeddings(self) -> Tensor:
        """Label embeddings before they attend to a text, ``[K, d]``."""
        return self.own + self.name(self.names) if self.config.named else self.own

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return scores ``[B, K]`` from states ``hidden [B, T, D]``; ``mask [B, T]`` is False on padding."""
        own = self.embeddings
        labels = own.expand(len(hidden), -1, -1)
        text, visible = self.text(hidden.float()), mask[:, None, None]
        if self.training:  # dropout of whole tokens; the first is always kept, so that no text is empty
            visible = visible & (torch.rand_like(mask[:, None, None], dtype=torch.float) >= self.config.dropout)
            visible[..., 0] = True
        all_labels = torch.ones(1, 1, 1, len(own), dtype=torch.bool, device=hidden.device)
        for block in self.blocks:
            labels = block(labels, all_labels, text, visible, None, 0)
        # how far a label has moved along its own embedding: the same rule for all labels, so it extends to new ones
        moved = self.out(labels - own)
        return (moved * F.normalize(own, dim=-1)).sum(-1) + self.bias

    def with_labels(self, names: Tensor) -> LabelDecoder:
        """Return a decoder with the same shared weights for other labels, given the states of their names ``[K, D]``.

        Raises:
            TaskError: this decoder is not named.
        """
        if not self.config.named:
            raise TaskError("this decoder knows its labels by number only; train one with LabelConfig(named=True).")
        other = LabelDecoder(self.config, names.shape[1], names)
        shared = {k: v for k, v in self.state_dict().items() if k not in ("own", "bias", "names")}
        other.load_state_dict(shared, strict=False)
        return other.to(self.own.device).train(self.training)


def margin_loss(scores: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """Return the mean over texts of ``Σ_{k≠c} max(0, margin − s_c + s_k)``, c being the correct label.

    Args:
        scores: ``[B, K]``.
        labels: ``[B]``.
    """
    correct = scores.gather(1, labels.unsqueeze(1))
    violation = (margin - correct + scores).clamp(min=0)
    return violation.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


LOSSES: dict[str, Loss] = {"margin": margin_loss, "softmax": F.cross_entropy}


def name_states(encoder: Encoder, names: Sequence[str]) -> Tensor:
    """Return the encoder's mean state of each label's name, ``[K, D]``."""
    ids, mask = as_batch(encoder, encoder.encode({"text": [label_text(name) for name in names]}))
    return mean_state(encoder.read(ids, mask), mask)


def label_text(name: str) -> str:
    """Return a label's name as words: ``rec.sport.baseball`` gives "rec sport baseball"."""
    return " ".join(re.sub("[._-]", " ", name).split())


@dataclass(frozen=True)
class LabelTuned:
    """A frozen encoder with a trained label decoder: texts in, labels out.

    Attributes:
        names: of the labels, in the order of the scores.
        length: tokens after which a text is truncated.
        receipt: how the decoder was trained.
    """

    encoder: Encoder
    decoder: LabelDecoder
    names: tuple[str, ...]
    length: int = MAX_LENGTH
    receipt: dict[str, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def scores(self, texts: Sequence[str], second: Sequence[str] | None = None) -> Tensor:
        """Return the scores of all labels, ``[B, K]``.

        Raises:
            TaskError: there is no text, or an empty one.
        """
        if not texts or any(not text.strip() for text in texts):
            raise TaskError("expected at least one text, and in each at least one word; found a text without a word.")
        rows = {"text": list(texts)} | ({} if second is None else {"second": list(second)})
        encoded, scores = self.encoder.encode(rows, self.length), []
        for start in range(0, len(encoded), CHUNK_ROWS):
            ids, mask = as_batch(self.encoder, encoded[start : start + CHUNK_ROWS])
            scores.append(self.decoder.eval()(self.encoder.read(ids, mask), mask))
        return torch.cat(scores)

    def predict(self, texts: Sequence[str], second: Sequence[str] | None = None) -> list[str]:
        """Return the name of the label with the highest score, for each text."""
        return [self.names[best] for best in self.scores(texts, second).argmax(-1).tolist()]

    def save(self, folder: str | Path) -> None:
        """Write the decoder's weights, and its settings with the reference of its encoder; each file atomically."""
        encoder = {key: getattr(self.encoder, key) for key in ("reference", "fingerprint", "layers")}
        settings = {"decoder": asdict(self.decoder.config), "encoder": encoder, "names": list(self.names)}
        write_files(folder, "labels", self.decoder, {**settings, "length": self.length, "receipt": self.receipt})

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder | None = None) -> LabelTuned:
        """Read a folder written by `save`.

        Args:
            encoder: an encoder that is already loaded; by default it is loaded by its reference.

        Raises:
            CheckpointError: a file is missing, truncated, or not of a label decoder.
            ExpertMismatch: the encoder is not the one that the decoder was trained with.
        """
        settings, weights = read_files(folder, "labels", "decoder", "encoder.fingerprint", "names", "length", "receipt")
        saved, names = settings["encoder"], tuple(settings["names"])
        encoder = encoder or load_encoder(saved["reference"], saved["layers"])
        require_same_expert(encoder, saved["fingerprint"], f"the label decoder in {folder}")
        try:
            config = LabelConfig(**settings["decoder"])
            decoder = LabelDecoder(config, encoder.width, weights["names"] if config.named else len(names))
            decoder.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder} does not hold the decoder that it describes: {error}") from error
        device = encoder.model.device
        return cls(encoder, decoder.float().to(device).eval(), names, settings["length"], settings["receipt"])


def train_labels(
    task: str | Path,
    encoder: Encoder | None = None,
    config: LabelConfig | None = None,
    loss: str = "softmax",
    epochs: int = 10,
    learning_rate: float = 1e-3,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = True,
) -> LabelTuned:
    """Train a label decoder on a task, beside a frozen encoder.

    Args:
        task: as for ``load_task``.
        encoder: by default MiniLM up to its fourth layer of six.
        config: of the decoder.
        loss: a key of ``LOSSES``, "softmax" or "margin".
        limit: maximum number of training texts.

    Returns:
        Encoder and decoder; the receipt holds the settings, and accuracy and macro-F1 on the test texts.
    """
    encoder, config = encoder or load_encoder(layers=DEFAULT_LAYERS), config or LabelConfig()
    settings: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    texts = load_task(task, seed, limit)
    train, dev, test = (
        FeatureRows(cache_states(encoder, texts[part], progress=progress), plain="label") for part in PARTS
    )
    names = label_names(texts["train"])
    torch.manual_seed(seed)
    decoder = LabelDecoder(config, encoder.width, name_states(encoder, names) if config.named else len(names))
    decoder.to(encoder.model.device)
    result = fit(decoder, train, dev, states_batch, loss=LOSSES[loss], progress=progress, **settings)
    metrics = classification_metrics(predict_logits(decoder, test, states_batch), labels_of(test))
    receipt = {"task": str(task), "texts": len(train), "loss": loss, **settings, "best_epoch": result.best_epoch}
    return LabelTuned(encoder, decoder.eval(), tuple(names), receipt={**receipt, "test": metrics, **asdict(config)})
