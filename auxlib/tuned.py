"""Both together: a frozen expert and an auxiliary as one ordinary `transformers` model.

``AuxiliaryTunedLM`` generates, scores and saves like any causal language model. Two further inputs steer it:
``keyword_ids`` (the condition, per row) and ``weight`` (λ, a number or one per row). Expert and auxiliary share one
cache: the auxiliary's layers take the layer numbers after the expert's, so beam search reorders both at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel, text_mask
from auxlib.checkpoint import Kept
from auxlib.errors import KeywordError
from auxlib.experts import Expert
from auxlib.features import Frame
from auxlib.keywords import NO_PIECE, Progress, keyword_batch, read_progress, word_continues
from auxlib.parts import Parts
from auxlib.product import as_weight


class AuxiliaryTunedConfig(PreTrainedConfig):
    """What `generate` needs to know, most of it the expert's; layers count both halves, for the shared cache."""

    model_type = "auxiliary_tuned"

    @classmethod
    def of(cls, expert: Expert, auxiliary: AuxiliaryConfig, frame: Frame) -> AuxiliaryTunedConfig:
        base = expert.model.config.get_text_config()
        return cls(
            vocab_size=base.vocab_size,
            hidden_size=base.hidden_size,
            num_attention_heads=base.num_attention_heads,
            num_hidden_layers=base.num_hidden_layers + auxiliary.layers,
            max_position_embeddings=base.max_position_embeddings,
            eos_token_id=frame.end_id,
            pad_token_id=expert.end_of_text_id,
            bos_token_id=frame.preamble_ids[0],
        )


class AuxiliaryTunedLM(PreTrainedModel, GenerationMixin):
    """A frozen language model plus an auxiliary: ``softmax(lm_logits + λ · aux_logits)``.

    Args:
        expert: the frozen half; its weights are shared, never copied or saved.
        auxiliary: the trained half.
        frame: preamble and end of a text.
    """

    config_class = AuxiliaryTunedConfig
    main_input_name = "input_ids"
    _supports_sdpa = True
    accepts_loss_kwargs = False  # the loss is a mean: a trainer that accumulates must divide by its number of steps

    def __init__(self, expert: Expert, auxiliary: AuxiliaryModel, frame: Frame) -> None:
        super().__init__(AuxiliaryTunedConfig.of(expert, auxiliary.config, frame))
        self.expert_info, self.frame = expert, frame
        self.expert, self.auxiliary = expert.model, auxiliary
        continues = word_continues(expert.tokenizer, expert.unembedding.shape[0])
        self.register_buffer("continues", continues.to(expert.model.device), persistent=False)
        self.generation_config = GenerationConfig(
            eos_token_id=frame.end_id, pad_token_id=expert.end_of_text_id, bos_token_id=frame.preamble_ids[0]
        )
        self.receipt: dict[str, Any] = {}

    def train(self, mode: bool = True) -> AuxiliaryTunedLM:
        """Switch the auxiliary's mode; the expert never leaves eval, or its dropout would make it another model."""
        super().train(mode)
        self.expert.eval()
        return self

    def generate(self, *args: Any, weight: float | Tensor = 1.0, **kwargs: Any) -> Any:
        """As in `transformers`, with ``keyword_ids`` and ``weight``: λ, one number or one per row."""
        weights = torch.as_tensor(weight, dtype=torch.float32, device=self.device)
        # beam search repeats every tensor once per beam, which suits one number per row and no other
        return super().generate(*args, weight=float(weights) if weights.numel() == 1 else weights, **kwargs)

    @torch.inference_mode()
    def read_preamble(self, rows: int) -> DynamicCache:
        """A cache that has read all of the preamble but its last token: ``past_key_values`` for ``generate``.

        The preamble is the same for every text, so one row reads it and the other rows get copies. For rows without
        padding only, and not for beam search, which wants a cache of its own size.
        """
        ids = torch.tensor([self.frame.preamble_ids[:-1]], device=self.device)
        cache = DynamicCache(config=self.config)
        if ids.shape[1]:
            self(ids, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(rows)
        return cache

    def inputs_for(self, keywords: Sequence[str | None], starts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What ``generate`` and ``forward`` take, one row per keyword: preamble, the text so far, left-padded.

        Args:
            keywords: None asks for nothing (the auxiliary then only knows the task's style).
            starts: how each text begins, ``""`` by default.

        Returns:
            ``input_ids``, ``attention_mask`` ``[B, T]``; ``keyword_ids [B, F, K]``.
        """
        if not keywords:
            raise KeywordError("no keyword was given, so there is no row to generate; pass at least one (or [None]).")
        tokenizer = self.expert_info.tokenizer
        texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in starts or [""] * len(keywords)]
        rows = [[*self.frame.preamble_ids, *text] for text in texts]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "keyword_ids": keyword_batch(tokenizer, keywords)}
        return {name: value.to(self.device) for name, value in inputs.items()}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        keyword_ids: Tensor | None = None,
        weight: float | Tensor = 1.0,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        context_ids: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Joint logits, and the loss when labels are given.

        Args:
            input_ids: ``[B, T]``, only the new tokens when a cache is given.
            attention_mask: ``[B, L]`` over everything read so far, 0 on left padding.
            keyword_ids: ``[B, F, K]`` from ``inputs_for`` or ``keyword_batch``; None asks for nothing.
            weight: λ, a number or ``[B]``.
            labels: ``[B, T]``, -100 where nothing is scored; shifted here, as everywhere in `transformers`.
            context_ids: ``[B, L]``, everything read so far: the keyword's progress is read from it. ``generate``
                passes it; without a cache it is ``input_ids``.
            logits_to_keep: only the last so many positions (0: all).
        """
        context_ids = input_ids if context_ids is None else context_ids
        if attention_mask is None:
            attention_mask = torch.ones_like(context_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        hidden = self.expert.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids[:, -input_ids.shape[1] :],
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        )
        states = hidden.last_hidden_state
        lm_logits = F.linear(states, self.expert_info.unembedding).float()
        log_z = torch.logsumexp(lm_logits, -1)
        parts = self._ask(input_ids, context_ids, attention_mask, states, log_z, keyword_ids, past_key_values)
        joint_logits = self._add(lm_logits, parts, as_weight(weight, len(input_ids), states.device), logits_to_keep)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(joint_logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=joint_logits, past_key_values=past_key_values)

    def _ask(
        self,
        input_ids: Tensor,
        context_ids: Tensor,
        attention_mask: Tensor,
        states: Tensor,
        log_z: Tensor,
        keyword_ids: Tensor | None,
        cache: Any,
    ) -> Parts:
        """Let the auxiliary speak at the new positions."""
        new = input_ids.shape[1]
        position = attention_mask.cumsum(-1) - len(self.frame.preamble_ids)
        position = position.masked_fill(attention_mask == 0, -1)
        if keyword_ids is None:
            keyword_ids = torch.full((len(input_ids), 2, 1), NO_PIECE, device=input_ids.device)
        progress = read_progress(context_ids, position, keyword_ids, self.continues)
        latest = Progress(progress.state[:, -new:], progress.next_piece[:, -new:], progress.remaining[:, -new:])
        first_slot = self.config.num_hidden_layers - self.auxiliary.config.layers
        return self.auxiliary(
            input_ids,
            states,
            log_z,
            position[:, -new:],
            keyword_ids,
            latest,
            text_mask(position, new),
            cache,
            first_slot,
        )

    def _add(self, lm_logits: Tensor, parts: Parts, weight: Tensor, keep: int) -> Tensor:
        """Add λ times the parts to the expert's logits, in place: they are fresh, and V numbers a row need no copy."""
        joint_logits, kept = lm_logits[:, -keep:], slice(-keep, None) if keep else slice(None)
        weight = weight.unsqueeze(-1)
        if parts.shift is not None:
            aux_logits = weight * F.linear(parts.shift[:, kept], parts.matrix.to(parts.shift.dtype)).float()
            if parts.support is None:
                joint_logits += aux_logits
            else:
                joint_logits.index_add_(-1, parts.support, aux_logits)
        if parts.boosts is not None:
            boosts = weight * torch.where(parts.boost_ids == NO_PIECE, 0.0, parts.boosts)[:, kept]
            joint_logits.scatter_add_(-1, parts.boost_ids[:, kept].clamp(min=0), boosts)
        return joint_logits

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """As usual, and everything read so far beside the new token: the keyword's progress depends on all of it."""
        return {**super().prepare_inputs_for_generation(input_ids, **kwargs), "context_ids": input_ids}

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the auxiliary, and of the expert only its reference and fingerprint."""
        Kept(self.auxiliary, self.expert_info, self.frame, self.receipt).save(save_directory)

    @classmethod
    def from_pretrained(cls, folder: str | Path, expert: Expert | None = None, **kwargs: Any) -> AuxiliaryTunedLM:
        """Load an auxiliary and put it beside its expert; arguments and errors are those of `Kept.load`."""
        kept = Kept.load(folder, expert)
        model = cls(kept.expert, kept.auxiliary, kept.frame)
        model.receipt = kept.receipt
        return model
