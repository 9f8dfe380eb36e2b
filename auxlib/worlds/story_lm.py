"""The expert of Storyland: a small causal language model trained on its sentences.

It is an ordinary `transformers` model with a word-level tokenizer, so that code for it also runs on large models. After
a minute of training on a CPU its loss is within a few hundredths of a nat of the entropy rate; the course ships two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.collator import IGNORE_INDEX
from auxlib.data.assets import data_dir
from auxlib.frozen import Expert, load_expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.storyland import Storyland

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SHIPPED_LM, SHIPPED_LM_600K = "storyland-lm", "storyland-lm-600k"  # trained on 60,000 and 600,000 sentences


def load_story_lm(which: str | Path = SHIPPED_LM) -> Expert:
    """Load a language model of Storyland, by a shipped one's name or a folder: frozen, float32, on the CPU."""
    folder = data_dir() / "checkpoints" / which  # joining an absolute path gives that path
    return load_expert(folder, dtype=torch.float32, device="cpu")


def new_story_lm(world: Storyland, width: int = 96, layers: int = 2, seed: int = 0) -> LlamaForCausalLM:
    """Return an untrained Llama with the world's vocabulary; about 250,000 parameters with the default sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(world.vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=BLANK,
        pad_token_id=BLANK,
        eos_token_id=world.ids[FULL_STOP],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def lm_inputs(token_ids: Tensor) -> dict[str, Tensor]:
    """Return a causal model's inputs ``[B, T + 1]`` for sentences ``[B, T]``: ``<s>`` first, blanks masked.

    ``labels`` are not shifted; the model itself compares position t with token t + 1.
    """
    input_ids = F.pad(token_ids, (1, 0), value=BLANK)
    mask = F.pad(token_ids != BLANK, (1, 0), value=True)
    labels = input_ids.masked_fill(~mask, IGNORE_INDEX)
    return {"input_ids": input_ids, "attention_mask": mask.long(), "labels": labels}


@torch.inference_mode()
def lm_nll(model: torch.nn.Module, token_ids: Tensor) -> float:
    """Return the NLL of sentences ``[B, T]`` in nats per token; its lower bound is `Storyland.entropy_rate`."""
    device = next(model.parameters()).device
    return float(model.eval()(**lm_inputs(token_ids.to(device)), use_cache=False).loss)


def word_tokenizer(world: Storyland) -> PreTrainedTokenizerFast:
    """Return a `transformers` tokenizer of the world's words, case-insensitive, the full stop being a word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    blank = world.vocabulary[BLANK]
    tokenizer = Tokenizer(models.WordLevel(dict(world.ids), unk_token=blank))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": blank, "pad_token": blank, "eos_token": FULL_STOP}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True, **special)
