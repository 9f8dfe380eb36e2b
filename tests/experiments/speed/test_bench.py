"""The benchmarks on a tiny expert: what they time is what they say, and nothing recorded is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from torch import nn

from auxlib.auxiliary import AuxiliaryConfig
from auxlib.features import TextTemplate
from auxlib.frozen import Expert, fingerprint
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import Recipe, TrainingData, prepare_data
from experiments.records import RECORDS
from experiments.smollm.fine_tuning import lora
from experiments.speed import decode, experiment, time_to_accuracy, train
from experiments.speed.baselines import baseline_trainer
from experiments.speed.memory import peak_of
from experiments.speed.time_to_accuracy import TimeToAccuracyCallback
from tests.conftest import KEYWORDS, PREAMBLE, SENTENCES


@pytest.fixture
def corpus() -> DatasetDict:
    rows = [{"text": t, "keywords": w, "has_headword": True} for t, w in zip(SENTENCES, KEYWORDS, strict=True)]
    return DatasetDict({"train": Dataset.from_list(rows * 2), "dev": Dataset.from_list(rows[:3])})


@pytest.fixture
def stuff(expert: Expert, corpus: DatasetDict, cache: Path) -> TrainingData:
    recipe = Recipe(preamble=PREAMBLE, support_at_least=1, batch_size=4, epochs=5)
    return prepare_data(recipe, expert, progress=False, corpus=corpus)


def test_decoding_is_told_as_a_share_of_the_frozen_models(
    make_tuned: Callable[..., AuxiliaryTunedLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = make_tuned(AuxiliaryConfig(width=16, heads=2, joint_keywords=True))
    monkeypatch.setattr(
        decode, "load_pretrained", lambda *_, multi_keyword=False: both if multi_keyword else make_tuned()
    )
    monkeypatch.setattr(decode, "TOKENS", 2)
    monkeypatch.setattr(decode, "LONG", 4)
    found = decode.decode_figures(rounds=1) | decode.prefix_figures()
    assert {"decode_ratio_b1", "decode_ratio_b8", "prefix_speedup_4"} <= set(found)
    for rows in (1, 8):
        assert set(found[f"decode_ratios_b{rows}"]) == {"one word", "sum of two", "two together"}
        assert found[f"decode_ratio_b{rows}"] == found[f"decode_ratios_b{rows}"]["one word"] > 0


def test_an_epoch_from_the_cache_never_asks_the_expert_and_one_with_reading_does(
    stuff: TrainingData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, calls = stuff.expert.model.base_model.forward, []
    monkeypatch.setattr(stuff.expert.model.base_model, "forward", lambda *a, **k: calls.append(1) or read(*a, **k))
    train.cached_epoch(stuff, tmp_path)
    assert not calls
    train.first_epoch(stuff, tmp_path)
    once = len(calls)
    assert once > 0
    train.first_epoch(stuff, tmp_path)
    assert len(calls) == 2 * once, "it is read again each time"


def test_epochs_are_compared_over_the_same_sentences(stuff: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        train, "prepare_data", lambda *known, **options: prepare_data(stuff.recipe, stuff.expert, False, stuff.corpus)
    )
    before = fingerprint(stuff.expert.model)
    found = train.epoch_figures(rounds=1)
    seconds = found["epoch_seconds"]
    assert found["epoch_sentences"] == len(stuff.train) == 16
    assert found["epoch_ratio_lora"] == seconds["auxiliary"] / seconds["LoRA"]
    assert found["first_epoch_ratio_lora"] == seconds["auxiliary, with reading"] / seconds["LoRA"]
    assert before == fingerprint(stuff.expert.model), "the peers train copies"


def test_a_peer_learns_what_it_is_told_in_words(expert: Expert, corpus: DatasetDict, tmp_path: Path) -> None:
    system, frame = lora(expert), TextTemplate.of(expert, PREAMBLE)
    texts = [frame.encode(expert, text) for text in SENTENCES]
    before = system.nll([words[0] for words in KEYWORDS], texts)
    baseline_trainer(system, frame, corpus["train"], tmp_path, num_train_epochs=20, learning_rate=1e-2).train()
    assert system.nll([words[0] for words in KEYWORDS], texts) < before - 0.2


# --- how long until the keyword is used ---


class Clock:
    """Each look at it costs a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def watched(watch: TimeToAccuracyCallback, steps: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """At which step a training would stop that lets it watch."""
    monkeypatch.setattr(time_to_accuracy, "perf_counter", Clock())
    monkeypatch.setattr(time_to_accuracy, "FIRST", 3.0)
    monkeypatch.setattr(time_to_accuracy, "GROWTH", 1.25)
    state, control = SimpleNamespace(global_step=0, max_steps=steps), SimpleNamespace(should_training_stop=False)
    watch.on_train_begin(None, state, control)
    for state.global_step in range(1, steps + 1):
        watch.on_step_end(None, state, control, model=nn.Linear(1, 1))
        if control.should_training_stop:
            break
    return state.global_step


def test_the_watch_asks_ever_more_rarely_and_stops_at_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.2, 0.5, 0.91, 1.0])
    watch = TimeToAccuracyCallback(lambda model: next(answers), spent=5.0)
    stopped = watched(watch, 100, monkeypatch)
    assert [share for _, share in watch.curve] == [0.2, 0.5, 0.91]
    assert [seconds for seconds, _ in watch.curve] == [8.0, 10.0, 13.0], (
        "5 before, a second a step, and none for asking"
    )
    assert stopped == 8


def test_the_watch_stops_when_its_time_or_the_training_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    late = TimeToAccuracyCallback(lambda model: 0.5, budget=7.0)
    assert watched(late, 100, monkeypatch) == 7
    assert late.curve[-1] == (7.0, 0.5)
    short = TimeToAccuracyCallback(lambda model: 0.5)
    watched(short, 2, monkeypatch)
    assert short.curve == [(2.0, 0.5)], "who never came to the first question is asked at the end"


def test_a_model_is_asked_in_eval_and_goes_on_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Dropout()
    watch = TimeToAccuracyCallback(lambda asked: float(asked.training))
    monkeypatch.setattr(time_to_accuracy, "perf_counter", Clock())
    state, control = SimpleNamespace(global_step=1, max_steps=1), SimpleNamespace(should_training_stop=False)
    watch.on_train_begin(None, state, control)
    watch.on_step_end(None, state, control, model=model)
    assert watch.curve[0][1] == 0.0
    assert model.training


# --- memory ---


def hold(megabytes: int) -> None:
    """So much memory, really used."""
    torch.ones(megabytes << 18)


def test_a_peak_is_the_processs_own() -> None:
    ballast = torch.ones(300 << 18)
    little, much = peak_of(hold, 1), peak_of(hold, 201)
    assert much - little == pytest.approx(200, abs=20)
    assert len(ballast), "what the one that asks holds is no part of it"


# --- the report ---


def test_the_results_are_written_when_no_part_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"one": lambda: {"a": 1 / 3, "b": {"c": [12345.678, "x"]}}, "two": lambda: {"d": 2}}
    monkeypatch.setattr(experiment, "PARTS", parts)
    assert experiment.record_part("one", tmp_path)["a"] == 0.333
    assert not (tmp_path / RECORDS["speed"].path).exists()
    experiment.record_part("two", tmp_path)
    found = json.loads((tmp_path / RECORDS["speed"].path).read_text())
    assert found["b"] == {"c": [12300.0, "x"]}
    assert found["d"] == 2
    assert len(found["machines"]) == 1


def test_every_part_of_the_benchmarks_can_be_asked_for() -> None:
    from auxlib.__main__ import _parser

    for part in (*experiment.PARTS, "all"):
        assert _parser().parse_args(["bench", part]).what == part


def test_a_part_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise KeyError("no")

    monkeypatch.setattr(experiment, "PARTS", {"one": fail})
    with pytest.raises(KeyError):
        experiment.record_part("one", tmp_path)
    assert not list(tmp_path.rglob("*.json"))
