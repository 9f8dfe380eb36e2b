"""The systems that write around a keyword with SmolLM2, and one trial of one of them.

All systems that learn see the same sentences; all systems write for the same held-out words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from experiments.flops import counted_by_torch
from experiments.metrics import nanmean
from experiments.records import Record, Setting
from experiments.runner import SystemTrial
from experiments.smollm.auxiliary_system import AuxiliarySystem
from experiments.smollm.fine_tuning import PromptedSystem, fine_tuned, lora
from experiments.smollm.prompt import (
    PromptedModel,
    bare_request_prompt,
    few_shot_prompt,
    instruction_prompt,
    no_request_prompt,
)
from experiments.smollm.setup import WritingSetup


class Writer(Protocol):
    """A system that learns from the setup's sentences, writes for words, and scores sentences."""

    def learn(self, setting: Setting) -> dict[str, Any]: ...
    def write(self, words: Sequence[str], **generation: Any) -> list[str]: ...
    def nll(self, rows: Any) -> float | None: ...
    def forgetting(self) -> float: ...


@dataclass(frozen=True)
class SystemSpec:
    """One system of the comparison.

    Attributes:
        label: its name in tables.
        build: from a setup.
        settings: what the search tries; empty if the system does not learn.
    """

    label: str
    build: Callable[[WritingSetup], Writer]
    settings: tuple[Setting, ...] = ()


def grid(*settings: tuple[float, int]) -> tuple[Setting, ...]:
    """Return settings from pairs of learning rate and epochs."""
    return tuple({"rate": rate, "epochs": epochs} for rate, epochs in settings)


def _prompted(setup: WritingSetup, template: Callable[[str], str]) -> PromptedSystem:
    return PromptedSystem(setup, PromptedModel(setup.expert, template))


def _instructed(setup: WritingSetup) -> PromptedSystem:
    return PromptedSystem(setup, PromptedModel(setup.expert, instruction_prompt(setup.expert), chat=True))


SYSTEMS: dict[str, SystemSpec] = {
    "frozen": SystemSpec("frozen model, asked for nothing", lambda setup: _prompted(setup, no_request_prompt)),
    "asked": SystemSpec("prompt: the bare request", lambda setup: _prompted(setup, bare_request_prompt)),
    "shown": SystemSpec("prompt: six examples first", lambda setup: _prompted(setup, few_shot_prompt)),
    "instructed": SystemSpec("prompt: an instruction", _instructed),
    "tuned": SystemSpec(
        "full fine-tuning",
        lambda setup: PromptedSystem(setup, fine_tuned(setup.expert)),
        grid((1e-4, 2), (3e-5, 2), (3e-4, 2)),
    ),
    "lora": SystemSpec(
        "LoRA, rank 16",
        lambda setup: PromptedSystem(setup, lora(setup.expert)),
        grid((1e-3, 2), (3e-4, 2), (3e-3, 2)),
    ),
    "auxiliary": SystemSpec("auxiliary (ours)", AuxiliarySystem, grid((2e-3, 10), (1e-3, 10), (4e-3, 10))),
    "shipped": SystemSpec("auxiliary, of all sentences", AuxiliarySystem),
}


def run_trial(trial: SystemTrial) -> Record:
    """Train a system if it has a setting, measure it, and return plain numbers for JSON."""
    setup = WritingSetup(trial.size, trial.seed)
    torch.manual_seed(trial.seed)
    writer = SYSTEMS[trial.system].build(setup)
    costs = writer.learn(trial.setting)
    figures: Record = {"dev_nll": writer.nll(setup.corpus["dev"])}
    if trial.size.questions:
        figures |= measure_writer(writer, setup)
    named = {"system": trial.system, "seed": trial.seed, "sentences": trial.size.train, "setting": trial.setting}
    return named | costs | figures


def measure_writer(writer: Writer, setup: WritingSetup) -> dict[str, Any]:
    """Return test figures: texts for held-out words, and the scores of held-out sentences."""
    texts = writer.write(setup.words, min_new_tokens=1)  # at least one token: an empty text has no SLOR
    return {
        **setup.score_texts(texts, setup.words),
        "slor_human": nanmean([setup.judge.slor(setup.ids(text)[:-1]) for text in setup.test["text"]]),
        "nll": writer.nll(setup.test),
        "forgotten": round(writer.forgetting(), 4),
        "flops_per_written_token": _flops_per_token(writer, setup.words[:4]),
        "written": list(zip(setup.words, texts, strict=True)),
    }


def _flops_per_token(writer: Writer, words: Sequence[str]) -> int:
    """Return the operations of one written token, from texts of 24 and of 8 tokens; the prompt's cancel."""

    def write_flops(tokens: int) -> float:
        return counted_by_torch(lambda: writer.write(words, min_new_tokens=tokens, max_new_tokens=tokens))

    return round((write_flops(24) - write_flops(8)) / (16 * len(words)))
