"""Does the ledger tell the truth? Its rule against torch's own counter, and both against sums made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from auxlib.frozen import Expert, freeze
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.story_lm import new_story_lm
from experiments.baselines.decoding import DecodingContext, System, write
from experiments.baselines.frozen_expert import AuxiliaryTuned, FrozenExpertSystem
from experiments.baselines.prefix import Prefixed, from_scratch
from experiments.baselines.story_auxiliary import StoryAuxiliary
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import TrialSetup, TrialSize, load_world, training_batches
from experiments.flops import ComputeLedger, break_even, count_flops, counted_by_torch, saved_activation_bytes

LEARNERS = [name for name, spec in SYSTEMS.items() if spec.learns]
FLOAT, BATCH = 4, 8


@pytest.fixture(scope="module")
def bench_of() -> Callable[[str], TrialSetup]:
    """A tiny trial setup for each expert."""
    made: dict[str, TrialSetup] = {}

    def find(name: str) -> TrialSetup:
        expert = SYSTEMS[name].expert
        if expert not in made:
            made[expert] = TrialSetup(TrialSize(train=64, epochs=1, dev=8, test=8), 0, expert)
        return made[expert]

    return find


def build(name: str, bench: TrialSetup) -> System:
    spec = SYSTEMS[name]
    first = SYSTEMS[spec.like or name].settings[0]
    return spec.build(bench, **{key: value for key, value in first.items() if key not in ("rate", "batch")})


def step_of(name: str, system: System, bench: TrialSetup) -> Callable[[], Tensor]:
    reading, token_ids = next(training_batches(bench, 1, BATCH, SYSTEMS[name].cached))
    return lambda: system.loss(reading, token_ids)


# --- the rule and the machine ---


@pytest.mark.parametrize("name", LEARNERS)
def test_the_rule_and_torchs_counter_agree_on_a_training_step(name: str, bench_of: Callable[[str], TrialSetup]) -> None:
    bench = bench_of(name)
    system = build(name, bench)
    step = step_of(name, system, bench)
    by_rule = ComputeLedger.of(system, step, BATCH).step_flops
    assert by_rule == counted_by_torch(lambda: step().backward()), "they may differ by 5 %, but in fact they do not"


@pytest.mark.parametrize("name", ["scratch", "lora_4", "prompt_tuned", "pair", "auxiliary", "forced"])
def test_the_rule_and_torchs_counter_agree_on_writing_with_a_cache(
    name: str, bench_of: Callable[[str], TrialSetup]
) -> None:
    bench = bench_of(name)
    system, keyword_ids = build(name, bench).eval(), bench.dev[1][:3]

    def work() -> None:
        write(system, keyword_ids, bench.world.ids[FULL_STOP], torch.Generator().manual_seed(0))

    with count_flops(system) as tally:
        work()
    assert tally.flops == counted_by_torch(work) > 0


def test_reading_one_sentence_for_the_cache_is_what_the_uncached_step_costs_more(
    bench_of: Callable[[str], TrialSetup],
) -> None:
    bench = bench_of("auxiliary")
    cached, anew = (
        ComputeLedger.of(system, step_of(name, system, bench), BATCH).step_flops
        for name, system in ((name, build(name, bench)) for name in ("auxiliary", "not_cached"))
    )
    assert anew - cached == BATCH * bench.read_flops


# --- by hand ---


@pytest.mark.parametrize(
    ("learns", "wanted", "recording", "times"),
    [
        (True, True, True, 6),
        (False, True, True, 4),
        (True, False, True, 4),
        (False, False, True, 2),
        (True, True, False, 2),
        (False, False, False, 2),
    ],
)
def test_a_linear_layer_costs_two_operations_a_weight_and_row_for_each_of_its_passes(
    learns: bool, wanted: bool, recording: bool, times: int
) -> None:
    layer = nn.Linear(5, 7).requires_grad_(learns)
    inputs = torch.randn(3, 4, 5, requires_grad=wanted)

    def work() -> None:
        with torch.set_grad_enabled(recording):
            output = layer(inputs)
        if output.requires_grad:
            output.square().sum().backward()

    with count_flops(layer) as tally:
        work()
    assert tally.flops == times * (5 * 7) * (3 * 4) == counted_by_torch(work)


def test_rows_count_in_whatever_shape_they_come_and_nobody_counts_after_the_block() -> None:
    layer, rows = nn.Linear(5, 7, bias=False), torch.randn(12, 5)
    found = []
    for inputs in (rows, rows.reshape(3, 4, 5), rows.reshape(2, 3, 2, 5)):
        with count_flops(layer) as tally:
            layer(inputs)
        layer(inputs)
        found.append(tally.flops)
    assert found == [4 * 35 * 12] * 3
    with count_flops(layer) as tally:
        layer(rows)
        layer(rows)
    assert tally.flops == 2 * found[0]


def test_hooks_are_gone_even_when_the_work_fails() -> None:
    layer = nn.Linear(5, 7)
    with pytest.raises(RuntimeError), count_flops(layer):
        layer(torch.randn(2, 6))
    assert not layer._forward_hooks


def linear_weights(module: nn.Module) -> int:
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


@pytest.mark.parametrize(("width", "layers"), [(16, 1), (32, 3)])
def test_attention_costs_scores_and_sums_against_every_place_that_is_kept(width: int, layers: int) -> None:
    B, T = 2, 5
    lm = new_story_lm(load_world(), width, layers)
    token_ids = torch.ones(B, T, dtype=torch.long)
    with torch.no_grad(), count_flops(lm) as first:
        cache = lm(token_ids, use_cache=True).past_key_values
    with torch.no_grad(), count_flops(lm) as second:
        lm(token_ids[:, :1], past_key_values=cache, use_cache=True)
    assert first.flops == 2 * linear_weights(lm) * B * T + layers * 4 * B * T * T * width
    assert second.flops == 2 * linear_weights(lm) * B + layers * 4 * B * (T + 1) * width


def test_from_scratch_costs_six_operations_a_weight_and_token(bench_of: Callable[[str], TrialSetup]) -> None:
    bench = bench_of("scratch")
    system = from_scratch(bench.world, 96, 2, seed=0)
    ledger = ComputeLedger.of(system, step_of("scratch", system, bench), BATCH)
    places = bench.train.shape[1] + 1  # the keyword in front is read as well
    attention = 2 * 3 * 4 * BATCH * places * places * 96
    assert ledger.step_flops == 6 * linear_weights(system) * BATCH * places + attention
    assert ledger.parameters == ledger.learning == sum(weight.numel() for weight in system.parameters())


def test_lora_costs_about_four(bench_of: Callable[[str], TrialSetup]) -> None:
    bench = bench_of("lora_4")
    lora, scratch = (
        ComputeLedger.of(system, step_of(name, system, bench), BATCH).step_flops
        for name, system in ((name, build(name, bench)) for name in ("lora_4", "scratch"))
    )
    assert 4 / 6 < lora / scratch < 4.5 / 6


# --- the ledger ---

LEDGER = ComputeLedger(step_flops=100, read_flops=10.0, batch=4, parameters=50, learning=20, kept_bytes=1000)


@pytest.mark.parametrize(
    ("steps", "flops"),
    [(0, 0), (1, 100 + 40), (2, 200 + 80), (3, 300 + 100), (4, 400 + 100), (3000, 300_000 + 100)],
)
def test_each_sentence_is_read_for_the_cache_once_and_only_when_it_is_met(steps: int, flops: int) -> None:
    assert LEDGER.flops(steps, sentences=10) == flops


def test_without_a_cache_only_steps_cost() -> None:
    plain = ComputeLedger(step_flops=100, read_flops=0.0, batch=4, parameters=50, learning=20, kept_bytes=1000)
    assert [plain.flops(steps, 10) for steps in (1, 2, 50)] == [100, 200, 5000]


def test_memory_is_weights_gradients_two_moments_and_what_is_kept() -> None:
    assert LEDGER.memory_bytes == 4 * 50 + 4 * 20 + 2 * 4 * 20 + 1000
    assert LEDGER.task_bytes == 4 * 20


def test_a_matrix_that_two_share_is_in_memory_once(bench_of: Callable[[str], TrialSetup]) -> None:
    bench = bench_of("auxiliary")
    system = build("auxiliary", bench)
    ledger = ComputeLedger.of(system, step_of("auxiliary", system, bench), BATCH)
    learning = [weight.numel() for weight in system.auxiliary.parameters() if weight.requires_grad]
    assert ledger.learning == sum(learning)
    assert ledger.parameters == sum(weight.numel() for weight in bench.expert.model.parameters()) + sum(learning)


# --- what is kept ---


def small_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def kept_by(network: nn.Module, work: Callable[[], Tensor]) -> int:
    with saved_activation_bytes(network) as kept:
        work()
    return sum(kept.values())


def test_a_network_keeps_its_inputs_and_the_output_of_tanh_once_and_no_weights() -> None:
    network, rows = small_network(), torch.randn(3, 4)
    inputs, between = FLOAT * 3 * 4, FLOAT * 3 * 8  # what tanh gives is kept by it and by the next layer: once
    assert kept_by(network, lambda: network(rows).sum()) == inputs + between
    network[0].requires_grad_(False)
    assert kept_by(network, lambda: network(rows).sum()) == between
    network.requires_grad_(False)
    assert kept_by(network, lambda: network(rows).sum()) == 0


def test_twice_the_rows_keep_twice_as_much_and_without_gradients_nothing_is_kept() -> None:
    network, rows = small_network(), torch.randn(3, 4)
    assert kept_by(network, lambda: network(rows.repeat(2, 1)).sum()) == 2 * FLOAT * 3 * (4 + 8)
    with torch.no_grad():
        assert kept_by(network, lambda: network(rows).sum()) == 0


def test_weights_are_not_kept_but_what_belongs_to_nobody_is() -> None:
    layer, foreign = nn.Linear(4, 8, bias=False), torch.randn(3, 8)
    layer.register_buffer("own", foreign.clone())
    rows = torch.randn(3, 4)
    assert kept_by(layer, lambda: (layer(rows) * layer.own).sum()) == FLOAT * 3 * 4
    assert kept_by(layer, lambda: (layer(rows) * foreign).sum()) == FLOAT * 3 * (4 + 8)


def frozen(layers: int) -> Expert:
    return Expert(freeze(new_story_lm(load_world(), 16, layers)), None, "", "")


def test_a_frozen_expert_keeps_nothing_however_deep(bench_of: Callable[[str], TrialSetup]) -> None:
    token_ids, keyword_ids = bench_of("auxiliary").dev
    reading = DecodingContext.before(token_ids, keyword_ids)

    def kept(system: System) -> int:
        return ComputeLedger.of(system, lambda: system.loss(reading, token_ids), len(token_ids)).kept_bytes

    def ours(expert: Expert) -> int:
        return kept(AuxiliaryTuned(expert, StoryAuxiliary(expert.unembedding)))

    shallow, *deeper = (ours(frozen(layers)) for layers in (1, 2, 6))
    assert deeper == [shallow, shallow]
    one, two, six = (kept(Prefixed(new_story_lm(load_world(), 16, layers))) for layers in (1, 2, 6))
    assert 0 < two - one == pytest.approx((six - one) / 5), "a model that learns keeps as much again in every layer"
    reader = FrozenExpertSystem(Expert(new_story_lm(load_world(), 16, 6), None, "", ""))
    assert kept_by(reader, lambda: reader.states(reading)) == 0, (
        "it is read without gradients, whoever forgot to freeze"
    )


# --- break-even ---


@pytest.mark.parametrize(
    ("pretraining", "scratch", "beside", "tasks"),
    [(1000, 10, 5, 200), (0, 10, 5, 0), (1, 3, 1, 0.5), (1000, 10, 10, math.inf), (1000, 5, 10, math.inf)],
)
def test_pretraining_has_paid_after_so_many_tasks_or_never(
    pretraining: float, scratch: float, beside: float, tasks: float
) -> None:
    assert break_even(pretraining, scratch, beside) == tasks
    if tasks < math.inf:
        assert pretraining + tasks * beside == tasks * scratch
