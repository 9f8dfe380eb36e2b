"""Against what? Systems that read the keyword as a word in front of the sentence, and learn to use it.

From scratch in three sizes, fine-tuned, LoRA, a learned prompt, and the untouched model with the keyword in front: the
same thirty lines, with other parameters learning.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auxlib.frozen import Expert, freeze
from auxlib.worlds.story_lm import new_story_lm
from auxlib.worlds.storyland import Storyland
from experiments.baselines.reading import DecodingContext, Memory, System, unread

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class Prefixed(System):
    """A causal language model that reads ``prompt, keyword, <s>, w_1, …``.

    Args:
        lm: the language model, as it is to be trained.
        prompt: how many learned vectors stand in front of the keyword (Lester et al. 2021).
        told: without it every keyword reads as "nothing": an unconditional model of the same shape.
    """

    def __init__(self, lm: nn.Module, prompt: int = 0, told: bool = True) -> None:
        super().__init__()
        self.lm, self.told = lm, told
        self.prompt = nn.Parameter(0.02 * torch.randn(prompt, lm.config.hidden_size))

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        """Logits ``[B, T, V]`` of the places that are not in memory yet."""
        front, embed = len(self.prompt) + 1, self.lm.get_input_embeddings()
        new, cache = unread(reading, memory, front)
        inputs, begins = embed(new), new.shape == reading.token_ids.shape
        if begins:
            keyword = embed(reading.keyword_ids * self.told)[:, None]
            inputs = torch.cat([self.prompt.expand(len(keyword), -1, -1), keyword, inputs], 1)
        logits = self.lm(inputs_embeds=inputs, past_key_values=cache, use_cache=cache is not None).logits
        return logits[:, front * begins :]


def from_scratch(world: Storyland, width: int, layers: int, seed: int, told: bool = True) -> Prefixed:
    """The paper's baseline: a conditional language model that starts with nothing."""
    return Prefixed(new_story_lm(world, width, layers, seed), told=told)


def fine_tuned(expert: Expert) -> Prefixed:
    """A copy of the expert, all of which may learn."""
    return Prefixed(_copy(expert).requires_grad_(True))


def lora(expert: Expert, rank: int) -> Prefixed:
    """A copy of the expert with low-rank updates beside every linear layer (Hu et al. 2021), by `peft`."""
    from peft import LoraConfig, get_peft_model

    # the output matrix is tied to the embedding and stays as it is, which is also peft's default
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return Prefixed(get_peft_model(_copy(expert), config))


def prompt_tuned(expert: Expert, prompt: int) -> Prefixed:
    """The expert as it is, behind a prompt that learns."""
    return Prefixed(freeze(_copy(expert)), prompt)


def prompted(expert: Expert) -> Prefixed:
    """The expert as it is, with the keyword in front, and no training at all."""
    return prompt_tuned(expert, 0)


def _copy(expert: Expert) -> LlamaForCausalLM:
    """The expert itself is read and never written; what learns is always a copy."""
    return copy.deepcopy(expert.model)
