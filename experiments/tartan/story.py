"""In which of six places is this story told? A task whose truth is known, and so is which objective must help it.

A story names its hero, an object and a spot of its place, in words that some thirty belong to. A few labelled stories
hold few of them, so whoever learns from those alone cannot know the others. That they stand together is written in the
stories without a label: to tell which words are *missing* from one is to know its place. The same question about
stories whose words have been exchanged, each for one from anywhere, can be asked as often: nothing in such a story
knows of its missing words.
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
    """Built once in a process."""
    return Storyland.load(GRAMMAR)


@cache
def known_places() -> Tensor:
    """`places_of_words` of that world."""
    return places_of_words(load_world(), Rules(GRAMMAR))


def places_of_words(world: Storyland, rules: Rules) -> Tensor:
    """Which words belong to which place, ``[V, P]``: its heroes, objects and spots."""
    places = list(rules.variables["place"])
    found = torch.zeros(len(world.vocabulary), len(places), dtype=torch.bool)
    for name, phrases in rules.classes.items():
        for place in set(name.split()) & set(places):
            for word in (word for phrase, _ in phrases for word in phrase):
                found[world.ids[word], places.index(place)] = True
    return found


def stories(count: int, seed: int) -> Rows:
    """Stories with their place; those few are left out whose words would fit in two."""
    fits, drawn = known_places(), load_world().sample(count, torch.Generator().manual_seed(seed))
    held = fits[drawn].sum(1)
    sure = (held == held.amax(1, keepdim=True)).sum(1) == 1
    return [
        {"token_ids": [word for word in story if word != BLANK], "label": label}
        for story, label in zip(drawn[sure].tolist(), held[sure].argmax(1).tolist(), strict=True)
    ]


def shuffle_content_words(texts: list[list[int]], content: Tensor, seed: int) -> list[list[int]]:
    """The same texts, each content word exchanged for one from anywhere among them."""
    words = torch.cat([torch.tensor(text) for text in texts])
    at = content[words].nonzero().squeeze(1)
    words[at] = words[at][torch.randperm(len(at), generator=torch.Generator().manual_seed(seed))]
    return [part.tolist() for part in words.split([len(text) for text in texts])]


def story_setup(seed: int, each: int = 5) -> TaskSetup:
    """As many labelled stories of each place, many without a label, and a body that knows nothing yet."""
    world = load_world()
    rows, count = stories(3 * UNLABELLED // 2 + 600, 10 * seed + 1), known_places().shape[1]
    labelled, rest = take_per_class(rows, each)
    texts = [row["token_ids"] for row in rest[DEV : DEV + UNLABELLED]]
    content = torch.isin(torch.arange(len(world.vocabulary)), world.content_ids)
    mask_id = len(world.vocabulary)

    def words(name: str, texts: list[list[int]]) -> Objective:
        return BagOfWordsMLM(name, texts, WIDTH, mask_id, content)

    return TaskSetup(
        labelled, rest[:DEV], stories(TEST, 10 * seed + 2), count, WIDTH, lambda: story_body(mask_id + 1),
        {
            USEFUL: lambda name, _: words(name, texts),
            NEUTRAL: lambda name, _: words(name, shuffle_content_words(texts, content, seed)),
            HARMFUL: lambda name, _: CollapseObjective(name, texts, STRENGTH),
        },
    )  # fmt: skip


def story_body(words: int) -> nn.Module:
    """A transformer of one layer, with weights drawn from torch's own generator."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=words, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=32, initializer_range=0.05,
    )  # fmt: skip
    body = BertModel(config, add_pooling_layer=False)
    nn.init.normal_(body.embeddings.word_embeddings.weight, std=0.3)  # words that begin alike take long to part
    return body
