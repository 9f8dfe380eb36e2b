"""The auxiliary of Storyland, which notebook 05 builds, with a switch for every design choice.

The keyword gates features of the expert's hidden state; a step in the expert's output space raises the words of a
kind; a boost raises the keyword itself while it is missing. Ablations undo the choices one at a time. The auxiliary of
SmolLM2 is in `auxlib.auxiliary`.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words, ``D`` the expert's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class StoryAuxiliaryConfig:
    """The shape of an auxiliary.

    Attributes:
        width: number of features.
        mix: a second layer over the gated features, as in notebook 05.
        output_mode: "hidden" steps in the expert's output space; "logits" has an output matrix of its own.
        flag: whether the keyword's occurrence so far is an input.
        boost: whether the keyword itself has a logit of its own.
        zero_init: start as the frozen expert; otherwise as a random product.
        adds: whether the expert's logits are added; without them only its states are used.
    """

    width: int = 64
    mix: bool = False
    output_mode: str = "hidden"
    flag: bool = True
    boost: bool = True
    zero_init: bool = True
    adds: bool = True


class Gate(nn.Module):
    """Features of state, keyword and flag, gated by the keyword."""

    def __init__(self, W: Tensor, width: int) -> None:
        super().__init__()
        D = W.shape[1]
        self.keyword = nn.Embedding.from_pretrained(W.detach().clone(), freeze=False)
        self.read_state, self.read_keyword = nn.Linear(D, width), nn.Linear(D, width)
        self.flag, self.gate = nn.Embedding(2, width), nn.Linear(D, width)

    def forward(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor) -> Tensor:
        """Return features ``[B, T, width]`` of states ``[B, T, D]``, keywords ``[B]`` and flags ``[B, T]``."""
        keyword = self.keyword(keyword_ids)[:, None]
        features = self.read_state(hidden) + self.read_keyword(keyword) + self.flag(seen.long())
        return F.gelu(features) * self.gate(keyword)


class StoryAuxiliary(nn.Module):
    """The trainable factor of the product.

    Args:
        W: the expert's unembedding ``[V, D]``, frozen.
    """

    def __init__(self, W: Tensor, config: StoryAuxiliaryConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StoryAuxiliaryConfig()
        V, D = W.shape
        self.unembed = nn.Linear(D, V, bias=False)
        self.unembed.weight = nn.Parameter(W.detach(), requires_grad=False)
        self.gate = Gate(W, config.width)
        self.mix = nn.Linear(config.width, config.width) if config.mix else None
        self.step = nn.Linear(config.width, D if config.output_mode == "hidden" else V)
        self.boost = nn.Linear(config.width, 1)
        for parameter in (*self.step.parameters(), *self.boost.parameters()) if config.zero_init else ():
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, keyword_ids: Tensor, seen: Tensor, weight: float = 1.0) -> Tensor:
        """Return joint logits ``[B, T, V]`` from states ``[B, T, D]``, ``keyword_ids [B]`` and ``seen [B, T]``.

        Keyword 0 is none.
        """
        seen = seen | (keyword_ids == 0)[:, None]
        u = self.gate(hidden, keyword_ids, seen if self.config.flag else torch.zeros_like(seen))
        if self.mix is not None:
            u = u + F.gelu(self.mix(u))
        step = weight * self.step(u)
        states = hidden if self.config.adds else torch.zeros_like(hidden)
        # a step in the hidden space needs only one product with W
        in_hidden = self.config.output_mode == "hidden"
        joint_logits = self.unembed(states + step) if in_hidden else self.unembed(states) + step
        if not self.config.boost:
            return joint_logits
        lift = weight * self.boost(u) * ~seen[..., None]
        return joint_logits.scatter_add(-1, keyword_ids[:, None, None].expand(-1, seen.shape[1], 1), lift)
