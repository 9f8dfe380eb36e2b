"""How does one train labels for one's own texts? In one call; the experiment takes the same steps one by one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from auxlib.classification.encoders import Encoder, cache_states, load_encoder
from auxlib.classification.trainer import classification_metrics, fit, labels_of, predict_logits, states_batch
from auxlib.classification.ytuning import LOSSES, LabelConfig, LabelDecoder, LabelTuned, name_states
from auxlib.collator import FeatureRows
from auxlib.data.tasks import label_names, load_task

LAYERS = 4  # of MiniLM's six: where the states are read


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
    """Train a label decoder beside a frozen encoder.

    Args:
        task: as for ``load_task``.
        encoder: by default MiniLM up to its fourth layer of six.
        config: of the decoder.
        loss: "softmax" or "margin".
        limit: learn from at most so many texts.

    Returns:
        The pair; its receipt holds the settings, and accuracy and macro-F1 on the test texts.
    """
    encoder, config = encoder or load_encoder(layers=LAYERS), config or LabelConfig()
    texts = load_task(task, seed, limit)
    rows = {
        part: FeatureRows(cache_states(encoder, known, progress=progress), plain="label")
        for part, known in texts.items()
    }
    names = label_names(texts["train"])
    torch.manual_seed(seed)
    decoder = LabelDecoder(config, encoder.width, name_states(encoder, names) if config.named else len(names))
    decoder.to(encoder.model.device)
    fitted = fit(
        decoder, rows["train"], rows["dev"], states_batch, epochs, learning_rate=learning_rate, loss=LOSSES[loss],
        seed=seed, progress=progress,
    )  # fmt: skip
    test = rows["test"]
    found = classification_metrics(predict_logits(decoder, test, states_batch), labels_of(test))
    receipt = {
        "task": str(task), "texts": len(rows["train"]), "loss": loss, "epochs": epochs, "learning_rate": learning_rate,
        "seed": seed, "best_epoch": fitted.best_epoch, "test": found, **asdict(config),
    }  # fmt: skip
    return LabelTuned(encoder, decoder.eval(), tuple(names), receipt=receipt)
