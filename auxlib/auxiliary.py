"""The auxiliary model: a small transformer with inputs that the frozen language model lacks.

Its inputs are the frozen model's hidden state, the keyword (cross-attention to its pieces) and how much of the keyword
is already written. Its outputs are `SparseLogits`: a shift in the frozen model's output space, one number for each of a
few *groups* of tokens (those that close a text, those that continue a word), and a boost for the keyword's next piece.

All outputs start at zero, so the product starts as the frozen language model, exactly. The paper's own form (a separate
trunk that reads the tokens itself and has its own head over the vocabulary) is `AuxiliaryConfig.paper`.

Axes: ``B`` batch, ``T`` positions, ``L`` positions so far, ``d`` the auxiliary's width, ``D`` the frozen model's, ``N``
keywords of a text, ``F`` spellings and ``K`` pieces of a keyword, ``G`` groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxlib.keywords import INSIDE, MAX_PIECES, NO_PIECE, KeywordProgress, KeywordState
from auxlib.sparse_logits import SparseLogits

JSON_NAMES = {"input_mode": "reads", "output_mode": "writes", "joint_keywords": "together"}


@dataclass(frozen=True)
class AuxiliaryConfig:
    """The shape of an auxiliary.

    Attributes:
        width, layers, heads: of its trunk.
        input_mode: "hidden" reads the frozen model's final hidden states; "tokens" has an embedding of its own.
        output_mode: "hidden" gives its shift in the frozen model's output space (one unembedding product for the sum);
            "logits" has an output matrix of its own.
        progress: whether the keyword's progress is an input.
        copy_head, group_head: whether it can boost the keyword's next piece, and the groups of tokens.
        joint_keywords: whether it was trained to read several keywords of a text at once.
        zero_init: outputs start at zero, hence at the frozen model; otherwise at a random product of experts.
        max_position: positions from here on share one embedding.
    """

    width: int = 256
    layers: int = 2
    heads: int = 4
    input_mode: str = "hidden"
    output_mode: str = "hidden"
    progress: bool = True
    copy_head: bool = True
    group_head: bool = True
    joint_keywords: bool = False
    zero_init: bool = True
    max_position: int = 48

    @classmethod
    def paper(cls, **changes: Any) -> AuxiliaryConfig:
        """Return an independent network with its own input and head: Zeldes et al. 2020, as far as is public."""
        plain = {
            "input_mode": "tokens",
            "output_mode": "logits",
            "progress": False,
            "copy_head": False,
            "group_head": False,
        }
        return cls(**{**plain, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, under the names that checkpoints have had from the first."""
        return {JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AuxiliaryConfig:
        """Read what `as_dict` has written."""
        fields = {name: field for field, name in JSON_NAMES.items()}
        return cls(**{fields.get(name, name): value for name, value in stored.items()})


# Adam moves a weight by about the learning rate a step; a veto is worth ten nats and should not take as many thousand.
PUSH_GAIN, FORGET_GAIN = 10.0, 3.0


class Attention(nn.Module):
    """Multi-head attention over given keys, causal or across, with an optional slot in a `transformers` cache."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, cache: Any = None, slot: int = 0) -> Tensor:
        """Attend from ``x [B, T, d]`` to ``source [B, L, d]`` where ``mask [B, 1, T, L]`` is True; ``[B, T, d]``."""
        query, (key, value) = self._split(self.query(x)), map(self._split, self.key_value(source).chunk(2, -1))
        if cache is not None:
            key, value = cache.update(key, value, slot)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Self-attention over the text, cross-attention to the keyword, a feed-forward net; each on a normalised input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.feed_norm = (nn.RMSNorm(width) for _ in range(3))
        self.self_attention, self.cross_attention = Attention(width, heads), Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor, cache: Any, slot: int) -> Tensor:
        normed = self.self_norm(x)
        x = x + self.self_attention(normed, normed, mask, cache, slot)
        x = x + self.cross_attention(self.cross_norm(x), memory, memory_mask)
        return x + self.feed(self.feed_norm(x))


class AuxiliaryModel(nn.Module):
    """The trainable half of the product.

    Args:
        config: its shape.
        unembedding: the frozen model's W ``[V, D]``; not trained, and not part of this model's state.
        groups: ``[V, G]``, True where a token belongs to a group (``token_groups``).
        support: ``[S]`` sorted token ids; None for the whole vocabulary.
    """

    unembedding: Tensor
    groups: Tensor
    group_columns: Tensor
    support: Tensor | None
    support_rows: Tensor | None

    def __init__(
        self, config: AuxiliaryConfig, unembedding: Tensor, groups: Tensor, support: Tensor | None = None
    ) -> None:
        super().__init__()
        vocabulary, expert_width = unembedding.shape
        self.config = config
        self.register_buffer("unembedding", unembedding.detach(), persistent=False)
        self.register_buffer("groups", groups)
        self.register_buffer("support", support)
        chosen = slice(None) if support is None else support
        columns = groups[chosen].to(unembedding.dtype) * config.group_head
        self.register_buffer("group_columns", columns, persistent=False)
        # one more column per group makes a group's boost part of the same product
        rows = torch.cat([unembedding.detach()[chosen], columns], 1)
        self.register_buffer("support_rows", rows if config.output_mode == "hidden" else None, persistent=False)
        width = config.width
        self.read = nn.Linear(expert_width, width) if config.input_mode == "hidden" else nn.Embedding(vocabulary, width)
        self.read_piece = nn.Linear(expert_width, width)
        self.position = nn.Embedding(config.max_position, width)
        self.piece_position = nn.Embedding(MAX_PIECES, width)
        self.nothing = nn.Parameter(torch.zeros(width))  # memory of cross-attention without a keyword
        if config.progress:
            self.state = nn.Embedding(len(KeywordState), width)
            self.remaining = nn.Embedding(8, width)
            self.surprise = nn.Linear(1, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.RMSNorm(width)
        self.shift = nn.Linear(width, expert_width, bias=False) if config.output_mode == "hidden" else None
        self.head = None if config.output_mode == "hidden" else nn.Linear(width, len(columns), bias=False)
        self.copy = nn.Linear(width, 2)  # a push, and the share of the frozen model's surprise at the piece to undo
        self.copy_by_state = nn.Embedding(len(KeywordState), 2)
        self.group = nn.Linear(width, groups.shape[1])
        self.group_by_state = nn.Embedding(len(KeywordState), groups.shape[1])
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.config.zero_init:
            # only the last matrix: two zero layers in a row would never leave zero
            lasts = (self.shift, self.head, self.copy, self.copy_by_state, self.group, self.group_by_state)
            for last in lasts:
                if last is not None:
                    nn.init.zeros_(last.weight)

    def forward(
        self,
        token_ids: Tensor,
        hidden: Tensor,
        log_z: Tensor,
        position: Tensor,
        keyword_ids: Tensor,
        progress: KeywordProgress,
        mask: Tensor,
        cache: Any = None,
        first_slot: int = 0,
    ) -> SparseLogits:
        """Return logits of the next token at each position.

        Args:
            token_ids: ``[B, T]``, the token read at each position.
            hidden: ``[B, T, D]``, the frozen model's final states there.
            log_z: ``[B, T]``, its normaliser there, ``logsumexp(lm_logits)``.
            position: ``[B, T]``, 0 at the last token before the text.
            keyword_ids: ``[B, F, K]``, or ``[B, N, F, K]`` for several keywords a text.
            progress: the keyword automaton at these positions, of each keyword.
            mask: ``[B, 1, T, L]``, from ``text_mask``.
            cache, first_slot: a `transformers` cache and the layer number at which this model's layers begin.
        """
        if keyword_ids.dim() == 3:
            keyword_ids, progress = keyword_ids.unsqueeze(1), progress.map(lambda field: field.unsqueeze(1))
        needed = (progress.next_piece != NO_PIECE).unsqueeze(-1)
        rows = self.unembedding[progress.next_piece.clamp(min=0)].float()
        # -log of the frozen model's probability of the needed piece: would the word fit here?
        surprise = needed * (log_z[:, None, :, None] - (hidden.float().unsqueeze(1) * rows).sum(-1, keepdim=True))
        present = _keyword_mask(keyword_ids)
        keyword_state = self._read_progress(progress, needed * self.read_piece(_unit(rows)), surprise) * present
        x = self._read(token_ids, hidden, position) + keyword_state.sum(1)
        memory, memory_mask = self._remember(keyword_ids)
        for slot, block in enumerate(self.blocks, first_slot):
            x = block(x, mask, memory, memory_mask, cache, slot)
        # centred over the keywords of a row: zero where there is only one
        centered_state = keyword_state - keyword_state.sum(1, keepdim=True) / present.sum(1, keepdim=True)
        return self._write(self.norm(x), centered_state, progress, surprise, present)

    def _read(self, token_ids: Tensor, hidden: Tensor, position: Tensor) -> Tensor:
        x = self.read(_unit(hidden)) if self.config.input_mode == "hidden" else self.read(token_ids)
        return x + self.position(position.clamp(0, self.config.max_position - 1))

    def _read_progress(self, progress: KeywordProgress, piece: Tensor, surprise: Tensor) -> Tensor:
        if not self.config.progress:
            return torch.zeros_like(piece)
        return (
            self.state(progress.state)
            + self.remaining(progress.remaining.clamp(max=7))
            + piece
            + self.surprise(surprise / 10)
        )

    def _remember(self, keyword_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keywords' pieces as memory ``[B, 1 + N K, d]``, behind a slot that is never masked, and a mask."""
        pieces = keyword_ids[:, :, INSIDE].flatten(1)
        rows = _unit(self.unembedding[pieces.clamp(min=0)].float())
        order = torch.arange(keyword_ids.shape[-1], device=pieces.device).repeat(keyword_ids.shape[1])
        written = self.read_piece(rows) + self.piece_position(order)
        memory = torch.cat([self.nothing.expand(len(pieces), 1, -1), written], 1)
        there = F.pad(pieces != NO_PIECE, (1, 0), value=True)
        return memory, there[:, None, None]

    def _write(
        self, x: Tensor, centered_state: Tensor, progress: KeywordProgress, surprise: Tensor, present: Tensor
    ) -> SparseLogits:
        by_state = (self.group_by_state(progress.state) * present).sum(1)
        group = PUSH_GAIN * (self.group(x) + by_state) * self.config.group_head
        if self.head is not None:
            matrix = torch.cat([self.head.weight, self.group_columns], 1)
            logits = SparseLogits(torch.cat([x, group], -1), matrix, self.support)
        else:
            assert self.shift is not None  # a model has one of the two
            shift = torch.cat([self.shift(x), group], -1)
            logits = SparseLogits(shift, self.support_rows, self.support, in_unembedding=True)
        if self.config.copy_head:
            copied = self.copy(x.unsqueeze(1) + centered_state) + self.copy_by_state(progress.state)
            push, forget = copied.split(1, -1)
            boosts = (PUSH_GAIN * push + FORGET_GAIN * forget * surprise)[..., 0].transpose(1, 2)
            logits.boost_ids, logits.boosts = _merge_duplicate_boosts(progress.next_piece.transpose(1, 2), boosts)
        return logits


def _keyword_mask(keyword_ids: Tensor) -> Tensor:
    """Return which keywords of ``[B, N, F, K]`` are present, ``[B, N, 1, 1]``; if none is, the first counts."""
    there = keyword_ids[:, :, INSIDE, 0] != NO_PIECE
    none = ~there.any(1, keepdim=True) & (torch.arange(there.shape[1], device=there.device) == 0)
    return (there | none).float()[..., None, None]


def _merge_duplicate_boosts(ids: Tensor, boosts: Tensor) -> tuple[Tensor, Tensor]:
    """Return ids and boosts ``[B, T, N]`` in which a token that several keywords need has the strongest boost."""
    same = ids.unsqueeze(-1) == ids.unsqueeze(-2)
    strongest = boosts.unsqueeze(-2).masked_fill(~same, -torch.inf).amax(-1)
    return ids.masked_fill(same.tril(-1).any(-1), NO_PIECE), strongest


def _unit(x: Tensor) -> Tensor:
    """Scale to root-mean-square one, in float32: the frozen model's states and rows have scales of their own."""
    return F.rms_norm(x.float(), x.shape[-1:])


def text_mask(position: Tensor, queries: int) -> Tensor:
    """Return the attention mask ``[B, 1, Q, L]`` of the last ``queries`` positions: causal, over the text alone.

    Preamble and padding (``position < 0``) attend only to themselves, which keeps their softmax finite.
    """
    length = position.shape[1]
    now = torch.arange(length - queries, length, device=position.device).unsqueeze(1)
    then = torch.arange(length, device=position.device)
    return (((then <= now) & (position >= 0).unsqueeze(1)) | (then == now)).unsqueeze(1)
