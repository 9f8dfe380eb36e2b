"""How is a real model told a keyword in words?

Three ways of asking, and one way of writing and of scoring for whoever is asked. The text begins on a line of its own
and ends with the line, as in the frame that our auxiliary was trained in: the scored tokens are the same for everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auxlib.features import EXAMPLES_PREAMBLE
from auxlib.frozen import Expert
from auxlib.generation import SAMPLING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORE_INDEX = -100
SHOWN = ("postman", "violin", "street", "committee", "fence", "autumn")  # words of the preamble's sentences
Ask = Callable[[str], str]


def asked(word: str) -> str:
    """The bare request: what a model can be trained to understand."""
    return f"A sentence with the word {word}:\n"


def unasked(word: str) -> str:
    """What the frozen model reads when nobody asks it for anything: the auxiliary's own preamble."""
    return EXAMPLES_PREAMBLE


def shown(word: str) -> str:
    """Six requests with their answers first; the sentences are those of the auxiliary's own preamble."""
    sentences = EXAMPLES_PREAMBLE.splitlines()[1:]
    return "".join(f"{asked(w)}{text}\n" for w, text in zip(SHOWN, sentences, strict=True)) + asked(word)


def instructed(expert: Expert) -> Ask:
    """In the chat form that the model was instructed in."""

    def ask(word: str) -> str:
        wish = f"Write one short example sentence that uses the word {word}. Write nothing else."
        turns = [{"role": "user", "content": wish}]
        return expert.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    return ask


def ends(expert: Expert, end_id: int) -> list[int]:
    """The tokens that close a text, for everybody: the line's end, and the marks that the model was trained with."""
    return sorted({end_id, expert.end_of_text_id, expert.tokenizer.eos_token_id})


class Prompted(nn.Module):
    """A model that is told the keyword in words.

    Args:
        expert: whose tokenizer and opening mark are used.
        ask: from a word to the text that stands in front.
        model: the expert's own, or a trained copy of it.
        chat: the request is in chat form, which opens and closes texts with marks of its own.
    """

    def __init__(
        self, expert: Expert, ask: Ask = asked, model: PreTrainedModel | None = None, chat: bool = False
    ) -> None:
        super().__init__()
        self.expert, self.ask, self.chat = expert, ask, chat
        self.model = expert.model if model is None else model

    def prompt_ids(self, word: str) -> list[int]:
        """The opening mark and the request."""
        return [self.expert.end_of_text_id][self.chat :] + self._ids(self.ask(word))

    def _ids(self, text: str) -> list[int]:
        return self.expert.tokenizer(text, add_special_tokens=False)["input_ids"]

    def batch(self, words: Sequence[str], texts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Requests and the texts that answer them, as a causal model learns them: ``[B, T]``, scored on the texts."""
        fronts = [self.prompt_ids(word) for word in words]
        width = max(len(front) + len(text) for front, text in zip(fronts, texts, strict=True))
        ids = torch.full((len(words), width), self.expert.end_of_text_id)
        labels, mask = torch.full_like(ids, IGNORE_INDEX), torch.zeros_like(ids)
        for row, (front, text) in enumerate(zip(fronts, texts, strict=True)):
            ids[row, : len(front) + len(text)] = torch.tensor([*front, *text])
            labels[row, len(front) : len(front) + len(text)] = torch.tensor(list(text))
            mask[row, : len(front) + len(text)] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same where the model is."""
        return {name: value.to(self.model.device) for name, value in batch.items()}

    @torch.inference_mode()
    def nll(self, words: Sequence[str], texts: Sequence[Sequence[int]], size: int = 32) -> float:
        """Nats per token of texts given their words, every token counted once."""
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
        """One line for each word, sampled as everywhere in the course."""
        torch.manual_seed(seed)
        padding = self.expert.end_of_text_id
        options = {**SAMPLING, "eos_token_id": ends(self.expert, end_id), "pad_token_id": padding, **generation}
        written: list[str] = []
        for first in range(0, len(words), size):
            inputs = _left_padded([self.prompt_ids(word) for word in words[first : first + size]], padding)
            ids = self.model.generate(**self.on_device(inputs), **options)[:, inputs["input_ids"].shape[1] :]
            written += self.expert.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in written]


def _left_padded(rows: Sequence[Sequence[int]], padding: int) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), padding), torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(list(tokens)), 1
    return {"input_ids": ids, "attention_mask": mask}
