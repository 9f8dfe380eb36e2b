"""Every system of one seed finds the same on the table, and is measured as one would by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from auxlib.worlds.automaton import BLANK
from auxlib.worlds.story_lm import SHIPPED_LM
from experiments.baselines.decoding import DecodingContext, System, write
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import AVERAGING, WARMUP, TrialSetup, measure_system, train_steps, training_batches
from tests.experiments.baselines import STOP, TINY, bench_beside, farthest, stirred, trained_a_little


@pytest.fixture(scope="module")
def bench() -> TrialSetup:
    return bench_beside()


@pytest.fixture(scope="module")
def beside_another_expert() -> TrialSetup:
    return bench_beside(SHIPPED_LM)


@pytest.fixture(scope="module")
def of_another_seed() -> TrialSetup:
    return TrialSetup(TINY, 1, SHIPPED_LM)


def texts(rows: Tensor) -> list[tuple[int, ...]]:
    return [tuple(word for word in row if word != BLANK) for row in rows.tolist()]


def all_texts(bench: TrialSetup) -> list[tuple[int, ...]]:
    return texts(bench.train) + texts(bench.dev[0]) + texts(bench.test[0])


# ---------------------------------------------------------------- the same for all


def test_every_system_of_a_seed_finds_the_same_sentences_and_questions(
    bench: TrialSetup, beside_another_expert: TrialSetup
) -> None:
    assert torch.equal(bench.train, beside_another_expert.train)
    for mine, theirs in ((bench.dev, beside_another_expert.dev), (bench.test, beside_another_expert.test)):
        assert all(itertools.starmap(torch.equal, zip(mine, theirs, strict=True)))
    assert bench.expert.fingerprint != beside_another_expert.expert.fingerprint


def test_neither_seeds_nor_parts_share_a_sentence(bench: TrialSetup, of_another_seed: TrialSetup) -> None:
    both = all_texts(bench) + all_texts(of_another_seed)
    assert len(set(both)) == len(both) == 2 * (TINY.train + TINY.dev + TINY.test)


def test_a_question_is_a_word_of_its_sentence(bench: TrialSetup) -> None:
    for token_ids, keyword_ids in (bench.dev, bench.test):
        assert bool(bench.world.is_grammatical(token_ids).all())
        assert bool(bench.world.is_content(keyword_ids).all())
        assert all(word in text for word, text in zip(keyword_ids.tolist(), texts(token_ids), strict=True))


def test_base_rates_count_sentences(bench: TrialSetup) -> None:
    train = texts(bench.train)
    for word in range(1, len(bench.world.vocabulary)):
        assert float(bench.base_rates[word]) == pytest.approx(sum(word in text for text in train) / len(train))


def test_kept_states_are_what_the_expert_thinks_before_each_token(bench: TrialSetup) -> None:
    for row in (0, 17):
        words = [BLANK, *texts(bench.train)[row][:-1]]
        states = bench.expert.model.model(torch.tensor([words])).last_hidden_state[0]
        assert farthest(bench.hidden[row, : len(words)], states) < 1e-5
    assert bench.hidden.shape[:2] == bench.train.shape


def test_reading_costs_two_operations_a_weight_and_four_a_pair_of_places(bench: TrialSetup) -> None:
    shape, T = bench.expert.model.config, bench.train.shape[1]
    D, wide, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    by_hand = layers * (2 * (4 * D * D + 3 * D * wide) * T + 4 * T * T * D)
    assert bench.read_flops == pytest.approx(by_hand, rel=0.01)


# ---------------------------------------------------------------- lessons


def test_an_epoch_visits_every_sentence_once_and_the_next_in_another_order(bench: TrialSetup) -> None:
    read = [text for _, token_ids in training_batches(bench, 3, 10) for text in texts(token_ids)]
    epochs = [read[i : i + TINY.train] for i in range(0, len(read), TINY.train)]
    assert len(read) == 3 * TINY.train
    assert all(sorted(epoch) == sorted(texts(bench.train)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (0.5, 4), (1, 8), (1.25, 10), (2, 16)])
def test_part_of_an_epoch_is_part_of_its_steps(bench: TrialSetup, epochs: float, steps: int) -> None:
    assert len(list(training_batches(bench, epochs, batch=TINY.train // 8))) == steps


def asked_in(bench: TrialSetup, **options: object) -> list[tuple[tuple[int, ...], int]]:
    """Every sentence with its keyword, in order."""
    seen = [(texts(ids), reading.keyword_ids.tolist()) for reading, ids in training_batches(bench, batch=16, **options)]
    return [pair for rows, words in seen for pair in zip(rows, words, strict=True)]


def test_a_keyword_is_drawn_anew_from_the_sentences_own_words(bench: TrialSetup) -> None:
    pairs = asked_in(bench, epochs=6)
    content = set(bench.world.content_ids.tolist())
    assert all(word in text and word in content for text, word in pairs)
    words = [{word for text, word in pairs if text == one} for one in texts(bench.train)]
    assert 3 < sum(map(len, words)) / len(words) < 5, "six of six in six draws would be cheating, one of six laziness"


def test_every_system_gets_the_same_lessons(
    bench: TrialSetup, beside_another_expert: TrialSetup, of_another_seed: TrialSetup
) -> None:
    assert asked_in(bench, epochs=2) == asked_in(beside_another_expert, epochs=2)
    assert asked_in(bench, epochs=2) == asked_in(bench, epochs=2, cached=True)
    assert asked_in(bench, epochs=2) != asked_in(of_another_seed, epochs=2)


def test_a_lesson_says_what_is_known_and_brings_the_states_of_its_own_rows(bench: TrialSetup) -> None:
    reader = FrozenExpertSystem(bench.expert)
    for reading, token_ids in training_batches(bench, 1, 16, cached=True):
        plain = DecodingContext.before(token_ids, reading.keyword_ids)
        assert torch.equal(reading.token_ids, plain.token_ids)
        assert torch.equal(reading.seen, plain.seen)
        assert farthest(reading.hidden, reader.states(plain)) < 1e-5


def test_shuffled_lessons_show_the_keyword_of_the_row_before(bench: TrialSetup) -> None:
    own, foreign = (list(training_batches(bench, 1, 16, shuffled=shuffled)) for shuffled in (False, True))
    (straight, rows), (turned, same_rows) = own[0], foreign[0]
    assert torch.equal(rows, same_rows)
    words = straight.keyword_ids.tolist()
    assert turned.keyword_ids.tolist() == [words[-1], *words[:-1]]
    fitting = [word in text for text, word in asked_in(bench, epochs=4, shuffled=True)]
    assert sum(fitting) / len(fitting) < 0.2


def test_dropped_lessons_ask_a_share_for_nothing(bench: TrialSetup) -> None:
    words = [word for _, word in asked_in(bench, epochs=20, condition_dropout=0.25)]
    assert abs(words.count(BLANK) / len(words) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(words))
    assert BLANK not in [word for _, word in asked_in(bench, epochs=20)]


# ---------------------------------------------------------------- learning


class Slope(System):
    """One number that learns, the faster the larger the tokens of the lesson."""

    def __init__(self, steep: float = 1.0) -> None:
        super().__init__()
        self.number, self.steep = nn.Parameter(torch.tensor([1.0])), steep

    def loss(self, reading: DecodingContext, token_ids: Tensor) -> Tensor:
        return -(self.number * self.steep * token_ids.float().mean()).sum()


@pytest.mark.parametrize("steep", [1e-3, 10.0])
def test_a_step_follows_its_own_lesson_and_nothing_steeper_than_one(bench: TrialSetup, steep: float) -> None:
    system = Slope(steep)
    trained = train_steps(system, training_batches(bench, 1, 8), 1e-2)
    for (_, token_ids), _ in zip(training_batches(bench, 1, 8), trained, strict=True):
        slope = min(1.0, steep * token_ids.float().mean().item())
        assert system.number.grad.item() == pytest.approx(-slope, rel=1e-4)


def test_what_is_handed_out_is_a_running_mean_of_the_weights(bench: TrialSetup) -> None:
    system, by_hand = Slope(), math.nan
    for step, mean, _ in train_steps(system, training_batches(bench, 10, 8), 1e-2):
        now = system.number.item()
        by_hand = now if step == 1 else by_hand + (now - by_hand) * min(1.0, AVERAGING / (step - 1 + AVERAGING))
        assert mean.number.item() == pytest.approx(by_hand, abs=1e-5)
    assert step == 10 * TINY.train // 8


def test_mostly_the_last_eighth_of_a_training_counts() -> None:
    shares: list[float] = []
    for step in range(1, 801):
        new = 1.0 if step == 1 else AVERAGING / (step - 1 + AVERAGING)
        shares = [share * (1 - new) for share in shares] + [new]
    assert sum(shares) == pytest.approx(1.0)
    assert 0.5 < sum(shares[700:]) < 0.75


def test_steps_grow_during_the_warm_up_and_then_stay_level(bench: TrialSetup) -> None:
    system, at = Slope(), [1.0]
    for _ in train_steps(system, training_batches(bench, 10, 8), 1e-2):
        at.append(system.number.item())
    moved = [after - before for before, after in itertools.pairwise(at)]
    assert moved[0] == pytest.approx(1e-2 / WARMUP, rel=0.05)
    assert all(early < late for early, late in itertools.pairwise(moved[:WARMUP]))
    assert moved[WARMUP + 5 :] == pytest.approx([1e-2] * len(moved[WARMUP + 5 :]), rel=0.05)


def test_the_same_lessons_teach_the_same_and_something(bench: TrialSetup) -> None:
    first, again = (
        [loss for *_, loss in train_steps(_auxiliary(bench), training_batches(bench, 8, 16), 6e-3)] for _ in range(2)
    )
    assert first == again
    assert sum(first[-8:]) < sum(first[:8]) - 0.5


def _auxiliary(bench: TrialSetup) -> System:
    torch.manual_seed(0)
    return SYSTEMS["auxiliary"].build(bench)


# ---------------------------------------------------------------- measuring


@torch.no_grad()
def log_q_by_hand(system: System, text: tuple[int, ...], keyword: int) -> float:
    """log q(text | keyword), alone and word by word, over all words but ``<s>``."""
    steps = system(DecodingContext.before(torch.tensor([text]), torch.tensor([keyword])))[0].double()
    return math.fsum(float(logits[word] - logits[1:].logsumexp(-1)) for logits, word in zip(steps, text, strict=True))


def figures_by_hand(system: System, bench: TrialSetup, questions: tuple[Tensor, Tensor]) -> dict[str, float]:
    held_out, keyword_ids = questions
    written, _ = write(system, keyword_ids, STOP, torch.Generator().manual_seed(bench.seed))
    said, words, world = texts(written), keyword_ids.tolist(), bench.world
    holds = [word in text for word, text in zip(words, said, strict=True)]
    good = [bool(world.is_grammatical(torch.tensor([text]))) for text in said]
    slor = [bench.judge.slor(torch.tensor([text])).item() for text in said]
    expert, own = FrozenExpertSystem(bench.expert), list(zip(said, words, strict=True))
    drift = [log_q_by_hand(system, *pair) - log_q_by_hand(expert, *pair) for pair in own]
    pairs = [pair for text in said for pair in itertools.pairwise(text)]
    nll = [-log_q_by_hand(system, *pair) for pair in zip(texts(held_out), words, strict=True)]
    return {
        "accuracy": mean(holds),
        "grammatical": mean(good),
        "slor": mean(slor),
        "slor_se": error(slor),
        "success": mean([a and b for a, b in zip(holds, good, strict=True)]),
        "drift": mean(drift),
        "drift_se": error(drift),
        "distinct_2": len(set(pairs)) / len(pairs),
        "n": len(said),
        "nll": mean(nll),
    }


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def error(values: list[float]) -> float:
    """The standard error of the mean."""
    squares = math.fsum((value - mean(values)) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1) / len(values))


@pytest.mark.parametrize("name", ["expert", "auxiliary", "forced", "scratch_small"])
def test_figures_are_what_one_finds_by_hand(bench: TrialSetup, name: str) -> None:
    system = trained_a_little(name)
    assert measure_system(system, bench.dev, bench) == pytest.approx(
        figures_by_hand(system, bench, bench.dev), abs=2e-4
    )


def test_the_truth_succeeds_always_and_pays_the_least(bench: TrialSetup) -> None:
    found = measure_system(trained_a_little("truth"), bench.dev, bench)
    assert (found["accuracy"], found["grammatical"], found["success"]) == (1.0, 1.0, 1.0)
    base = bench.world.posterior(*bench.dev)[:, 0]
    exact = -(bench.world.log_prob(bench.dev[0]) - base.log()).mean()
    assert found["nll"] == pytest.approx(float(exact), abs=1e-4)
    assert found["drift"] == pytest.approx(-float(base.log().mean()), abs=0.6)  # the expert is nearly the world


def test_the_expert_does_not_drift_from_itself_and_a_classifier_has_no_likelihood(bench: TrialSetup) -> None:
    assert measure_system(trained_a_little("expert"), bench.dev, bench)["drift"] == pytest.approx(0.0, abs=1e-4)
    assert "nll" not in measure_system(trained_a_little("classifier"), bench.dev, bench)


def test_a_brief_measure_says_the_same_and_less(bench: TrialSetup) -> None:
    system = trained_a_little("auxiliary")
    whole, briefly = measure_system(system, bench.dev, bench), measure_system(system, bench.dev, bench, briefly=True)
    assert whole.keys() - briefly.keys() == {"drift", "drift_se", "nll"}
    assert briefly.items() <= whole.items()


def test_what_is_written_follows_the_seed_of_the_bench(bench: TrialSetup, of_another_seed: TrialSetup) -> None:
    system = stirred(_auxiliary(bench))
    once, again = (measure_system(system, bench.dev, bench) for _ in range(2))
    assert once == again
    assert once != measure_system(system, bench.dev, of_another_seed)


def test_a_bench_without_a_test_part_still_asks_its_development_questions() -> None:
    small = TrialSetup(replace(TINY, train=5, test=0), 0, SHIPPED_LM)
    assert (len(small.train), len(small.dev[0]), len(small.test[0])) == (5, TINY.dev, 1)
