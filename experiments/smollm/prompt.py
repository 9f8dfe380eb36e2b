"""Prompts that request a keyword, and a causal language model behind one of them.

The text begins on a line of its own and ends with the line, as in the template that our auxiliary was trained with, so
that the scored tokens are the same for all systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auxlib.features import EXAMPLES_PREAMBLE
from auxlib.frozen import Expert
from auxlib.generation import SAMPLING

IGNORE_INDEX = -100
EXAMPLE_WORDS = ("postman", "violin", "street", "committee", "fence", "autumn")  # words of the preamble's sentences
PromptTemplate = Callable[[str], str]  # from a word to the text in front of the sentence


def bare_request_prompt(word: str) -> str:
    """Return the bare request, which a model can be trained to answer."""
    return f"A sentence with the word {word}:\n"


def no_request_prompt(word: str) -> str:
    """Return the preamble of our auxiliary, which names no word."""
    return EXAMPLES_PREAMBLE


def few_shot_prompt(word: str) -> str:
    """Return six requests with their answers, then the request; the answers are the sentences of the preamble."""
    sentences = EXAMPLES_PREAMBLE.splitlines()[1:]
    examples = [f"{bare_request_prompt(w)}{text}\n" for w, text in zip(EXAMPLE_WORDS, sentences, strict=True)]
    return "".join(examples) + bare_request_prompt(word)


def instruction_prompt(expert: Expert) -> PromptTemplate:
    """Return the template of an instruction in the chat format of the expert's tokenizer."""

    def template(word: str) -> str:
        request = f"Write one short example sentence that uses the word {word}. Write nothing else."
        turns = [{"role": "user", "content": request}]
        return str(expert.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    return template


def stop_ids(expert: Expert, end_id: int) -> list[int]:
    """Return the tokens that end a text for every system: the newline, and the end marks of the model's training."""
    return sorted({end_id, expert.end_of_text_id, expert.tokenizer.eos_token_id})


class PromptedModel(nn.Module):
    """A causal language model that reads the keyword in a prompt.

    Args:
        expert: its tokenizer and its begin-of-text token are used.
        template: from a word to the text in front of the sentence.
        model: the expert's own, or a trained copy of it.
        chat: the prompt is in chat format, which has begin and end marks of its own.
    """

    def __init__(
        self,
        expert: Expert,
        template: PromptTemplate = bare_request_prompt,
        model: Any = None,
        chat: bool = False,
    ) -> None:
        super().__init__()
        self.expert, self.template, self.chat = expert, template, chat
        self.model: Any = expert.model if model is None else model  # a `PreTrainedModel` or a `PeftModel`

    def prompt_ids(self, word: str) -> list[int]:
        """Return the begin-of-text token, which chat prompts bring along, and the prompt's tokens."""
        begin = [] if self.chat else [self.expert.end_of_text_id]
        return begin + self._ids(self.template(word))

    def _ids(self, text: str) -> list[int]:
        return self.expert.tokenizer(text, add_special_tokens=False)["input_ids"]

    def batch(self, words: Sequence[str], texts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Return prompts with their texts as inputs of a causal model, ``[B, T]``; only the texts have labels."""
        prompts = [self.prompt_ids(word) for word in words]
        width = max(len(prompt) + len(text) for prompt, text in zip(prompts, texts, strict=True))
        ids = torch.full((len(words), width), self.expert.end_of_text_id)
        labels, mask = torch.full_like(ids, IGNORE_INDEX), torch.zeros_like(ids)
        for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            start, stop = len(prompt), len(prompt) + len(text)
            ids[row, :stop] = torch.tensor([*prompt, *text])
            labels[row, start:stop] = torch.tensor(list(text))
            mask[row, :stop] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the batch on the model's device."""
        return {name: value.to(self.model.device) for name, value in batch.items()}

    @torch.inference_mode()
    def nll(self, words: Sequence[str], texts: Sequence[Sequence[int]], size: int = 32) -> float:
        """Return the mean negative log-likelihood of texts given their words, in nats per token over all tokens."""
        total, count = 0.0, 0
        for first in range(0, len(words), size):
            batch = self.on_device(self.batch(words[first : first + size], texts[first : first + size]))
            labels = batch.pop("labels")[:, 1:]
            logits = self.model(**batch).logits[:, :-1]
            total += float(F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE_INDEX, reduction="sum"))
            count += int((labels != IGNORE_INDEX).sum())
        return total / count

    @torch.inference_mode()
    def write(self, words: Sequence[str], end_id: int, seed: int = 0, size: int = 32, **generation: Any) -> list[str]:
        """Return one sampled line for each word, with the sampling options of `auxlib.recipes.SAMPLING`."""
        torch.manual_seed(seed)
        padding = self.expert.end_of_text_id
        options = {**SAMPLING, "eos_token_id": stop_ids(self.expert, end_id), "pad_token_id": padding, **generation}
        texts: list[str] = []
        for first in range(0, len(words), size):
            inputs = _left_padded([self.prompt_ids(word) for word in words[first : first + size]], padding)
            ids = self.model.generate(**self.on_device(inputs), **options)[:, inputs["input_ids"].shape[1] :]
            texts += self.expert.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def _left_padded(rows: Sequence[Sequence[int]], padding: int) -> dict[str, Tensor]:
    """Return token ids ``[B, T]`` with padding on the left, and their mask."""
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), padding), torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(list(tokens)), 1
    return {"input_ids": ids, "attention_mask": mask}
