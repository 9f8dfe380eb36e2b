"""An end task in Storyland with objectives that must help it, cannot help it, or harm it: the place of a story.

A story names a hero, an object and a spot of its place, one of six; some thirty words belong to each place. A few
labelled stories contain few of them. Which of them occur together can be learned from unlabelled stories: predicting
the *missing* words of a story requires its place, so this objective is useful. The same objective on stories whose
content words were shuffled across all stories is neutral: nothing in such a story predicts its missing words.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from auxlib.data.assets import data_dir
from auxlib.tartan.objectives import BagOfWordsMLM, CollapseObjective, Objective, Rows
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.rules import Rules
from auxlib.worlds.storyland import Storyland
from experiments.tartan.setup import TaskSetup, take_per_class

WIDTH, UNLABELLED, DEV, TEST, STRENGTH = 64, 4000, 240, 1000, 0.4
USEFUL, NEUTRAL, HARMFUL = "missing words", "words of anywhere", "all alike"
GRAMMAR = data_dir() / "storyland" / "grammar.toml"


@cache
def load_world() -> Storyland:
    """Return the world, loaded once in a process."""
    return Storyland.load(GRAMMAR)


@cache
def known_places() -> Tensor:
    """Return `places_of_words` of that world."""
    return places_of_words(load_world(), Rules(GRAMMAR))


def places_of_words(world: Storyland, rules: Rules) -> Tensor:
    """Return which words belong to which place, ``[V, P]``: its heroes, objects and spots."""
    places = list(rules.variables["place"])
    belongs = torch.zeros(len(world.vocabulary), len(places), dtype=torch.bool)
    for name, phrases in rules.classes.items():
        for place in set(name.split()) & set(places):
            for word in (word for phrase, _ in phrases for word in phrase):
                belongs[world.ids[word], places.index(place)] = True
    return belongs


def stories(count: int, seed: int) -> Rows:
    """Return stories with their place as label, without the few whose words fit two places equally."""
    belongs, sample = known_places(), load_world().sample(count, torch.Generator().manual_seed(seed))
    counts = belongs[sample].sum(1)
    unique = (counts == counts.amax(1, keepdim=True)).sum(1) == 1
    return [
        {"token_ids": [word for word in story if word != BLANK], "label": label}
        for story, label in zip(sample[unique].tolist(), counts[unique].argmax(1).tolist(), strict=True)
    ]


def shuffle_content_words(texts: list[list[int]], content: Tensor, seed: int) -> list[list[int]]:
    """Return the texts with their content words permuted across all of them."""
    words = torch.cat([torch.tensor(text) for text in texts])
    at = content[words].nonzero().squeeze(1)
    words[at] = words[at][torch.randperm(len(at), generator=torch.Generator().manual_seed(seed))]
    return [part.tolist() for part in words.split([len(text) for text in texts])]


def story_setup(seed: int, each: int = 5) -> TaskSetup:
    """Return ``each`` labelled stories of every place, `UNLABELLED` others, and an untrained body."""
    world = load_world()
    rows, count = stories(3 * UNLABELLED // 2 + 600, 10 * seed + 1), known_places().shape[1]
    labelled, rest = take_per_class(rows, each)
    texts = [row["token_ids"] for row in rest[DEV : DEV + UNLABELLED]]
    content = torch.isin(torch.arange(len(world.vocabulary)), world.content_ids)
    mask_id = len(world.vocabulary)

    def words(name: str, texts: list[list[int]]) -> Objective:
        return BagOfWordsMLM(name, texts, WIDTH, mask_id, content)

    return TaskSetup(
        labelled=labelled,
        dev=rest[:DEV],
        test=stories(TEST, 10 * seed + 2),
        count=count,
        width=WIDTH,
        body=lambda: story_body(mask_id + 1),
        objectives={
            USEFUL: lambda name, _: words(name, texts),
            NEUTRAL: lambda name, _: words(name, shuffle_content_words(texts, content, seed)),
            HARMFUL: lambda name, _: CollapseObjective(name, texts, STRENGTH),
        },
    )


def story_body(words: int) -> nn.Module:
    """Return a transformer of one layer, with weights drawn from torch's global generator."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=32,
        initializer_range=0.05,
    )
    body = BertModel(config, add_pooling_layer=False)
    nn.init.normal_(
        body.embeddings.word_embeddings.weight, std=0.3
    )  # embeddings that start close together separate slowly
    return body
