"""A frozen language model and its auxiliaries as one ordinary `transformers` model.

`AuxiliaryTunedLM` generates, scores and saves like any causal language model. Its conditions are further inputs:
``keyword_ids`` (per row) and ``weight`` (λ: a number, one per row, or one per keyword), or both encoded once as
``terms``. More auxiliaries can be added beside the same frozen model by name. All share one cache: the auxiliaries'
layers take the layer numbers after the frozen model's, so beam search reorders all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from auxlib.auxiliary import AuxiliaryModel
from auxlib.checkpoint import AuxiliaryCheckpoint
from auxlib.composition import AuxiliaryInputs, ConditionTerms, auxiliary_logits
from auxlib.errors import CheckpointError, ExpertMismatch
from auxlib.features import TextTemplate
from auxlib.frozen import Expert
from auxlib.keywords import NO_PIECE, Keywords, boundary_unsafe_mask, continuation_mask, keyword_batch
from auxlib.product import Weight, combine, nucleus
from auxlib.sparse_logits import SparseLogits

SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings")


class AuxiliaryTunedConfig(PreTrainedConfig):
    """The settings that `generate` reads, most of them the frozen model's.

    ``num_hidden_layers`` counts the layers of the frozen model and of all auxiliaries: they share one cache.
    """

    model_type = "auxiliary_tuned"

    @classmethod
    def of(cls, expert: Expert, template: TextTemplate) -> AuxiliaryTunedConfig:
        """Take over the frozen model's sizes and the template's special tokens."""
        base = expert.model.config.get_text_config()
        settings: dict[str, Any] = {name: getattr(base, name) for name in SIZES}
        settings |= {"eos_token_id": template.end_id, "bos_token_id": template.preamble_ids[0]}
        settings |= {"pad_token_id": expert.end_of_text_id}
        return cls(**settings)


class AuxiliaryTunedLM(PreTrainedModel, GenerationMixin):
    """A frozen language model plus auxiliaries: ``softmax(lm_logits + Σ λ · aux_logits)``.

    Args:
        expert: the frozen half; its weights are shared, never copied or saved.
        auxiliary: the trained half, the first one. It reads every keyword unless ``auxiliaries`` names others.
        template: preamble and end of a text.
        name: the first auxiliary's; more are added by `add`.
    """

    config_class = AuxiliaryTunedConfig
    main_input_name = "input_ids"
    _supports_sdpa = True
    accepts_loss_kwargs = False  # the loss is a mean: a trainer that accumulates must divide by its number of steps
    continuation_mask: Tensor

    def __init__(
        self, expert: Expert, auxiliary: AuxiliaryModel, template: TextTemplate, name: str = "keyword"
    ) -> None:
        super().__init__(AuxiliaryTunedConfig.of(expert, template))
        self.expert_info, self.template = expert, template
        self.expert, self.auxiliaries = expert.model, nn.ModuleDict()
        self.receipts: dict[str, dict[str, Any]] = {}
        self.add(name, auxiliary)
        continues = continuation_mask(expert.tokenizer, expert.unembedding.shape[0])
        self.register_buffer("continuation_mask", continues.to(expert.model.device), persistent=False)
        self.generation_config = GenerationConfig(
            eos_token_id=template.end_id, pad_token_id=expert.end_of_text_id, bos_token_id=template.preamble_ids[0]
        )

    @property
    def auxiliary(self) -> AuxiliaryModel:
        """The first auxiliary: the one that is trained, and saved unless another one is named."""
        return self._by_name(next(iter(self.auxiliaries)))

    @property
    def receipt(self) -> dict[str, Any]:
        """The first auxiliary's record of how it was made; `receipts` holds those of all."""
        return self.receipts.setdefault(next(iter(self.auxiliaries)), {})

    def _by_name(self, name: str) -> AuxiliaryModel:
        return cast(AuxiliaryModel, self.auxiliaries[name])

    def add(self, name: str, auxiliary: AuxiliaryModel | str | Path) -> None:
        """Add one more auxiliary; the others compute what they computed before.

        Args:
            name: its name in ``auxiliaries``.
            auxiliary: the model itself, or the folder it was saved in.

        Raises:
            CheckpointError: the name is taken or not an identifier; or as in `AuxiliaryCheckpoint.load`.
            ExpertMismatch: it was trained beside another frozen model, or for texts after another preamble.
        """
        if not name.isidentifier() or hasattr(self.auxiliaries, name) or name in self.auxiliaries:
            raise CheckpointError(f"{name!r} is no new name for an auxiliary; there are {list(self.auxiliaries)}.")
        if not isinstance(auxiliary, AuxiliaryModel):
            checkpoint = AuxiliaryCheckpoint.load(auxiliary, self.expert_info)
            if checkpoint.template != self.template:
                raise ExpertMismatch(f"the auxiliary in {auxiliary} was trained for texts after another preamble.")
            auxiliary, self.receipts[name] = checkpoint.auxiliary, checkpoint.receipt
        if not torch.equal(auxiliary.unembedding, self.expert_info.unembedding.to(auxiliary.unembedding)):
            raise ExpertMismatch(f"the auxiliary {name!r} was made beside another expert: its output matrix differs.")
        self.auxiliaries[name] = auxiliary.to(self.device)
        self.config.num_hidden_layers += auxiliary.config.layers

    def remove(self, name: str) -> None:
        """Remove an auxiliary; at least one stays."""
        if name not in self.auxiliaries or len(self.auxiliaries) == 1:
            raise CheckpointError(f"cannot remove {name!r}: there are {list(self.auxiliaries)}, and one has to stay.")
        self.config.num_hidden_layers -= self._by_name(name).config.layers
        del self.auxiliaries[name]
        self.receipts.pop(name, None)

    @cached_property
    def boundary_unsafe_mask(self) -> Tensor:
        """``[V]`` from `auxlib.keywords.boundary_unsafe_mask`, on the CPU."""
        return boundary_unsafe_mask(self.expert_info.tokenizer, len(self.continuation_mask))

    def train(self, mode: bool = True) -> AuxiliaryTunedLM:
        """Switch the auxiliaries' mode; the frozen model stays in eval, since dropout would make it another model."""
        super().train(mode)
        self.expert.eval()
        return self

    def encode_conditions(
        self, keywords: Sequence[Keywords], weight: Weight = 1.0, auxiliaries: Sequence[str] | None = None
    ) -> ConditionTerms:
        """Check, tokenise and shape keywords and weights once: ``terms`` for `forward` and `generate`.

        Args:
            keywords: a word for each row, or several words, or None for rows without a condition.
            weight: λ, a number, ``[B]``, or one for each word, ``[B, N]``.
            auxiliaries: names of the auxiliaries that read the words; the first one by default.
        """
        ids = keyword_batch(self.expert_info.tokenizer, keywords).to(self.device)
        return ConditionTerms.of(ids, weight, auxiliaries, list(self.auxiliaries), len(ids), self.device)

    def generate(
        self,
        inputs: Tensor | None = None,
        *args: Any,
        terms: ConditionTerms | None = None,
        keyword_ids: Tensor | None = None,
        weight: Weight = 1.0,
        auxiliaries: Sequence[str] | None = None,
        schedule: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as in `transformers`; further arguments are those of `forward`.

        Order of operations: the sum over all auxiliaries, then logits processors (`KeywordConstraint` is one), then
        temperature, then top-k and top-p. Any other order gives another distribution (identity I9 of the course).
        """
        if terms is None:
            tokens = inputs if inputs is not None else kwargs.get("input_ids")
            given = keyword_ids if tokens is None else tokens
            rows = 1 if given is None else len(given)
            terms = ConditionTerms.of(keyword_ids, weight, auxiliaries, list(self.auxiliaries), rows, self.device)
        if schedule is not None:
            kwargs["schedule"] = [float(factor) for factor in schedule]
        return super().generate(inputs, *args, terms=terms, **kwargs)  # type: ignore[misc]

    @torch.inference_mode()
    def read_preamble(self, rows: int, terms: int = 1, auxiliaries: Sequence[str] | None = None) -> DynamicCache:
        """Return a cache that holds all of the preamble but its last token: ``past_key_values`` for `generate`.

        The preamble is the same for every text, so one row is computed and copied. For rows without padding only, and
        not for beam search, which needs a cache of its own size.

        Args:
            rows: B.
            terms: N, the number of keywords of each row.
            auxiliaries: names of those that will read the keywords, as in `forward`.
        """
        ids = torch.tensor([self.template.preamble_ids[:-1]], device=self.device)
        cache = DynamicCache(config=self.config)
        if ids.shape[1]:
            absent = torch.full((1, terms, 2, 1), NO_PIECE, device=self.device)
            self(ids, keyword_ids=absent, auxiliaries=auxiliaries, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(rows)
        return cache

    def tokenise(self, starts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask``, ``[B, T]``: the preamble and each text so far, left-padded."""
        tokenizer = self.expert_info.tokenizer
        texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in starts]
        rows = [[*self.template.preamble_ids, *text] for text in texts]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def inputs_for(self, keywords: Sequence[Keywords], starts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the tensors that `generate` and `forward` take, one row per entry.

        Args:
            keywords: a word for each row, or several words; None for a row without a condition (the auxiliary then
                adds the task's style alone).
            starts: how each text begins, ``""`` by default.

        Returns:
            ``input_ids``, ``attention_mask`` ``[B, T]``; ``keyword_ids`` as from ``keyword_batch``.
        """
        keyword_ids = keyword_batch(self.expert_info.tokenizer, keywords).to(self.device)
        return {**self.tokenise(starts or [""] * len(keywords)), "keyword_ids": keyword_ids}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        keyword_ids: Tensor | None = None,
        weight: Weight = 1.0,
        auxiliaries: Sequence[str] | None = None,
        terms: ConditionTerms | None = None,
        schedule: Sequence[float] | None = None,
        expert_top_p: float | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        context_ids: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return the joint logits, and the loss when labels are given.

        Args:
            input_ids: ``[B, T]``, only the new tokens when a cache is given.
            attention_mask: ``[B, L]`` over everything read so far, 0 on left padding.
            keyword_ids: ``[B, F, K]`` from ``inputs_for`` or ``keyword_batch``, or ``[B, N, F, K]`` for N keywords a
                row; None for rows without a condition.
            weight: λ, a number, ``[B]`` or ``[B, N]``.
            auxiliaries: names of the auxiliaries that read the N keywords; the first one for all by default.
            terms: the three before, already encoded by `encode_conditions`; they are then ignored.
            schedule: a factor for λ at the text's first token, its second, …; the last one holds from there on.
            expert_top_p: tokens outside this nucleus of the frozen model are vetoed, except the pieces that an
                auxiliary with a copy head needs next.
            labels: ``[B, T]``, -100 where nothing is scored; shifted here, as everywhere in `transformers`.
            context_ids: ``[B, L]``, everything read so far, from which the keyword's progress is computed. `generate`
                passes it; without a cache it is ``input_ids``.
            logits_to_keep: only the last so many positions (0: all).
        """
        context_ids = input_ids if context_ids is None else context_ids
        if attention_mask is None:
            attention_mask = torch.ones_like(context_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if terms is None:
            names = list(self.auxiliaries)
            terms = ConditionTerms.of(keyword_ids, weight, auxiliaries, names, len(input_ids), input_ids.device)
        position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        states = self.expert.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids[:, -input_ids.shape[1] :],
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        ).last_hidden_state
        position = attention_mask.cumsum(-1) - len(self.template.preamble_ids)
        position = position.masked_fill(attention_mask == 0, -1)
        # the frozen model's logits inside the preamble are used by nothing: V numbers a position can be spared
        read = logits_to_keep and max(logits_to_keep, _columns_of_text(position, states.shape[1]))
        lm_logits = F.linear(states[:, -read:], self.expert_info.unembedding).float()
        log_z = F.pad(torch.logsumexp(lm_logits, -1), (states.shape[1] - lm_logits.shape[1], 0))
        inputs = AuxiliaryInputs(input_ids, states, log_z, context_ids, position, past_key_values)
        lm_logits = lm_logits[:, -logits_to_keep:]
        aux_logits = [
            logits.map(lambda x: x[:, -lm_logits.shape[1] :])
            for logits in self._auxiliary_logits(terms.expand_to(len(input_ids)), inputs, schedule)
        ]
        allowed = None if expert_top_p is None else _nucleus_and_copies(lm_logits, expert_top_p, aux_logits)
        joint_logits = self._joint_logits(lm_logits, aux_logits, allowed)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(joint_logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=joint_logits, past_key_values=past_key_values)

    @staticmethod
    def _joint_logits(lm_logits: Tensor, aux_logits: Sequence[SparseLogits], allowed: Tensor | None) -> Tensor:
        """Return the product's logits: `combine` where a gradient is wanted, else the same sum in place."""
        if torch.is_grad_enabled():
            return combine(lm_logits, [(1.0, logits.dense(lm_logits.shape[-1])) for logits in aux_logits], allowed)
        for logits in aux_logits:
            logits.add_to(lm_logits)
        return lm_logits if allowed is None else lm_logits.masked_fill_(~allowed, -torch.inf)

    def _auxiliary_logits(
        self, terms: ConditionTerms, inputs: AuxiliaryInputs, schedule: Sequence[float] | None
    ) -> Iterator[SparseLogits]:
        """Yield the weighted logits of every auxiliary that has a term, at the new positions."""
        sizes = {name: self._by_name(name).config.layers for name in self.auxiliaries}
        slot = self.config.num_hidden_layers - sum(sizes.values())
        for name, layers in sizes.items():
            if (own := terms.for_auxiliary(name)) is not None:
                yield auxiliary_logits(self._by_name(name), own, inputs, self.continuation_mask, slot, schedule)
            slot += layers

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, **kwargs: Any
    ) -> dict[str, Any]:
        """Add everything read so far to the usual inputs: the keyword's progress depends on all of it."""
        usual = super().prepare_inputs_for_generation(input_ids, **kwargs)  # type: ignore[misc, arg-type]
        return {**usual, "context_ids": input_ids}

    def save_pretrained(  # type: ignore[override]  # an auxiliary is saved, not the whole model
        self, save_directory: str | Path, name: str | None = None, **kwargs: Any
    ) -> None:
        """Write one auxiliary, the first by default; of the frozen model only its reference and fingerprint."""
        name = next(iter(self.auxiliaries)) if name is None else name
        if name not in self.auxiliaries:
            raise CheckpointError(f"cannot save {name!r}: there are {list(self.auxiliaries)}.")
        receipt = self.receipts.get(name, {})
        AuxiliaryCheckpoint(self._by_name(name), self.expert_info, self.template, receipt).save(save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, folder: str | Path, expert: Expert | None = None, swap: bool = False, **kwargs: Any
    ) -> AuxiliaryTunedLM:
        """Load an auxiliary beside its frozen model; arguments and errors as in `AuxiliaryCheckpoint.load`."""
        checkpoint = AuxiliaryCheckpoint.load(folder, expert, swap)
        model = cls(checkpoint.expert, checkpoint.auxiliary, checkpoint.template)
        model.receipt.update(checkpoint.receipt)
        return model


def _columns_of_text(position: Tensor, new: int) -> int:
    """Return how many of the last ``new`` columns belong to the text of at least one row."""
    return new if new == 1 else int((position[:, -new:] >= 0).any(0).sum())


def _nucleus_and_copies(lm_logits: Tensor, top_p: float, aux_logits: Sequence[SparseLogits]) -> Tensor:
    """Return the allowed tokens ``[B, T, V]``: the frozen model's nucleus, and the keyword pieces needed next."""
    allowed = nucleus(lm_logits, top_p)
    likeliest = lm_logits.argmax(-1, keepdim=True)  # always inside: it stands in for absent boosts
    for logits in aux_logits:
        if logits.boost_ids is not None:
            allowed.scatter_(-1, torch.where(logits.boost_ids < 0, likeliest, logits.boost_ids), True)
    return allowed
