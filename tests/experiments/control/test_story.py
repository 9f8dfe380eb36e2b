"""Whoever writes for several requests says what its formula says: against the truth, and against older systems."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auxlib.frozen import Expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.story_lm import SHIPPED_LM, SHIPPED_LM_600K
from experiments.baselines.decoding import DecodingContext, System, sequence_nll, write
from experiments.baselines.frozen_expert import AuxiliaryTuned, FrozenExpertSystem
from experiments.baselines.story_auxiliary import StoryAuxiliary
from experiments.claim.plan import AUXILIARY
from experiments.claim.setup import load_world
from experiments.control.joint_conditions import JointConditions
from experiments.control.story import (
    ExactJointPosterior,
    JointAuxiliarySystem,
    JointStoryAuxiliary,
    MyopicBoost,
    SummedAuxiliaries,
    TransferredAuxiliary,
)
from tests.experiments.baselines import STOP, bench_beside, farthest, logits_of, stirred
from tests.experiments.control import sentences, several, what_is_read, words

ROUNDING = 1e-4  # of logits in float32


def expert(name: str = SHIPPED_LM_600K) -> Expert:
    return bench_beside(name).expert


def auxiliary(seed: int = 0, beside: str = SHIPPED_LM_600K) -> StoryAuxiliary:
    torch.manual_seed(seed)
    return stirred(StoryAuxiliary(expert(beside).unembedding, AUXILIARY))


def together() -> JointStoryAuxiliary:
    torch.manual_seed(0)
    return JointStoryAuxiliary(expert().unembedding, 16)


def written_by(system: System) -> Tensor:
    return write(system, words()[:, 0], STOP, torch.Generator().manual_seed(0))[0]


# --- the truth ---


@pytest.mark.parametrize("K", [1, 2, 3])
def test_i01_the_truth_pays_for_a_sentence_only_what_the_requests_leave_open(K: int) -> None:
    exact = several(K).posterior(sentences())[:, 0].log() - load_world().log_prob(sentences())
    assert farthest(sequence_nll(ExactJointPosterior(several(K)), sentences(), words()[:, 0]), exact) < 1e-10


def test_what_every_sentence_fulfils_steers_nobody() -> None:
    world = load_world()
    anything = torch.zeros(len(sentences()), 1, len(world.vocabulary), dtype=torch.bool)
    anything[:, :, world.content_ids] = True
    for weight in (0.0, 1.0, 3.0):
        system = ExactJointPosterior(JointConditions(world, anything), weight=weight)
        assert farthest(sequence_nll(system, sentences(), words()[:, 0]), -world.log_prob(sentences())) < 1e-9


def test_the_weight_multiplies_the_answer_and_no_veto_is_lifted() -> None:
    prior = load_world().next_log_probs(sentences())[:, 1:-1]  # before the end; what may be read is one token longer
    answer = several(2).exact_aux_logits(sentences())[:, 1:-1]
    reading = DecodingContext(sentences()[:, :-1], words()[:, 0], what_is_read().seen)
    going_on = ~torch.isin(sentences()[:, :-1], torch.tensor([BLANK, STOP]))
    for weight in (0.0, 0.5, 2.0):
        logits = logits_of(ExactJointPosterior(several(2), weight=weight), reading)
        free, vetoed = (where & going_on[..., None] for where in (answer.isfinite(), answer.isneginf()))
        assert farthest(logits[free], (prior + weight * answer)[free]) < 1e-9
        assert float(logits[vetoed].max()) <= -1e9


def test_the_sum_of_one_is_exact_and_that_of_two_is_the_product_of_both() -> None:
    reading = what_is_read()
    one, summed = (logits_of(ExactJointPosterior(several(1), summed), reading) for summed in (False, True))
    assert torch.equal(one, summed)
    other = logits_of(ExactJointPosterior(JointConditions.keywords(load_world(), words()[:, 1:2])), reading)
    prior = logits_of(MyopicBoost(load_world(), 0.0), reading)
    both = logits_of(ExactJointPosterior(several(2), summed=True), reading)
    real = torch.stack([prior, one, other]).amin(0) > -1e9
    assert farthest((both - prior)[real], (one + other - 2 * prior)[real]) < 1e-9


@pytest.mark.parametrize(("K", "weight"), [(1, 0.25), (1, 2.0), (2, 1.0), (3, 1.0)])
def test_the_truth_says_all_that_was_asked_for_at_every_weight(K: int, weight: float) -> None:
    written = written_by(ExactJointPosterior(several(K), weight=weight))
    assert bool((several(K).open(written)[:, -1] == 0).all())
    assert bool(load_world().is_grammatical(written).all())


def test_what_cannot_be_fulfilled_is_still_written_as_the_world_would() -> None:
    world = load_world()
    apart = JointConditions.keywords(world, world.keyword_ids(["sings", "sleeps"]).expand(len(sentences()), 2))
    exact, summed = ExactJointPosterior(apart), ExactJointPosterior(apart, summed=True)
    assert farthest(sequence_nll(exact, sentences(), words()[:, 0]), -world.log_prob(sentences())) < 1e-9
    assert bool(world.is_grammatical(written_by(summed)).all()), "it promises until it is too late"


def test_who_does_not_look_ahead_pushes_the_keyword_until_it_is_said_and_at_weight_zero_nothing() -> None:
    reading = what_is_read()
    unpushed = sequence_nll(MyopicBoost(load_world(), 0.0), sentences(), words()[:, 0])
    assert farthest(unpushed, -load_world().log_prob(sentences())) < 1e-9
    free, pushed = (logits_of(MyopicBoost(load_world(), weight), reading) for weight in (0.0, 3.0))
    for row, keyword in enumerate(words()[:, 0].tolist()):
        free[row, ~reading.seen[row], keyword] += 3.0
    assert torch.equal(pushed, free)


# --- beside the expert ---

SYSTEMS = {
    "truth": lambda: ExactJointPosterior(several(2)),
    "myopic": lambda: MyopicBoost(load_world(), 2.0),
    "sum": lambda: SummedAuxiliaries(expert(), [auxiliary(0), auxiliary(1)], words()[:, :2], [1.0, 0.5]),
    "swapped": lambda: TransferredAuxiliary(expert(), expert(SHIPPED_LM), auxiliary(), words()[:, 0]),
    "reads_the_new": lambda: TransferredAuxiliary(expert(), expert(), auxiliary(), words()[:, 0]),
    "together": lambda: JointAuxiliarySystem(expert(), stirred(together()), words(), weight=0.7),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_step_by_step_from_memory_says_the_same_as_at_once(name: str) -> None:
    system, reading, memory = SYSTEMS[name](), what_is_read(), {}
    at_once = logits_of(system, reading)
    for t in range(1, reading.token_ids.shape[1] + 1):
        so_far = DecodingContext(reading.token_ids[:, :t], reading.keyword_ids, reading.seen[:, :t])
        with torch.no_grad():
            step = system(so_far, memory)
        going_on = (so_far.token_ids[:, 1:] != STOP).all(1)
        assert step.shape[1] == 1
        assert farthest(step[going_on, 0], at_once[going_on, t - 1]) < 10 * ROUNDING, t


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_a_sum_of_one_is_the_auxiliary_with_its_weight(weight: float) -> None:
    alone = logits_of(AuxiliaryTuned(expert(), auxiliary(), weight), what_is_read())
    summed = SummedAuxiliaries(expert(), [auxiliary()], words()[:, :1], [weight])
    assert farthest(logits_of(summed, what_is_read()), alone) < ROUNDING


def test_i08_a_sum_at_weight_zero_is_the_expert_to_the_last_bit() -> None:
    summed = SummedAuxiliaries(expert(), [auxiliary(0), auxiliary(1)], words()[:, :2], [0.0, 0.0])
    assert torch.equal(logits_of(summed, what_is_read()), logits_of(FrozenExpertSystem(expert()), what_is_read()))


def test_a_sum_adds_what_each_says_alone_and_does_not_care_who_is_first() -> None:
    reading, lm_logits = what_is_read(), logits_of(FrozenExpertSystem(expert()), what_is_read())
    second = DecodingContext.before(sentences(), words()[:, 1])
    first_joint = logits_of(AuxiliaryTuned(expert(), auxiliary(0), 1.0), reading)
    second_joint = logits_of(AuxiliaryTuned(expert(), auxiliary(1), 0.5), second)
    both = logits_of(SYSTEMS["sum"](), reading)
    assert farthest(both, first_joint + second_joint - lm_logits) < ROUNDING
    turned = SummedAuxiliaries(expert(), [auxiliary(1), auxiliary(0)], words()[:, [1, 0]], [0.5, 1.0])
    assert farthest(logits_of(turned, reading), both) < ROUNDING


def test_a_swapped_auxiliary_brings_what_it_said_at_home_to_the_new_expert() -> None:
    reading, at_home = what_is_read(), AuxiliaryTuned(expert(), auxiliary())
    stayed = TransferredAuxiliary(expert(), expert(), at_home.auxiliary, words()[:, 0])
    assert farthest(logits_of(stayed, reading), logits_of(at_home, reading)) < ROUNDING
    old, moved = expert(SHIPPED_LM), auxiliary(0, SHIPPED_LM)
    said = logits_of(AuxiliaryTuned(old, moved), reading) - logits_of(FrozenExpertSystem(old), reading)
    swapped = logits_of(TransferredAuxiliary(expert(), old, moved, words()[:, 0]), reading)
    assert farthest(swapped, logits_of(FrozenExpertSystem(expert()), reading) + said) < ROUNDING
    assert farthest(logits_of(TransferredAuxiliary(expert(), expert(), moved, words()[:, 0]), reading), swapped) > 0.1


# --- one that reads all keywords ---


def asked_for(keyword_ids: Tensor) -> Tensor:
    return logits_of(JointAuxiliarySystem(expert(), stirred(together()), keyword_ids), what_is_read())


def test_i06_who_reads_all_starts_as_the_expert_and_at_weight_zero_stays_it() -> None:
    lm_logits = logits_of(FrozenExpertSystem(expert()), what_is_read())
    for silent in (
        JointAuxiliarySystem(expert(), together(), words()),
        JointAuxiliarySystem(expert(), stirred(together()), words(), 0.0),
    ):
        assert torch.equal(logits_of(silent, what_is_read()), lm_logits)
    assert farthest(asked_for(words()), lm_logits) > 0.1


def test_who_reads_all_does_not_care_for_the_order_of_words_nor_for_blanks() -> None:
    blank, two = torch.full((len(words()), 1), BLANK), words()[:, :2]
    for same in (two.flip(1), torch.cat([two, blank], 1), torch.cat([blank, two[:, :1], blank, two[:, 1:]], 1)):
        assert farthest(asked_for(same), asked_for(two)) < ROUNDING
    assert farthest(asked_for(two[:, :1]), asked_for(two)) > 0.01


def test_only_keywords_that_are_missing_are_lifted() -> None:
    auxiliary, reading = stirred(together()), what_is_read()
    for parameter in auxiliary.step.parameters():
        torch.nn.init.zeros_(parameter)
    lifted = logits_of(JointAuxiliarySystem(expert(), auxiliary, words()), reading) != logits_of(
        FrozenExpertSystem(expert()), reading
    )
    missing = torch.zeros_like(lifted)
    for row, keywords in enumerate(words().tolist()):
        for keyword in keywords:
            missing[row, :, keyword] = ~(reading.token_ids[row] == keyword).cumsum(0).bool()
    assert torch.equal(lifted, missing)
