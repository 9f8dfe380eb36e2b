"""Low-rank adaptation (Hu et al. 2021) of a whole model, by `peft`."""

from __future__ import annotations

from typing import Any

from torch import nn


def add_lora(model: nn.Module, rank: int, task_type: str | None = None) -> Any:
    """Wrap a model with trainable low-rank updates beside all its linear layers but the output layer.

    The scale α is twice the rank, and there is no dropout. All other weights of ``model`` are frozen in place.

    Args:
        model: a `transformers.PreTrainedModel`.
        rank: r of every update.
        task_type: peft's, "CAUSAL_LM" for a language model.

    Returns:
        The wrapped model, a `peft.PeftModel`.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0, task_type=task_type)
    return get_peft_model(model, config)
