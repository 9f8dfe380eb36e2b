"""Does everybody learn from the same sentences, at a cost that is counted, and is the expert left as it was?"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from auxlib.frozen import fingerprint
from auxlib.modeling import AuxiliaryTunedLM
from experiments.smollm import auxiliary_system
from experiments.smollm.auxiliary_system import AuxiliarySystem, training_costs
from experiments.smollm.fine_tuning import BATCH, PromptedSystem, collate, fine_tuned, lora
from experiments.smollm.prompt import PromptedModel
from experiments.smollm.setup import WritingSetup
from tests.conftest import PREAMBLE

TWO_EPOCHS = {"rate": 3e-3, "epochs": 2}


@pytest.fixture
def pair(bench: WritingSetup, tuned: AuxiliaryTunedLM, monkeypatch: pytest.MonkeyPatch) -> AuxiliarySystem:
    """Ours, with a random auxiliary in the place of the one that comes with the repository."""
    tuned.receipt.update(recipe={"epochs": 3})
    monkeypatch.setattr(auxiliary_system, "load_pretrained", lambda expert: tuned)
    monkeypatch.setattr(bench, "frame", tuned.template)
    return AuxiliarySystem(bench)


@pytest.mark.parametrize("build", [fine_tuned, partial(lora, rank=2)], ids=["all", "lora"])
def test_learning_lowers_the_loss_costs_what_the_rule_says_and_leaves_the_expert_alone(
    bench: WritingSetup, build: Callable[..., PromptedModel]
) -> None:
    told = PromptedSystem(bench, build(bench.expert))
    learning = sum(weight.numel() for weight in told.system.model.parameters() if weight.requires_grad)
    before = told.nll(bench.corpus["train"])
    assert before == pytest.approx(
        PromptedSystem(bench, PromptedModel(bench.expert)).nll(bench.corpus["train"]), rel=1e-5
    )
    spent = told.learn(TWO_EPOCHS)
    assert told.nll(bench.corpus["train"]) < before - 0.05
    assert spent["steps"] == 2 * -(-bench.size.train // BATCH)
    assert spent["flops_by_rule"] == pytest.approx(spent["flops"], rel=0.05)
    assert spent["learning"] == learning
    assert spent["task_bytes"] == 4 * learning
    assert fingerprint(bench.expert.model) == bench.expert.fingerprint
    assert told.system.model.num_parameters() == bench.expert.model.num_parameters(), (
        "nothing stands beside it any more"
    )
    assert told.forgetting() != 0.0
    assert PromptedSystem(bench, PromptedModel(bench.expert)).forgetting() == 0.0


def test_who_has_no_setting_learns_nothing_and_costs_nothing(bench: WritingSetup) -> None:
    told = PromptedSystem(bench, PromptedModel(bench.expert))
    before = told.nll(bench.test)
    assert told.learn({}) == {}
    assert told.nll(bench.test) == before


def test_a_row_is_asked_for_a_word_of_its_own_drawn_anew(bench: WritingSetup) -> None:
    system, draw, asked_for = PromptedModel(bench.expert), random.Random(0), set()
    row = bench.corpus["train"][0]
    for _ in range(20):
        ids = collate(system, bench.frame, draw, [row])["input_ids"][0].tolist()
        asked_for |= {
            word for word in row["keywords"] if ids[: len(system.prompt_ids(word))] == system.prompt_ids(word)
        }
    assert asked_for == set(row["keywords"])


def test_the_auxiliary_learns_on_the_same_sentences(pair: AuxiliarySystem) -> None:
    spent = pair.learn(TWO_EPOCHS)
    assert spent["steps"] >= 1
    assert pair.model.receipt["training_texts"]["count"] == pair.setup.size.train
    assert fingerprint(pair.setup.expert.model) == pair.setup.expert.fingerprint


def test_the_shipped_auxiliary_is_charged_for_all_sentences_and_its_own_epochs(pair: AuxiliarySystem) -> None:
    spent = pair.learn({})
    assert spent == training_costs(pair.model, pair.setup.whole["train"], 3)


def test_a_cache_is_read_once_and_every_epoch_costs_the_same(pair: AuxiliarySystem) -> None:
    one, two, five = (training_costs(pair.model, pair.setup.corpus["train"], epochs)["flops"] for epochs in (1, 2, 5))
    assert five - two == pytest.approx(3 * (two - one))
    assert one > two - one > 0, "the reading is in it"


def test_the_pairs_nats_are_those_of_its_joint_logits(pair: AuxiliarySystem) -> None:
    total, count = 0.0, 0
    for row in pair.setup.test:
        inputs = pair.model.inputs_for([row["keywords"][0]], [row["text"]])
        ids = torch.cat([inputs["input_ids"], torch.tensor([[pair.model.template.end_id]])], 1)
        n = len(pair.model.template.encode(pair.setup.expert, row["text"]))
        with torch.no_grad():
            log_probs = pair.model(ids, keyword_ids=inputs["keyword_ids"]).logits.log_softmax(-1)[0, -n - 1 : -1]
        total -= float(log_probs.gather(-1, ids[0, -n:, None]).sum())
        count += n
    assert pair.nll(pair.setup.test) == pytest.approx(total / count, rel=2e-3)


def test_what_the_pair_forgets_is_measured_with_the_auxiliary_on(
    pair: AuxiliarySystem, make_tuned: Callable[..., AuxiliaryTunedLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auxiliary_system, "no_request_prompt", lambda word: PREAMBLE)
    assert abs(pair.forgetting()) > 0.01
    pair.model = make_tuned(zero_init=True)
    assert pair.forgetting() == pytest.approx(0.0, abs=2e-3)


def test_who_writes_writes_a_line_for_each_word(pair: AuxiliarySystem) -> None:
    writers: list[Any] = [pair, PromptedSystem(pair.setup, PromptedModel(pair.setup.expert))]
    assert all(len(writer.write(pair.setup.words)) == len(pair.setup.words) for writer in writers)
