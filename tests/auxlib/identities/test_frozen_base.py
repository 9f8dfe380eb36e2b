"""What is never touched, what may be cached, and what may not be cut off (I15).

On the library's own model, in ``tests/auxlib``: ``test_auxiliary.py`` (no gradient reaches the expert),
``test_training.py`` (its weights stay the same, bit for bit) and ``test_features.py`` (the loss on cached states is the
live loss).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from auxlib.frozen import Expert
from tests.auxlib.identities.by_hand import gap, normal, same


def test_i15_truncated_logits_bias_the_loss_unless_the_tail_is_kept_as_one_number() -> None:
    lm_logits, k = 2 * normal(64, 40, seed=17), 12
    targets = lm_logits.topk(k).indices[torch.arange(64), torch.arange(64) % k]
    kept = torch.zeros_like(lm_logits, dtype=torch.bool).scatter(1, lm_logits.topk(k).indices, True)
    tail = lm_logits.masked_fill(kept, -math.inf).logsumexp(-1, keepdim=True)
    speaks = normal(64, 40, seed=18)
    within = speaks.masked_fill(~kept, 0.0)  # an auxiliary that is silent about the tail

    def losses(aux_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joint_logits = lm_logits + aux_logits
        short = joint_logits.masked_fill(~kept, -math.inf)
        cut, stored = short, torch.cat([short, tail], 1)
        return tuple(F.cross_entropy(logits, targets) for logits in (joint_logits, cut, stored))

    whole, cut, stored = losses(within)
    assert same(stored, whole)
    assert float(whole - cut) > 1e-2, "too good to be true"
    whole, _, stored = losses(speaks)
    assert gap(stored, whole) > 1e-3, "the stored tail is no longer true once the auxiliary speaks about it"


def test_i15_no_graph_is_kept_for_the_base_however_deep_it_is(
    make_expert: Callable[..., Expert], make_tuned: Callable[..., Any]
) -> None:
    def kept(layers: int, trained: bool) -> int:
        """Bytes that a forward pass keeps for the backward pass."""
        model = make_tuned(beside=make_expert(num_hidden_layers=layers))
        inputs = model.inputs_for(["dog"], ["The lantern lit"])
        model.expert.requires_grad_(trained)
        seen: dict[int, int] = {}

        def keep(saved: Tensor) -> Tensor:
            seen[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            loss = model(**inputs, labels=inputs["input_ids"]).loss
        assert loss.requires_grad
        return sum(seen.values())

    assert kept(1, trained=False) == kept(4, trained=False)
    assert kept(4, trained=True) > 1.2 * kept(1, trained=True), "full fine-tuning keeps every layer"
