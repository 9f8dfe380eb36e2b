"""How does the auxiliary learn?

By maximum likelihood of the task's texts under the product, with the expert fixed. Its hidden states come from the
feature cache, so the loop below never runs the expert: it is `transformers.Trainer` (checkpoints, resume, bf16,
logging, ``accelerate``) around one small module.

A text that holds its keyword shows what comes next. A text that does *not* hold the keyword teaches something too: it
cannot have been over where it ended. Such a censored observation has a likelihood as well, ``P(next token closes
nothing)``, and it matters: a sampled text that has missed its word looks like these, and unlike anything in the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from auxlib.auxiliary import AuxiliaryModel, text_mask
from auxlib.errors import KeywordError
from auxlib.features import CLOSING
from auxlib.keywords import (
    INSIDE,
    Chooser,
    Spelling,
    choose_keyword,
    encode_keyword,
    is_spelled_in,
    pad_keywords,
    read_each,
)
from auxlib.parts import Parts, not_any_nll, token_nll

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer

IGNORED = -100
NOTHING: Spelling = ((), ())


class FeatureCollator:
    """Rows of the feature cache to one padded batch, with a condition drawn anew for each row.

    Args:
        tokenizer: the expert's.
        opening_id: the last token before the text.
        drop: share of rows whose condition is left out, so that one auxiliary also learns the unconditional task.
        foreign: share of rows that are asked for another row's word, and only teach that they cannot end without it.
        most: rows are asked for up to so many of their words; how many is drawn evenly.
        spelled: False where keywords are labels, such as "short", which no text needs to hold.
        chooser: which of a row's keywords is asked for. Only those that the keyword automaton would find in the row are
            offered: a word in quotes or in unusual capitals would teach that a text may end without its keyword.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        opening_id: int,
        drop: float = 0.1,
        foreign: float = 0.0,
        chooser: Chooser = choose_keyword,
        seed: int = 0,
        most: int = 1,
        spelled: bool = True,
    ) -> None:
        self.opening_id, self.drop, self.foreign, self.chooser = opening_id, drop, foreign, chooser
        self.most, self.spelled = most, spelled
        self.draw = random.Random(seed)
        self.encode = lru_cache(maxsize=200_000)(partial(_pieces, tokenizer))

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """``token_ids``, ``targets``, ``rest``, ``log_z`` ``[B, T]``; ``hidden [B, T, D]``; ``keyword_ids [B, F, K]``
        (``[B, N, F, K]`` if several are asked for); ``censored [B]``, True for rows asked for a foreign word."""
        keywords, censored = self._conditions(rows)
        texts = [_copied(row["token_ids"]).long() for row in rows]
        read = [torch.cat([text.new_tensor([self.opening_id]), text[:-1]]) for text in texts]
        hidden = [_copied(row["hidden"]).reshape(len(text), -1) for row, text in zip(rows, texts, strict=True)]
        return {
            "token_ids": pad_sequence(read, batch_first=True, padding_value=self.opening_id),
            "targets": pad_sequence(texts, batch_first=True, padding_value=IGNORED),
            "hidden": pad_sequence(hidden, batch_first=True),
            "rest": pad_sequence([_copied(row["rest"]) for row in rows], batch_first=True),
            "log_z": pad_sequence([_copied(row["log_z"]) for row in rows], batch_first=True),
            "keyword_ids": self._stacked(keywords),
            "censored": torch.tensor(censored),
        }

    def _conditions(self, rows: Sequence[dict[str, Any]]) -> tuple[list[list[Spelling]], list[bool]]:
        """The conditions of each row: its own words, none, or one of its neighbour's in the place of an own one."""
        texts = [[int(token) for token in row["token_ids"]] for row in rows]
        own = [self._own(row["keywords"], ids) for row, ids in zip(rows, texts, strict=True)]
        keywords, censored = [], []
        for i, ids in enumerate(texts):
            other = own[i - 1][0]
            swap = self.draw.random() < self.foreign and bool(other[INSIDE]) and not is_spelled_in(ids, other)
            drop = not swap and self.draw.random() < self.drop
            keywords.append([*own[i][1:], other] if swap else [NOTHING] if drop else own[i])
            censored.append(swap)
        return keywords, censored

    def _own(self, keywords: Sequence[str], ids: Sequence[int]) -> list[Spelling]:
        """The pieces of one or more of a row's own keywords; nothing when none of them is spelled out as pieces."""
        usable = [pair for pair in map(self.encode, keywords) if pair]
        spelled = [pair for pair in usable if is_spelled_in(ids, pair)] if self.spelled else usable
        chosen: list[Spelling] = []
        for _ in range(self.draw.randint(1, self.most) if self.most > 1 else 1):
            if (one := self.chooser([pair for pair in spelled if pair not in chosen], self.draw)) is not None:
                chosen.append(one)
        return chosen or [NOTHING]

    def _stacked(self, keywords: Sequence[Sequence[Spelling]]) -> Tensor:
        if self.most == 1:
            return pad_keywords([row[0] for row in keywords])
        filled = [pair for row in keywords for pair in [*row, *[NOTHING] * (self.most - len(row))]]
        return pad_keywords(filled).unflatten(0, (len(keywords), self.most))


def _pieces(tokenizer: PreTrainedTokenizerBase, word: str) -> Spelling | None:
    """None for what cannot be a keyword: one odd word in a corpus is no reason to stop a training."""
    try:
        return encode_keyword(tokenizer, word)
    except KeywordError:
        return None


def _copied(values: Any) -> Tensor:
    """A tensor of its own: the table's memory is mapped from disk and must not be written to."""
    return values.clone() if isinstance(values, Tensor) else torch.tensor(values)


class FeatureLoss(nn.Module):
    """The product's log-loss on cached features: what the trainer trains.

    Args:
        auxiliary: the only thing in here with parameters.
        continues: ``[V]`` from ``word_continues``.
    """

    def __init__(self, auxiliary: AuxiliaryModel, continues: Tensor) -> None:
        super().__init__()
        self.auxiliary = auxiliary
        self.register_buffer("continues", continues, persistent=False)

    def forward(
        self,
        token_ids: Tensor,
        targets: Tensor,
        hidden: Tensor,
        rest: Tensor,
        log_z: Tensor,
        keyword_ids: Tensor,
        censored: Tensor,
    ) -> dict[str, Tensor]:
        """Mean nats per scored position, and the nats of each token (``[B, T]``, zero on padding and censored rows)."""
        position = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
        progress = read_each(token_ids, position, keyword_ids, self.continues)
        states = hidden.to(self.auxiliary.unembedding.dtype)
        mask = text_mask(position, token_ids.shape[1])
        parts = self.auxiliary(token_ids, states, log_z, position, keyword_ids, progress, mask)
        seen = (targets != IGNORED) & ~censored.unsqueeze(1)
        over = self._closing(targets) & censored.unsqueeze(1)
        unembedding = self.auxiliary.unembedding
        nll = token_nll(states[seen], rest[seen], _pick(parts, seen), unembedding, targets[seen])
        closing = self.auxiliary.groups[:, CLOSING].nonzero().squeeze(-1)
        lost = not_any_nll(states[over], rest[over], _pick(parts, over), unembedding, closing)
        total = (nll.sum() + lost.sum()) / (len(nll) + len(lost))
        return {"loss": total, "nll": torch.zeros_like(rest).masked_scatter(seen, nll.to(rest.dtype))}

    def _closing(self, targets: Tensor) -> Tensor:
        return self.auxiliary.groups[targets.clamp(min=0), CLOSING] & (targets != IGNORED)


def _pick(parts: Parts, chosen: Tensor) -> Parts:
    """The parts at chosen positions, flattened to ``[N, …]``: padding pays for no unembedding."""
    return replace(
        parts,
        shift=parts.shift[chosen],
        boost_ids=None if parts.boosts is None else parts.boost_ids[chosen],
        boosts=None if parts.boosts is None else parts.boosts[chosen],
    )


@dataclass(frozen=True)
class TrainingRun:
    """What a training produced beside the trained weights: for receipts and pictures.

    Attributes:
        steps, losses: the logged optimiser steps and the mean training loss since the one before.
        dev_loss: nats per token on the dev features, if they were given.
        minutes: of the training loop alone.
    """

    steps: list[int]
    losses: list[float]
    dev_loss: float | None
    minutes: float


def train_auxiliary(
    loss: FeatureLoss,
    features: Dataset,
    collator: FeatureCollator,
    dev_features: Dataset | None = None,
    output_dir: str | Path = "build/training",
    epochs: float = 4,
    batch_size: int = 48,
    learning_rate: float = 1e-3,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> TrainingRun:
    """Train in place with ``transformers.Trainer``: AdamW, short warm-up, cosine to zero, gradients clipped at one.

    Args:
        loss: the auxiliary and what scores it.
        features: from ``cache_features``; texts of similar length share a batch.
        collator: draws conditions and pads.
        output_dir: checkpoints of every epoch go here, so that ``resume=True`` goes on where a killed run stopped.
        resume: go on from the newest checkpoint in ``output_dir``, if there is one.
    """
    from transformers.trainer_utils import get_last_checkpoint

    trainer = _trainer(loss, features, collator, Path(output_dir), epochs, batch_size, learning_rate, seed, progress)
    last = get_last_checkpoint(str(output_dir)) if resume and Path(output_dir).is_dir() else None
    start = perf_counter()
    trainer.train(resume_from_checkpoint=last)
    minutes = (perf_counter() - start) / 60
    logged = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    dev_loss = mean_nll(loss, dev_features, collator) if dev_features is not None else None
    return TrainingRun([step for step, _ in logged], [value for _, value in logged], dev_loss, minutes)


def _trainer(
    loss: FeatureLoss,
    features: Dataset,
    collator: FeatureCollator,
    output_dir: Path,
    epochs: float,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: bool,
) -> Trainer:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    steps = max(1, int(len(features) / batch_size * epochs))
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(100, steps // 10),
        adam_beta2=0.98,
        weight_decay=0.01,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=max(1, steps // 40),
        report_to="none",
        disable_tqdm=not progress,
        seed=seed,
        use_cpu=loss.continues.device.type == "cpu",
    )
    rows = features.add_column("length", [len(ids) for ids in features["token_ids"]]).with_format("numpy")
    trainer = Trainer(model=loss, args=arguments, train_dataset=rows, data_collator=collator)
    if not progress:
        trainer.remove_callback(PrinterCallback)  # without a bar it prints every log line instead
    return trainer


@torch.inference_mode()
def mean_nll(loss: FeatureLoss, features: Dataset, collator: FeatureCollator, batch_size: int = 64) -> float:
    """Nats per token over a whole feature set, every token counted once."""
    was_training, total, count = loss.training, 0.0, 0
    loss.eval()
    rows = features.with_format("numpy")
    for start in range(0, len(rows), batch_size):
        batch = collator([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
        batch = {name: value.to(loss.continues.device) for name, value in batch.items()}
        total += float(loss(**batch)["nll"].sum())
        count += int(((batch["targets"] != IGNORED) & ~batch["censored"].unsqueeze(1)).sum())
    loss.train(was_training)
    return total / count
