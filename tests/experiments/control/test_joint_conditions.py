"""Answers about several requests against sums over every sentence of small grammars, then the course's own language."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
import torch
from torch import Tensor

from auxlib.errors import WorldError
from auxlib.worlds.storyland import Storyland
from experiments.control.joint_conditions import JointConditions
from tests.grammars import TEXTS, Listed, Words, close

Request = frozenset[str]


def wanted(world: Storyland, rows: Sequence[Sequence[Request]]) -> Tensor:
    table = torch.zeros(len(rows), len(rows[0]), len(world.vocabulary), dtype=torch.bool)
    for i, requests in enumerate(rows):
        for k, request in enumerate(requests):
            table[i, k, world.keyword_ids(sorted(request))] = True
    return table


def share(small: Listed, prefix: Words, requests: Sequence[Request]) -> float:
    """P(every request is fulfilled | prefix), by listing."""
    good = [p for x, p in small.p.items() if x[: len(prefix)] == prefix and all(set(x) & r for r in requests)]
    return math.fsum(good) / small.mass(prefix)


def questions(small: Listed) -> list[tuple[Request, Request]]:
    """Pairs of words, and each word beside the set of all that follow it in the dictionary: sets that overlap too."""
    words = small.world.vocabulary[2:]
    pairs = [(frozenset([a]), frozenset([b])) for a, b in combinations(words, 2)]
    return pairs + [(frozenset([word]), frozenset(words[i:])) for i, word in enumerate(words)]


@pytest.mark.parametrize("name", TEXTS)
def test_i11_the_posterior_is_the_share_of_the_sentences_that_fulfil_all(
    listed: Callable[[str], Listed], name: str
) -> None:
    small = listed(name)
    asked = questions(small)
    several = JointConditions(small.world, wanted(small.world, asked))
    for prefix in small.prefixes:
        ids = small.encode([prefix] * len(asked))
        by_hand = torch.tensor([share(small, prefix, requests) for requests in asked], dtype=torch.float64)
        assert close(several.posterior(ids)[:, -1], by_hand), prefix


@pytest.mark.parametrize("name", ["plain", "ambiguous", "twice"])
def test_i11_each_word_leads_to_what_is_left_to_fulfil(listed: Callable[[str], Listed], name: str) -> None:
    small = listed(name)
    asked = questions(small)
    several = JointConditions(small.world, wanted(small.world, asked))
    for prefix in [prefix for prefix in small.prefixes if prefix not in small.p]:
        ids = small.encode([prefix] * len(asked))
        joint, summed = several.exact_aux_logits(ids)[:, -1], several.summed_aux_logits(ids)[:, -1]
        for follows in {x[len(prefix)] for x in small.p if x[: len(prefix)] == prefix and len(x) > len(prefix)}:
            longer, v = (*prefix, follows), small.world.ids[follows]
            both = torch.tensor([share(small, longer, r) for r in asked], dtype=torch.float64)
            each = [torch.tensor([share(small, longer, [r[k]]) for r in asked], dtype=torch.float64) for k in (0, 1)]
            assert close(joint[:, v].exp(), both)
            assert close(summed[:, v].exp(), each[0] * each[1])


def test_one_request_is_the_keyword_of_old(world: Storyland) -> None:
    token_ids = world.sample(50, torch.Generator().manual_seed(0))
    keyword_ids = world.draw_keywords(token_ids, torch.Generator().manual_seed(1))
    one = JointConditions.keywords(world, keyword_ids[:, None])
    torch.testing.assert_close(one.posterior(token_ids), world.posterior(token_ids, keyword_ids))
    torch.testing.assert_close(one.exact_aux_logits(token_ids), world.exact_aux_logits(token_ids, keyword_ids))
    torch.testing.assert_close(one.summed_aux_logits(token_ids), one.exact_aux_logits(token_ids))


def test_the_order_of_requests_and_a_request_twice_change_nothing(world: Storyland) -> None:
    token_ids = world.sample(20, torch.Generator().manual_seed(0))
    content = [row[world.is_content(row)] for row in token_ids]
    pairs = torch.stack([row[:2] for row in content])
    both = JointConditions.keywords(world, pairs).posterior(token_ids)
    torch.testing.assert_close(JointConditions.keywords(world, pairs.flip(1)).posterior(token_ids), both)
    thrice = JointConditions.keywords(world, pairs[:, [0, 1, 0]])
    torch.testing.assert_close(thrice.posterior(token_ids), both)


def test_the_sum_counts_a_request_twice_that_is_asked_twice(world: Storyland) -> None:
    """λ = 2 by another name: the double counting of identity I11."""
    token_ids = world.sample(20, torch.Generator().manual_seed(0))
    keyword_ids = world.draw_keywords(token_ids)
    twice = JointConditions.keywords(world, keyword_ids[:, None].expand(-1, 2))
    once = world.exact_aux_logits(token_ids, keyword_ids)
    torch.testing.assert_close(twice.exact_aux_logits(token_ids), once)
    torch.testing.assert_close(twice.summed_aux_logits(token_ids), 2 * once)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda V: torch.ones(2, 1, V), "torch.bool"),
        (lambda V: torch.ones(2, V, dtype=torch.bool), "expected wanted"),
        (lambda V: torch.ones(2, 5, V, dtype=torch.bool), "from 1 to 4"),
        (lambda V: torch.zeros(2, 1, V, dtype=torch.bool), "without a word"),
    ],
)
def test_what_is_no_table_of_requests_is_refused(
    world: Storyland, table: Callable[[int], Tensor], message: str
) -> None:
    with pytest.raises(WorldError, match=message):
        JointConditions(world, table(len(world.vocabulary)))
