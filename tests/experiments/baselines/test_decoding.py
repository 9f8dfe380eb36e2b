"""One face for every system: what it says step by step is what it says of the whole, of this row and of no other."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from auxlib.frozen import fingerprint
from auxlib.worlds.automaton import BLANK
from experiments.baselines.decoding import LONGEST, DecodingContext, Memory, System, sequence_nll, write
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import train_steps, training_batches
from tests.experiments.baselines import (
    STOP,
    asked,
    bench_beside,
    build,
    farthest,
    logits_of,
    stirred,
    trained_a_little,
    what_is_read,
)

WITHOUT_SCORE = "classifier"
every_system = pytest.mark.parametrize("name", SYSTEMS)
every_scoring_system = pytest.mark.parametrize("name", [name for name in SYSTEMS if name != WITHOUT_SCORE])
every_learning_system = pytest.mark.parametrize("name", [name for name, spec in SYSTEMS.items() if spec.learns])
every_cached_system = pytest.mark.parametrize("name", [name for name, spec in SYSTEMS.items() if spec.cached])


@cache
def written_by(name: str) -> tuple[Tensor, Tensor]:
    return write(trained_a_little(name), asked()[1], STOP, torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- what is known


def seen_by_hand(read: list[int], keyword: int) -> list[bool]:
    return [keyword != BLANK and keyword in read[: t + 1] for t in range(len(read))]


def test_seen_says_whether_the_keyword_is_among_the_words_read() -> None:
    token_ids, keyword_ids = asked()
    keyword_ids = torch.cat([keyword_ids[:10], keyword_ids[10:15].roll(1), torch.zeros(5, dtype=torch.long)])
    reading = DecodingContext.before(token_ids, keyword_ids)
    assert reading.token_ids.tolist() == [[BLANK, *row[:-1]] for row in token_ids.tolist()]
    rows = zip(reading.token_ids.tolist(), keyword_ids.tolist(), strict=True)
    assert reading.seen.tolist() == [seen_by_hand(read, keyword) for read, keyword in rows]


def test_reading_word_by_word_is_reading_the_whole() -> None:
    token_ids, keyword_ids = asked()
    reading = DecodingContext.before(token_ids[:, :1], keyword_ids)
    for t in range(1, token_ids.shape[1]):
        reading = reading.then(token_ids[:, t - 1 : t])
    whole = DecodingContext.before(token_ids, keyword_ids)
    assert torch.equal(reading.token_ids, whole.token_ids)
    assert torch.equal(reading.seen, whole.seen)


# ---------------------------------------------------------------- what is said


@every_scoring_system
def test_i16_i20_a_sentence_written_with_memory_has_the_log_q_of_the_whole_sentence(name: str) -> None:
    written, log_q = written_by(name)
    assert farthest(log_q.double(), -sequence_nll(trained_a_little(name), written, asked()[1]).double()) < 1e-4


@every_system
def test_a_sentence_is_words_then_one_full_stop_then_blanks(name: str) -> None:
    for row in written_by(name)[0].tolist():
        said = row[: row.index(STOP) + 1] if STOP in row else row
        assert BLANK not in said
        assert set(row[len(said) :]) <= {BLANK}
        assert STOP in row or len(row) == LONGEST


@every_system
def test_a_row_does_not_depend_on_its_batch_mates(name: str) -> None:
    system, whole = trained_a_little(name), logits_of(trained_a_little(name), what_is_read())
    for rows in (slice(3, 4), slice(5, 12)):
        assert farthest(logits_of(system, what_is_read(rows)), whole[rows]) < 1e-4


@every_scoring_system
def test_what_comes_later_is_not_known_yet(name: str) -> None:
    system, (token_ids, keyword_ids), t = trained_a_little(name), asked(), 7
    now = logits_of(system, what_is_read())[:, :t]
    assert farthest(logits_of(system, DecodingContext.before(token_ids[:, :t], keyword_ids)), now) < 3e-4
    changed = token_ids.clone()
    changed[:, t - 1 :] = BLANK if name == "truth" else keyword_ids[:, None]  # the truth reads what can be said only
    assert farthest(logits_of(system, DecodingContext.before(changed, keyword_ids))[:, :t], now) < 3e-4


def test_all_but_the_classifier_can_score() -> None:
    assert [name for name in SYSTEMS if not build(name).scores] == [WITHOUT_SCORE]


class Silent(System):
    """All words are alike to it, and nearly always it would rather say nothing."""

    def forward(self, reading: DecodingContext, memory: Memory | None = None) -> Tensor:
        logits = torch.zeros(*reading.token_ids.shape, 5)
        logits[..., BLANK] = 30.0
        return logits


def test_the_blank_is_never_said_and_takes_nothing_from_the_words() -> None:
    written, log_q = write(Silent(), torch.ones(50, dtype=torch.long), 1, torch.Generator().manual_seed(0))
    lengths = torch.tensor([row.index(1) + 1 if 1 in row else LONGEST for row in written.tolist()])
    assert torch.equal((written != BLANK).sum(1), lengths)
    assert 1 in lengths
    assert log_q.tolist() == pytest.approx((-lengths * torch.tensor(4.0).log()).tolist(), abs=1e-4)
    assert sequence_nll(Silent(), written, torch.ones(50, dtype=torch.long)).tolist() == pytest.approx(
        (-log_q).tolist()
    )


def test_the_same_seed_writes_the_same_and_another_something_else() -> None:
    system, (_, keyword_ids) = trained_a_little("auxiliary"), asked()
    again, other = (write(system, keyword_ids, STOP, torch.Generator().manual_seed(seed))[0] for seed in (0, 1))
    assert torch.equal(again, written_by("auxiliary")[0])
    assert not torch.equal(other[:, :5], again[:, :5])


# ---------------------------------------------------------------- what is learned


@pytest.mark.parametrize("name", ["scratch", "fine_tuned", "auxiliary", "own_trunk"])
def test_the_loss_is_the_mean_over_real_tokens(name: str) -> None:
    token_ids, log_probs = asked()[0], logits_of(trained_a_little(name), what_is_read()).double().log_softmax(-1)
    each = [-log_probs[i, t, word] for i, row in enumerate(token_ids.tolist()) for t, word in enumerate(row) if word]
    with torch.no_grad():
        loss = trained_a_little(name).loss(what_is_read(), token_ids)
    assert float(loss) == pytest.approx(float(torch.stack(each).mean()), abs=1e-5)


@every_learning_system
def test_i15_training_moves_what_gets_a_gradient_and_nothing_else(name: str) -> None:
    spec, system = SYSTEMS[name], build(name)
    bench = bench_beside(spec.expert)
    before = {which: weight.detach().clone() for which, weight in system.named_parameters()}
    *_, (_, mean, _) = train_steps(system, training_batches(bench, 1, 16, spec.cached, spec.shuffled), 1e-2)
    for which, weight in system.named_parameters():
        pulled = weight.grad is not None and bool(weight.grad.any())
        assert torch.equal(weight, before[which]) != pulled, which
        assert weight.requires_grad or weight.grad is None, which
    moved = [which for which, weight in mean.named_parameters() if not torch.equal(weight, before[which])]
    assert moved
    assert all(weight.requires_grad for which, weight in system.named_parameters() if which in moved)
    assert fingerprint(bench.expert.model) == bench.expert.fingerprint


@every_cached_system
def test_i15_kept_states_give_the_loss_of_states_computed_anew(name: str) -> None:
    spec, system = SYSTEMS[name], stirred(build(name))
    bench = bench_beside(spec.expert)
    kept, anew = (next(training_batches(bench, 1, 16, cached, spec.shuffled)) for cached in (True, False))
    assert kept[0].hidden is not None
    assert anew[0].hidden is None
    with torch.no_grad():
        assert float(system.loss(*kept)) == pytest.approx(float(system.loss(*anew)), abs=1e-6)
