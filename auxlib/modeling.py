"""Both together: a frozen expert and an auxiliary as one ordinary `transformers` model.

``AuxiliaryTunedLM`` generates, scores and saves like any causal language model. Two further inputs steer it:
``keyword_ids`` (the conditions, per row) and ``weight`` (λ, a number, one per row, or one per keyword). More
auxiliaries can be put beside the same expert by name. All share one cache: the auxiliaries' layers take the layer
numbers after the expert's, so beam search reorders all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from auxlib.auxiliary import AuxiliaryModel
from auxlib.checkpoint import AuxiliaryCheckpoint
from auxlib.composition import AuxiliaryInputs, ConditionTerms, add_logits, auxiliary_logits
from auxlib.errors import CheckpointError, ExpertMismatch, KeywordError
from auxlib.features import TextTemplate
from auxlib.frozen import Expert
from auxlib.keywords import NO_PIECE, Keywords, boundary_unsafe_mask, continuation_mask, keyword_batch
from auxlib.product import nucleus
from auxlib.sparse_logits import SparseLogits


class AuxiliaryTunedConfig(PreTrainedConfig):
    """What `generate` needs to know, most of it the expert's; layers count both halves, for the shared cache."""

    model_type = "auxiliary_tuned"

    @classmethod
    def of(cls, expert: Expert, frame: TextTemplate) -> AuxiliaryTunedConfig:
        base = expert.model.config.get_text_config()
        return cls(
            vocab_size=base.vocab_size,
            hidden_size=base.hidden_size,
            num_attention_heads=base.num_attention_heads,
            num_hidden_layers=base.num_hidden_layers,
            max_position_embeddings=base.max_position_embeddings,
            eos_token_id=frame.end_id,
            pad_token_id=expert.end_of_text_id,
            bos_token_id=frame.preamble_ids[0],
        )


class AuxiliaryTunedLM(PreTrainedModel, GenerationMixin):
    """A frozen language model plus auxiliaries: ``softmax(lm_logits + Σ λ · aux_logits)``.

    Args:
        expert: the frozen half; its weights are shared, never copied or saved.
        auxiliary: the trained half, the first one. It speaks for every keyword unless ``auxiliaries`` says otherwise.
        frame: preamble and end of a text.
        name: the first auxiliary's; more are added by ``add``.
    """

    config_class = AuxiliaryTunedConfig
    main_input_name = "input_ids"
    _supports_sdpa = True
    accepts_loss_kwargs = False  # the loss is a mean: a trainer that accumulates must divide by its number of steps

    def __init__(
        self, expert: Expert, auxiliary: AuxiliaryModel, template: TextTemplate, name: str = "keyword"
    ) -> None:
        super().__init__(AuxiliaryTunedConfig.of(expert, template))
        self.expert_info, self.template = expert, template
        self.expert, self.auxiliaries = expert.model, nn.ModuleDict()
        self.add(name, auxiliary)
        continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
        self.register_buffer("continuation_mask", continues.to(expert.model.device), persistent=False)
        self.generation_config = GenerationConfig(
            eos_token_id=template.end_id, pad_token_id=expert.end_of_text_id, bos_token_id=template.preamble_ids[0]
        )
        self.receipts: dict[str, dict[str, Any]] = {}

    @property
    def auxiliary(self) -> AuxiliaryModel:
        """The first one: what is trained, and saved unless another one is named."""
        return next(iter(self.auxiliaries.values()))

    @property
    def receipt(self) -> dict[str, Any]:
        """How the first one was made; of the others `receipts` knows."""
        return self.receipts.setdefault(next(iter(self.auxiliaries)), {})

    def add(self, name: str, auxiliary: AuxiliaryModel | str | Path) -> None:
        """Put one more auxiliary beside the expert, which the others do not notice.

        Args:
            name: by which ``auxiliaries`` calls it.
            auxiliary: the model itself, or the folder it was saved in.

        Raises:
            CheckpointError: the name is taken, or cannot be one; or as in `AuxiliaryCheckpoint.load`.
            ExpertMismatch: it was trained beside another expert, or for texts in another frame.
        """
        if not name.isidentifier() or hasattr(self.auxiliaries, name) or name in self.auxiliaries:
            raise CheckpointError(f"{name!r} is no new name for an auxiliary; there are {list(self.auxiliaries)}.")
        if not isinstance(auxiliary, AuxiliaryModel):
            kept = AuxiliaryCheckpoint.load(auxiliary, self.expert_info)
            if kept.template != self.template:
                raise ExpertMismatch(f"the auxiliary in {auxiliary} was trained for texts after another preamble.")
            auxiliary, self.receipts[name] = kept.auxiliary, kept.receipt
        if not torch.equal(auxiliary.unembedding, self.expert_info.unembedding.to(auxiliary.unembedding)):
            raise ExpertMismatch(f"the auxiliary {name!r} was made beside another expert: its output matrix differs.")
        self.auxiliaries[name] = auxiliary.to(self.device)
        self.config.num_hidden_layers += auxiliary.config.layers

    def remove(self, name: str) -> None:
        """Take one away again; at least one stays."""
        if name not in self.auxiliaries or len(self.auxiliaries) == 1:
            raise CheckpointError(f"cannot remove {name!r}: there are {list(self.auxiliaries)}, and one has to stay.")
        self.config.num_hidden_layers -= self.auxiliaries.pop(name).config.layers
        self.receipts.pop(name, None)

    @cached_property
    def boundary_unsafe_mask(self) -> Tensor:
        """``[V]`` from ``boundary_unsafe_mask``, on the CPU."""
        return boundary_unsafe_mask(self.expert_info.tokenizer, len(self.continuation_mask))

    def train(self, mode: bool = True) -> AuxiliaryTunedLM:
        """Switch the auxiliary's mode; the expert never leaves eval, or its dropout would make it another model."""
        super().train(mode)
        self.expert.eval()
        return self

    def generate(
        self, *args: Any, weight: float | Tensor = 1.0, schedule: Sequence[float] | None = None, **kwargs: Any
    ) -> Any:
        """As in `transformers`, with what ``forward`` takes: ``keyword_ids``, ``weight``, ``auxiliaries`` and the rest.

        Order of operations: the sum over all auxiliaries, then logits processors (a guarantee is one), then
        temperature, then top-k and top-p. Any other order gives another distribution (identity I9 of the course).
        """
        weights = torch.as_tensor(weight, dtype=torch.float32, device=self.device)
        # beam search repeats every tensor once per beam, which suits one number per row or keyword and no other
        kwargs["weight"] = float(weights) if weights.numel() == 1 else weights
        if schedule is not None:
            kwargs["schedule"] = [float(factor) for factor in schedule]
        return super().generate(*args, **kwargs)

    @torch.inference_mode()
    def read_preamble(self, rows: int, terms: int = 1, auxiliaries: Sequence[str] | None = None) -> DynamicCache:
        """A cache that has read all of the preamble but its last token: ``past_key_values`` for ``generate``.

        The preamble is the same for every text, so one row reads it and the other rows get copies. For rows without
        padding only, and not for beam search, which wants a cache of its own size.

        Args:
            rows: B.
            terms: N, how many keywords the rows will be asked for.
            auxiliaries: who will speak for them, as in ``forward``.
        """
        ids = torch.tensor([self.template.preamble_ids[:-1]], device=self.device)
        cache = DynamicCache(config=self.config)
        if ids.shape[1]:
            nothing = torch.full((1, terms, 2, 1), NO_PIECE, device=self.device)
            self(ids, keyword_ids=nothing, auxiliaries=auxiliaries, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(rows)
        return cache

    def inputs_for(self, keywords: Sequence[Keywords], starts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What ``generate`` and ``forward`` take, one row per entry: preamble, the text so far, left-padded.

        Args:
            keywords: a word for each row, or several words; None asks for nothing (the auxiliary then only knows the
                task's style).
            starts: how each text begins, ``""`` by default.

        Returns:
            ``input_ids``, ``attention_mask`` ``[B, T]``; ``keyword_ids`` as from ``keyword_batch``.
        """
        if not keywords:
            raise KeywordError("no keyword was given, so there is no row to generate; pass at least one (or [None]).")
        tokenizer = self.expert_info.tokenizer
        texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in starts or [""] * len(keywords)]
        rows = [[*self.template.preamble_ids, *text] for text in texts]
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
        auxiliaries: Sequence[str] | None = None,
        schedule: Sequence[float] | None = None,
        expert_top_p: float | None = None,
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
            keyword_ids: ``[B, F, K]`` from ``inputs_for`` or ``keyword_batch``, or ``[B, N, F, K]`` for N keywords a
                row; None asks for nothing.
            weight: λ, a number, ``[B]`` or ``[B, N]``.
            auxiliaries: which auxiliary speaks for each of the N keywords; the first one for all by default.
            schedule: a factor for λ at the text's first token, its second, …; the last one holds from there on.
            expert_top_p: nobody can say what lies outside this nucleus of the frozen model, but for the pieces that an
                auxiliary with a copy head wants next.
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
        position = attention_mask.cumsum(-1) - len(self.template.preamble_ids)
        position = position.masked_fill(attention_mask == 0, -1)
        # nobody reads what the expert expects inside the preamble: there V logits a position can be spared
        read = logits_to_keep and max(logits_to_keep, _columns_of_text(position, states.shape[1]))
        lm_logits = F.linear(states[:, -read:], self.expert_info.unembedding).float()
        log_z = F.pad(torch.logsumexp(lm_logits, -1), (states.shape[1] - lm_logits.shape[1], 0))
        inputs = AuxiliaryInputs(input_ids, states, log_z, context_ids, position, past_key_values)
        terms = ConditionTerms.of(keyword_ids, weight, auxiliaries, list(self.auxiliaries), input_ids)
        joint_logits = lm_logits[:, -logits_to_keep:]
        allowed = None if expert_top_p is None else nucleus(joint_logits, expert_top_p)
        likeliest = None if allowed is None else joint_logits.argmax(-1, keepdim=True)  # always inside
        for parts in self._auxiliary_logits(terms, inputs, schedule):
            add_logits(joint_logits, parts, logits_to_keep)
            if allowed is not None and parts.boosts is not None:
                needed = parts.boost_ids[:, -joint_logits.shape[1] :]
                allowed.scatter_(-1, torch.where(needed < 0, likeliest, needed), True)
        if allowed is not None:
            joint_logits.masked_fill_(~allowed, -torch.inf)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(joint_logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=joint_logits, past_key_values=past_key_values)

    def _auxiliary_logits(
        self, terms: ConditionTerms, inputs: AuxiliaryInputs, schedule: Sequence[float] | None
    ) -> Iterator[SparseLogits]:
        """Let every auxiliary that has a term speak at the new positions."""
        slot = self.config.num_hidden_layers - sum(one.config.layers for one in self.auxiliaries.values())
        for name, auxiliary in self.auxiliaries.items():
            if (own := terms.for_auxiliary(name)) is not None:
                yield auxiliary_logits(auxiliary, own, inputs, self.continuation_mask, slot, schedule)
            slot += auxiliary.config.layers

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """As usual, and everything read so far beside the new token: the keyword's progress depends on all of it."""
        return {**super().prepare_inputs_for_generation(input_ids, **kwargs), "context_ids": input_ids}

    def save_pretrained(self, save_directory: str | Path, name: str | None = None, **kwargs: Any) -> None:
        """Write one auxiliary, the first by default, and of the expert only its reference and fingerprint."""
        name = next(iter(self.auxiliaries)) if name is None else name
        if name not in self.auxiliaries:
            raise CheckpointError(f"cannot save {name!r}: there are {list(self.auxiliaries)}.")
        AuxiliaryCheckpoint(self.auxiliaries[name], self.expert_info, self.template, self.receipts.get(name, {})).save(
            save_directory
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, expert: Expert | None = None, swap: bool = False, **kwargs: Any
    ) -> AuxiliaryTunedLM:
        """Load an auxiliary beside its expert; arguments and errors are those of `AuxiliaryCheckpoint.load`."""
        kept = AuxiliaryCheckpoint.load(folder, expert, swap)
        model = cls(kept.expert, kept.auxiliary, kept.template)
        model.receipt.update(kept.receipt)
        return model


def _columns_of_text(position: Tensor, new: int) -> int:
    """In how many of the last columns, of those that are new, any row's text has begun."""
    return new if new == 1 else int((position[:, -new:] >= 0).any(0).sum())
