"""And with a pre-trained encoder, and few labels? The other texts of the task, and others like them, are there to read.

MiniLM comes without a head for hidden words; its embeddings score them here, through a transform that begins at random
and has to be learned too. The encoder's layers learn, and all heads.
"""

from __future__ import annotations

import torch
from torch import nn

from auxlib.classification.encoders import Encoder, load_encoder
from auxlib.data.tasks import label_names, load_task
from auxlib.tartan.objectives import MaskedLM, Objective, Rows
from experiments.tartan.setup import TaskSetup, take_per_class

EACH, DEV, TEST, LENGTH = 20, 200, 1000, 32
OWN, LIKE = "the task's own", "like them"
NEAR = {"20ng": "r8", "vader-amazon": "vader-movie"}  # another task whose texts are like this one's


def real_setup(task: str, seed: int, reference: str = "minilm") -> TaskSetup:
    """`EACH` labelled texts of every label, `DEV` to choose by, and all others without their labels."""
    encoder, texts = load_encoder(reference, dtype=torch.float32), load_task(task)
    names = label_names(texts["train"])
    train = rows_of(encoder, texts["train"].shuffle(seed=seed)[:])
    labelled, rest = take_per_class(train, EACH)
    dev = rows_of(encoder, texts["dev"].shuffle(seed=seed)[:DEV])
    test = rows_of(encoder, texts["test"].shuffle(seed=0)[:TEST])
    tokens = encoder.tokenizer
    hideable = torch.ones(len(tokens), dtype=torch.bool).index_fill(0, torch.tensor(tokens.all_special_ids), False)

    def hidden(name: str, body: nn.Module, rows: Rows) -> Objective:
        texts = [row["token_ids"] for row in rows]
        return MaskedLM(name, texts, body.get_input_embeddings(), tokens.mask_token_id, hideable)

    return TaskSetup(
        labelled, dev, test, len(names), encoder.width, lambda: load_body(reference),
        {
            OWN: lambda name, body: hidden(name, body, [*labelled, *rest]),
            LIKE: lambda name, body: hidden(name, body, rows_of(encoder, load_task(NEAR[task])["train"][:])),
        },
    )  # fmt: skip


def load_body(reference: str) -> nn.Module:
    """The encoder, in full precision, with its layers to learn. Its word embeddings stay: half of all its weights, of
    which a few texts would move a few words."""
    body = load_encoder(reference, dtype=torch.float32).model.requires_grad_(True)
    body.get_input_embeddings().requires_grad_(False)
    return body


def rows_of(encoder: Encoder, texts: dict[str, list]) -> Rows:
    """Token ids, cut after `LENGTH`, and labels."""
    encoded = encoder.encode(texts, LENGTH)
    return [{"token_ids": ids, "label": label} for ids, label in zip(encoded, texts["label"], strict=True)]
