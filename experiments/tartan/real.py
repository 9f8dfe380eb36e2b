"""End tasks of real texts with few labels, for MiniLM: masked language modelling on the task's texts and on others.

MiniLM comes without a head for masked words; here its embeddings score them, through a transform that starts from
random weights. The encoder's layers and all heads are trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from auxlib.classification.encoders import Encoder, load_encoder
from auxlib.data.tasks import label_names, load_task
from auxlib.tartan.objectives import MaskedLM, Objective, Rows
from experiments.tartan.setup import TaskSetup, take_per_class

EACH, DEV, TEST, LENGTH = 20, 200, 1000, 32
OWN, LIKE = "the task's own", "like them"
NEAR = {"20ng": "r8", "vader-amazon": "vader-movie"}  # a task with similar texts


def real_setup(task: str, seed: int, reference: str = "minilm") -> TaskSetup:
    """Return `EACH` labelled texts of every label, `DEV` development texts, and all others without labels."""
    encoder, texts = load_encoder(reference, dtype=torch.float32), load_task(task)
    names = label_names(texts["train"])
    train = rows_of(encoder, texts["train"].shuffle(seed=seed)[:])
    labelled, rest = take_per_class(train, EACH)
    dev = rows_of(encoder, texts["dev"].shuffle(seed=seed)[:DEV])
    test = rows_of(encoder, texts["test"].shuffle(seed=0)[:TEST])
    tokens = encoder.tokenizer
    maskable = torch.ones(len(tokens), dtype=torch.bool).index_fill(0, torch.tensor(tokens.all_special_ids), False)

    def masked_lm(name: str, body: Any, rows: Rows) -> Objective:
        texts = [row["token_ids"] for row in rows]
        return MaskedLM(name, texts, body.get_input_embeddings(), tokens.mask_token_id, maskable)

    return TaskSetup(
        labelled=labelled,
        dev=dev,
        test=test,
        count=len(names),
        width=encoder.width,
        body=lambda: load_body(reference),
        objectives={
            OWN: lambda name, body: masked_lm(name, body, [*labelled, *rest]),
            LIKE: lambda name, body: masked_lm(name, body, rows_of(encoder, load_task(NEAR[task])["train"][:])),
        },
    )


def load_body(reference: str) -> nn.Module:
    """Return the encoder in full precision with trainable layers and frozen word embeddings.

    The embeddings are half of all weights, and a few texts would train only a few of their rows.
    """
    body = load_encoder(reference, dtype=torch.float32).model.requires_grad_(True)
    body.get_input_embeddings().requires_grad_(False)
    return body


def rows_of(encoder: Encoder, texts: dict[str, list]) -> Rows:
    """Return token ids, truncated to `LENGTH`, and labels."""
    encoded = encoder.encode(texts, LENGTH)
    return [{"token_ids": ids, "label": label} for ids, label in zip(encoded, texts["label"], strict=True)]
