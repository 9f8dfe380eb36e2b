"""A small task: texts about animals or about places, classified by words that occur together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

WIDTH, WORDS = 16, 20
MASK = WORDS
# 4 to 11 occur together, and so do 12 to 19; 1 to 3 occur everywhere
TEXTS = [[1, 4 + 8 * (i % 2) + (i * 3) % 8, 2, 4 + 8 * (i % 2) + (i * 5 + 2) % 8, *[3] * (i % 3)] for i in range(16)]
ROWS = [{"token_ids": text, "label": i % 2} for i, text in enumerate(TEXTS)]


def make_body(seed: int = 0) -> nn.Module:
    """A transformer of one layer."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=WORDS + 1,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.2,
    )
    return BertModel(config, add_pooling_layer=False)


@pytest.fixture
def body() -> nn.Module:
    return make_body()
