"""Does everybody in Storyland learn from the right words, and is everybody asked for what can be fulfilled?"""

from __future__ import annotations

import pytest
import torch

from auxlib.worlds.automaton import BLANK
from experiments.baselines.decoding import DecodingContext
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.claim.setup import load_world
from experiments.control.story import draw_keyword_sets, joint_keyword_batches, label_batches, seen_keywords
from experiments.control.storyland import HOURS, StoryRequests, StorySize
from tests.experiments.baselines import bench_beside, farthest
from tests.experiments.control import sentences

# --- lessons ---


def test_words_are_drawn_that_the_sentence_has_each_once_and_evenly() -> None:
    world, draw = load_world(), torch.Generator().manual_seed(0)
    row = sentences()[:1].expand(3000, -1)
    drawn = draw_keyword_sets(world.is_content(row), row, 3, draw)
    assert all(len(set(three)) == 3 for three in drawn.tolist())
    shares = torch.bincount(drawn.flatten())[row[0, world.is_content(row[0])]] / len(row)
    assert shares.tolist() == pytest.approx([0.5] * 6, abs=0.04), "three of six"


def test_lessons_ask_for_one_two_or_three_own_words_each_once_and_flag_what_has_been_read() -> None:
    bench, counts = bench_beside(), []
    for reading, token_ids in joint_keyword_batches(bench, 6, 16):
        assert reading.token_ids.shape == token_ids.shape == reading.hidden.shape[:2] == (16, bench.train.shape[1])
        assert reading.keyword_ids.shape == (16, 3)
        for row, (asked, read) in enumerate(zip(reading.keyword_ids.tolist(), token_ids.tolist(), strict=True)):
            named = [word for word in asked if word != BLANK]
            counts.append(len(named))
            assert asked == named + [BLANK] * (3 - len(named))
            assert len(set(named)) == len(named)
            assert set(named) <= set(read)
            for k, word in enumerate(named):
                assert reading.seen[row, k].tolist() == [word in read[:t] for t in range(len(read))]
    assert sorted(set(counts)) == [1, 2, 3]
    assert len(counts) == 6 * 16, "more than one reading of 64 sentences"


def test_lessons_bring_the_states_that_belong_to_them_and_the_same_seed_gives_the_same() -> None:
    bench = bench_beside()
    for lessons in (
        lambda: joint_keyword_batches(bench, 3, 16),
        lambda: label_batches(bench, 3, 16, bench.train.amax(1)),
    ):
        for (reading, token_ids), (again, _) in zip(lessons(), lessons(), strict=True):
            read = DecodingContext.before(token_ids, token_ids[:, 0])
            assert torch.equal(reading.token_ids, read.token_ids)
            assert farthest(reading.hidden, FrozenExpertSystem(bench.expert).states(read)) < 1e-4
            assert all(torch.equal(getattr(reading, name), getattr(again, name)) for name in vars(reading))


def test_labels_go_with_their_sentences() -> None:
    bench = bench_beside()
    rows = [token_ids for _, token_ids in label_batches(bench, 4, 16, bench.train.amax(1))]
    asked = [reading.keyword_ids for reading, _ in label_batches(bench, 4, 16, bench.train.amax(1))]
    assert torch.equal(torch.cat(asked), torch.cat(rows).amax(1))
    assert sorted(torch.cat(rows).tolist()) == sorted(bench.train.tolist()), "an epoch reads every sentence once"


def test_a_keyword_is_seen_from_the_word_after_it_on() -> None:
    read = torch.tensor([[BLANK, 5, 7, 5], [BLANK, 8, 9, 9]])
    seen = seen_keywords(read, torch.tensor([[5, 7], [6, 9]]))
    assert seen.long().tolist() == [[[0, 1, 1, 1], [0, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 1, 1]]]


# --- questions ---


@pytest.fixture(scope="module")
def questions() -> StoryRequests:
    return StoryRequests(StorySize(questions=60))


def test_every_sentence_fulfils_what_is_asked_about_it(questions: StoryRequests) -> None:
    asked = [questions.word_conditions(K) for K in (1, 2, 3)] + [
        questions.hour_conditions(with_word) for with_word in (True, False)
    ]
    assert [several.wanted.shape[1] for several in asked] == [1, 2, 3, 2, 1]
    for several in asked:
        assert bool((several.open(questions.sentences)[:, -1] == 0).all())
        assert float(several.posterior(questions.sentences[:, :0]).max()) < 1, "not by itself"


def test_a_sentence_tells_of_one_hour_by_its_verb_and_is_asked_for_it_by_name(questions: StoryRequests) -> None:
    told = questions.verbs[:, questions.sentences].any(2)
    assert told.sum(0).tolist() == [1] * 60
    named = [questions.world.vocabulary[word] for word in questions.labels(questions.sentences)]
    assert set(named) == set(HOURS)
    for hour, row in zip(named, questions.world.decode(questions.sentences), strict=True):
        for other, sign in {"day": "noon", "night": "midnight", "winter": "snow", "storm": "rain"}.items():
            assert sign not in row.split() or hour == other, row
    several = questions.hour_conditions(with_word=False)
    for i, hour in enumerate(questions.hours(questions.sentences).tolist()):
        assert torch.equal(several.wanted[i, 0], questions.verbs[hour])


def test_the_questions_are_the_same_each_time_and_none_of_the_training_sentences(questions: StoryRequests) -> None:
    assert torch.equal(StoryRequests(StorySize(questions=60)).words, questions.words)
    trained = {tuple(filter(None, row)) for row in bench_beside().train.tolist()}
    assert trained.isdisjoint(tuple(filter(None, row)) for row in questions.sentences.tolist())
