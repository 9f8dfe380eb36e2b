"""Stories with a place: the truth of the task, what helps it by construction, and what cannot."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
import torch

from auxlib.worlds.rules import Rules
from experiments.tartan import story
from experiments.tartan.story import GRAMMAR, load_world, places_of_words, shuffle_content_words, stories, story_setup


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "UNLABELLED", 300)
    monkeypatch.setattr(story, "TEST", 200)


def test_a_story_is_labelled_with_the_one_place_all_of_its_hero_object_and_spot_belong_to() -> None:
    world, rules = load_world(), Rules(GRAMMAR)
    fits, places = places_of_words(world, rules), list(rules.variables["place"])
    told = "at noon the old farmer feeds the"
    with_object = next(word for word in rules.classes["object farm tend"][0][0])
    assert fits[world.ids["farmer"]].tolist() == [place == "farm" for place in places]
    assert fits[world.ids["captain"]].nonzero().squeeze(1).tolist() == [places.index("harbour")]
    assert fits[world.ids["children"]].sum() > 1, "some belong to several"
    assert not fits[[world.ids[word] for word in told.replace("farmer", "").split()]].any()
    assert fits[world.ids[with_object], places.index("farm")]
    rows = stories(2000, 0)
    assert 1800 < len(rows) <= 2000, "few are ambiguous"
    for row in rows[:200]:
        assert fits[row["token_ids"], row["label"]].sum() == 3
    shares = Counter(row["label"] for row in rows)
    for label, share in enumerate(rules.variables["place"].values()):
        assert abs(shares[label] / len(rows) - share) < 0.04


def test_exchanged_words_are_the_same_words_and_know_nothing_of_one_another() -> None:
    world = load_world()
    content = torch.isin(torch.arange(len(world.vocabulary)), world.content_ids)
    texts = [row["token_ids"] for row in stories(3000, 0)]
    mixed = shuffle_content_words(texts, content, 0)
    assert Counter(chain.from_iterable(texts)) == Counter(chain.from_iterable(mixed))
    for text, other in zip(texts[:100], mixed[:100], strict=True):
        at = content[torch.tensor(text)]
        assert torch.equal(torch.tensor(text)[~at], torch.tensor(other)[~at])
    fits = places_of_words(world, Rules(GRAMMAR))

    def agreement(stories: list[list[int]]) -> float:
        """How often two words that have a place have the same."""
        same = total = 0
        for text in stories:
            placed = [fits[word] for word in text if fits[word].sum() == 1]
            pairs = [(a & b).any().item() for i, a in enumerate(placed) for b in placed[:i]]
            same, total = same + sum(pairs), total + len(pairs)
        return same / total

    assert agreement(texts) == 1
    assert abs(agreement(mixed) - 1 / 6) < 0.03


def test_a_lab_keeps_its_parts_apart_and_is_the_same_again(small: None) -> None:
    lab, again, other = story_setup(0, each=3), story_setup(0, each=3), story_setup(1, each=3)
    assert Counter(row["label"] for row in lab.labelled) == dict.fromkeys(range(6), 3)
    assert lab.labelled == again.labelled != other.labelled
    assert len(lab.dev) == story.DEV
    assert not [row for row in lab.dev if row in lab.labelled]
    assert lab.test == again.test
    few, more = (story_setup(0, each=each).labelled for each in (2, 3))
    assert all(row in more for row in few), "more labels are those, and others"


def test_every_other_objective_can_be_asked(small: None) -> None:
    lab = story_setup(0)
    body = lab.body()
    for name, make in lab.objectives.items():
        asked = make(name, body)
        batch = asked.draw(8, torch.Generator().manual_seed(0))
        states = body(input_ids=batch["input_ids"], attention_mask=batch["mask"]).last_hidden_state
        assert asked.loss(states, batch).isfinite()
