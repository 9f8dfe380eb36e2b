"""What does it cost?

Floating-point operations are counted twice, by rule and by machine. The *rule* goes over the layers: a linear layer of
N weights that reads R rows spends 2·N·R forward, as much again if its input wants a gradient, and as much again if its
weights learn. From scratch that makes the well-known 6 N a token, for LoRA about 4 N, for a frozen model that is only
read 2 N (the convention of Kaplan et al. 2020). The *machine* is torch's own counter of what was multiplied; a test
holds the two together. What is read once, for a cache, is kept apart from what every step costs.
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

FLOAT = 4  # bytes; everything here is trained in float32


@dataclass
class FlopCounter:
    """Operations by the rule."""

    flops: int = 0

    def linear(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Count one linear layer and its backward pass; a forward hook."""
        passes = 1 + (inputs[0].requires_grad + layer.weight.requires_grad) * torch.is_grad_enabled()
        self.flops += 2 * inputs[0].numel() * layer.out_features * passes

    def attention(self, layer: nn.Module, inputs: tuple, known: dict[str, Any], output: tuple) -> None:
        """Count scores and weighted sums of self-attention, each place against all that are kept; a forward hook."""
        hidden, cache = known["hidden_states"], known.get("past_key_values")
        length = hidden.shape[1] if cache is None else cache.get_seq_length(layer.layer_idx)
        self.flops += 4 * hidden.numel() * length * (3 if output[0].requires_grad else 1)


@contextmanager
def count_flops(module: nn.Module) -> Iterator[FlopCounter]:
    """Count by the rule what ``module`` does inside the block, the backward pass of its losses included."""
    tally, hooks = FlopCounter(), []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            hooks.append(part.register_forward_hook(tally.linear))
        elif hasattr(part, "q_proj"):
            hooks.append(part.register_forward_hook(tally.attention, with_kwargs=True))
    try:
        yield tally
    finally:
        for hook in hooks:
            hook.remove()


def counted_by_torch(work: Callable[[], Any]) -> int:
    """What torch saw being multiplied; attention in its plain form, for its counter knows no fused one on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@contextmanager
def saved_activation_bytes(module: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes that the block keeps for its backward pass, by storage; the module's own weights are not among them."""
    own = {weight.untyped_storage().data_ptr() for weight in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@dataclass(frozen=True)
class ComputeLedger:
    """What one system costs to train.

    Attributes:
        step_flops: of one training step, forward and backward, by the rule.
        read_flops: of reading one sentence with the frozen model, once, for the cache; 0 without a cache.
        batch: sentences a step.
        parameters, learning: weights in memory while it trains, and those of them that learn.
        kept_bytes: what a step keeps for its backward pass.
        cache_bytes: of the frozen model's states for all sentences, if they are cached.
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
        """Take the figures from one call of ``step``, which returns the loss of a batch."""
        with count_flops(module) as tally, saved_activation_bytes(module) as kept:
            step()
        # by storage: a frozen output matrix may be tied, and then is in memory once
        everything = sum({weight.data_ptr(): weight.numel() for weight in module.parameters()}.values())
        learning = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
        return cls(tally.flops, read_flops, batch, everything, learning, sum(kept.values()), cache_bytes)

    def flops(self, steps: int, sentences: int) -> float:
        """Of a training of so many steps on a data set of so many sentences, each read for the cache when first met."""
        return self.step_flops * steps + self.read_flops * min(sentences, steps * self.batch)

    @property
    def memory_bytes(self) -> int:
        """Weights, gradients, Adam's two moments, what a step keeps for its backward pass, and the cache."""
        return FLOAT * (self.parameters + 3 * self.learning) + self.kept_bytes + self.cache_bytes

    @property
    def task_bytes(self) -> int:
        """What has to be stored for one more task."""
        return FLOAT * self.learning


def break_even(pretraining: float, scratch: float, beside: float) -> float:
    """After how many tasks pre-training once has paid: ``K* = C_pre / (C_scratch − C_beside)``; never is infinite."""
    return pretraining / (scratch - beside) if scratch > beside else float("inf")
