"""Training cost in FLOPs and memory.

FLOPs are counted in two ways. The *rule* (Kaplan et al. 2020): a linear layer of N weights on R rows costs 2 N R
forward, as much again if its input requires a gradient, and as much again if its weights do. This gives 6 N per token
from scratch, about 4 N for LoRA and 2 N for a frozen model. The other is torch's counter of executed operations; a test
compares the two. The cost of reading texts once, for a cache, is separate from the cost of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

FLOAT = 4  # bytes of a float32


@dataclass
class FlopCounter:
    """FLOPs by the rule, added up by forward hooks."""

    flops: int = 0

    def linear(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Count a linear layer and its backward pass."""
        passes = 1 + (inputs[0].requires_grad + layer.weight.requires_grad) * torch.is_grad_enabled()
        self.flops += 2 * inputs[0].numel() * layer.out_features * passes

    def attention(self, layer: nn.Module, args: tuple, inputs: dict[str, Any], output: tuple) -> None:
        """Count the scores and weighted sums of self-attention, between each position and all cached ones."""
        hidden, cache = inputs["hidden_states"], inputs.get("past_key_values")
        length = hidden.shape[1] if cache is None else cache.get_seq_length(layer.layer_idx)
        self.flops += 4 * hidden.numel() * length * (3 if output[0].requires_grad else 1)


@contextmanager
def count_flops(module: nn.Module) -> Iterator[FlopCounter]:
    """Count a module's FLOPs inside the block by the rule, including the backward pass that its outputs allow."""
    counter, hooks = FlopCounter(), []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            hooks.append(part.register_forward_hook(counter.linear))
        elif hasattr(part, "q_proj"):
            hooks.append(part.register_forward_hook(counter.attention, with_kwargs=True))
    try:
        yield counter
    finally:
        for hook in hooks:
            hook.remove()


def counted_by_torch(work: Callable[[], Any]) -> int:
    """Return the FLOPs of a call by torch's counter, which on a CPU knows attention in its unfused form only."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@contextmanager
def saved_activation_bytes(module: nn.Module) -> Iterator[dict[int, int]]:
    """Collect the bytes saved for the backward pass, by storage, without the module's own weights and buffers."""
    own = {weight.untyped_storage().data_ptr() for weight in (*module.parameters(), *module.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


@dataclass(frozen=True)
class ComputeLedger:
    """The training cost of a system.

    Attributes:
        step_flops: of a training step, forward and backward, by the rule.
        read_flops: of one sentence's forward pass through the frozen model, for the cache; 0 without a cache.
        batch: sentences in a step.
        parameters, learning: number of parameters in memory, and of trainable ones.
        kept_bytes: activations saved for the backward pass of a step.
        cache_bytes: of the frozen model's states of all sentences, if they are cached.
    """

    step_flops: int
    read_flops: float
    batch: int
    parameters: int
    learning: int
    kept_bytes: int
    cache_bytes: int = 0

    @classmethod
    def of(
        cls, module: nn.Module, step: Callable[[], Tensor], batch: int, read_flops: float = 0.0, cache_bytes: int = 0
    ) -> ComputeLedger:
        """Measure a call of ``step``, which returns the loss of a batch."""
        with count_flops(module) as counter, saved_activation_bytes(module) as saved:
            step()
        # by storage, because a tied matrix is in memory once
        parameters = sum({weight.data_ptr(): weight.numel() for weight in module.parameters()}.values())
        learning = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
        return cls(counter.flops, read_flops, batch, parameters, learning, sum(saved.values()), cache_bytes)

    def flops(self, steps: int, sentences: int) -> float:
        """Return the FLOPs of so many steps on so many different sentences, each of them cached at its first use."""
        return self.step_flops * steps + self.read_flops * min(sentences, steps * self.batch)

    @property
    def memory_bytes(self) -> int:
        """Bytes of weights, gradients, Adam's two moments, saved activations and the cache."""
        return FLOAT * (self.parameters + 3 * self.learning) + self.kept_bytes + self.cache_bytes

    @property
    def task_bytes(self) -> int:
        """Bytes to store for an additional task."""
        return FLOAT * self.learning


def break_even(pretraining: float, scratch: float, auxiliary: float) -> float:
    """Return the number of tasks that repay pre-training, ``K* = C_pre / (C_scratch − C_auxiliary)``, or infinity."""
    return pretraining / (scratch - auxiliary) if scratch > auxiliary else float("inf")
