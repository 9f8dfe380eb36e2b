"""Systems that read the keyword as a word before the sentence: one class with different trainable parameters.

From scratch in three sizes, full fine-tuning, LoRA, prompt tuning, and the untrained model with a keyword prompt.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from auxlib.frozen import Expert, freeze
from auxlib.worlds.story_lm import new_story_lm
from auxlib.worlds.storyland import Storyland
from experiments.baselines.decoding import DecodingContext, Memory, System, unread
from experiments.lora import add_lora


class Prefixed(System):
    """A causal language model that reads ``prompt, keyword, <s>, w_1, …``.

    Args:
        lm: a causal language model; its trainable parameters are those that require gradients.
        prompt: number of learned vectors before the keyword (Lester et al. 2021).
        conditional: if False every keyword is replaced by none: an unconditional model of the same shape.
    """

    def __init__(self, lm: Any, prompt: int = 0, conditional: bool = True) -> None:
        super().__init__()
        self.lm = lm
        self.conditional = conditional
        self.prompt = nn.Parameter(0.02 * torch.randn(prompt, lm.config.hidden_size))

    def forward(self, context: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Return logits ``[B, T, V]`` at the positions that are not in memory yet."""
        front, embed = len(self.prompt) + 1, self.lm.get_input_embeddings()
        new, cache = unread(context, memory, front)
        inputs, begins = embed(new), new.shape == context.token_ids.shape
        if begins:
            keyword = embed(context.keyword_ids * self.conditional)[:, None]
            inputs = torch.cat([self.prompt.expand(len(keyword), -1, -1), keyword, inputs], 1)
        logits = self.lm(inputs_embeds=inputs, past_key_values=cache, use_cache=cache is not None).logits
        return logits[:, front * begins :]


def from_scratch(world: Storyland, width: int, layers: int, seed: int, conditional: bool = True) -> Prefixed:
    """Return the paper's baseline: a conditional language model with random weights."""
    return Prefixed(new_story_lm(world, width, layers, seed), conditional=conditional)


def fine_tuned(expert: Expert) -> Prefixed:
    """Return a copy of the expert with all weights trainable."""
    return Prefixed(_copy(expert).requires_grad_(True))


def lora(expert: Expert, rank: int) -> Prefixed:
    """Return a copy of the expert with low-rank updates; its output layer, tied to the embedding, has none."""
    return Prefixed(add_lora(_copy(expert), rank, task_type="CAUSAL_LM"))


def prompt_tuned(expert: Expert, prompt: int) -> Prefixed:
    """Return the frozen expert with a trainable prompt."""
    return Prefixed(freeze(_copy(expert)), prompt)


def prompted(expert: Expert) -> Prefixed:
    """Return the frozen expert with the keyword as a prompt, and nothing to train."""
    return prompt_tuned(expert, 0)


def _copy(expert: Expert) -> PreTrainedModel:
    """Return a copy of the expert's model; the expert itself is never trained."""
    return copy.deepcopy(expert.model)
