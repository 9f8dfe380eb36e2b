"""Sampling sentences from an auxiliary-tuned model: one per row of keywords, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from auxlib.constraints import KeywordConstraint
from auxlib.errors import KeywordError
from auxlib.keywords import Keywords
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.product import Weight

SAMPLING = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 0, "max_new_tokens": 24}
OTHER_ENDS = {"eos_token_id", "max_length", "max_time", "stop_strings", "stopping_criteria"}


@torch.inference_mode()
def write_sentences(
    model: AuxiliaryTunedLM,
    keywords: Sequence[Keywords],
    weight: Weight = 1.0,
    start: str = "",
    seed: int | None = 0,
    batch_size: int = 32,
    progress: bool = False,
    guarantee: bool = False,
    auxiliaries: Sequence[str] | None = None,
    **generation: Any,
) -> list[str]:
    """Generate one sentence per row of keywords.

    Args:
        keywords: a word for each sentence, several words, or None for none.
        weight: λ, one number, one per sentence, or one per word ``[B, N]``; 0 is the frozen model.
        start: the beginning of every sentence.
        guarantee: no sentence ends without its words (`auxlib.constraints`); ``max_new_tokens`` is then the only limit
            that is allowed.
        seed: for sampling; None leaves the generator as it is.
        auxiliaries: names of the auxiliaries that read the words; the first one by default.
        generation: further arguments of ``generate``; by default nucleus 0.95 at temperature 0.8, 24 new tokens.

    Returns:
        The sentences, ``start`` included, without the preamble.

    Raises:
        KeywordError: a word that cannot be a keyword; or a guarantee beside another rule that may end a text.
        WeightError: a weight is not finite, or there is not one for each row or each word.
    """
    options = {**SAMPLING, **generation}
    if guarantee and (ends := OTHER_ENDS & options.keys()):
        raise KeywordError(
            f"{', '.join(sorted(ends))} may end a text before its words are there; with a guarantee only "
            "max_new_tokens does."
        )
    if not keywords:
        return []
    if seed is not None:
        torch.manual_seed(seed)
    terms = model.encode_conditions(keywords, weight, auxiliaries)
    sentences: list[str] = []
    batches = [range(len(keywords))[first : first + batch_size] for first in range(0, len(keywords), batch_size)]
    for rows in tqdm(batches, desc="writing", unit="batch", disable=not progress):
        inputs, conditions = model.tokenise([start] * len(rows)), terms.select(rows)
        # all rows begin alike, so the preamble is computed for one of them
        cache = None
        if _one_text_a_row(options):
            cache = model.read_preamble(len(rows), len(terms.auxiliaries), terms.auxiliaries)
        processors = list(generation.get("logits_processor", ()))
        if guarantee:
            constrained = {**inputs, "keyword_ids": conditions.keyword_ids}
            processors.append(KeywordConstraint.beside(model, constrained, options["max_new_tokens"]))
        arguments = {**inputs, **options, **({"logits_processor": processors} if processors else {})}
        ids = model.generate(terms=conditions, past_key_values=cache, **arguments)
        texts = model.expert_info.tokenizer.batch_decode(
            ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        sentences += [start + text for text in texts]
    return [" ".join(sentence.split()) for sentence in sentences]


def _one_text_a_row(options: dict[str, Any]) -> bool:
    """Return whether rows stay as they are: beams and several texts a row need a cache of their own size."""
    return options.get("use_cache", True) and options.get("num_beams", 1) == options.get("num_return_sequences", 1) == 1
