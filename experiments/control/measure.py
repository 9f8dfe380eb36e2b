"""What is asked of whoever writes for several requests? Whether all are fulfilled, how it reads, and at what price.

The price is the drift KL(q‖p) from the model that nobody steers. No writer that fulfils requests so often can drift
less than the exact conditional does (identity I21), so least drift over drift is an efficiency between 0 and 1: beside
the truth exactly, beside a learned expert up to that expert's own errors, since the least drift is that from the truth.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import inf, isfinite

import torch
from torch import Tensor

from auxlib.frozen import Expert
from auxlib.metrics import min_kl_for_success, wilson
from auxlib.product import kl
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.rules import Rules
from auxlib.worlds.storyland import Storyland
from experiments.baselines.beside import FrozenExpertSystem
from experiments.baselines.reading import System, sequence_nll, write
from experiments.claim.judge import StoryJudge
from experiments.control.joint_conditions import JointConditions

SLIGHT = 1e-3  # nats a sentence, less than sampling can tell from none
Nats = Callable[[Tensor], Tensor]


def under_expert(expert: Expert) -> Nats:
    """-log p of sentences under the frozen model."""
    return lambda token_ids: sequence_nll(FrozenExpertSystem(expert), token_ids, token_ids[:, 0])


def under_truth(world: Storyland) -> Nats:
    """-log p of sentences under the world itself."""
    return lambda token_ids: -world.log_prob(token_ids)


def measure_conditions(
    system: System, several: JointConditions, unsteered: Nats, seed: int = 0
) -> dict[str, float | list[float]]:
    """One sentence for each row of requests, and all that can be said of them; nothing is left out."""
    world = several.world
    first = several.wanted[:, 0].long().argmax(1)  # a reading needs a keyword; these systems know their requests
    written, log_q = write(system, first, world.ids[FULL_STOP], torch.Generator().manual_seed(seed))
    fulfilled, n = several.open(written)[:, -1] == 0, len(written)
    hits = int(fulfilled.sum())
    figures = {
        "grammatical": float(world.is_grammatical(written).double().mean()),
        "slor": float(StoryJudge(world).slor(written).mean()),
        "drift": float((log_q + unsteered(written)).double().mean()),
    }
    by_chance = several.posterior(written[:, :0])[:, 0]
    least = cheapest(several, min(hits / n, 1 - 0.5 / n))  # all of n may be a little less than all
    figures |= {"least_drift": least, "by_chance": float(by_chance.mean())}
    if SLIGHT < figures["drift"] < inf:  # who does not drift has no efficiency
        figures["efficiency"] = least / figures["drift"]
    rounded = {name: round(value, 4) for name, value in figures.items() if isfinite(value)}
    return {"accuracy": hits / n, "interval": [round(x, 4) for x in wilson(hits, n)], **rounded, "n": n}


def cheapest(several: JointConditions, accuracy: float) -> float:
    """The least drift in nats at which anybody can fulfil so large a share of the requests."""
    by_chance = several.posterior(several.wanted.new_zeros(len(several.wanted), 0, dtype=torch.long))[:, 0]
    return min_kl_for_success(accuracy, by_chance, torch.ones(len(by_chance)))


def word_classes(world: Storyland, rules: Rules) -> list[str | None]:
    """For every content word its kind, by the grammar's classes: trait, hero farm, idle day, …"""
    kinds: list[str | None] = [None] * len(world.vocabulary)
    for name, phrases in rules.classes.items():
        for word in (word for phrase, _ in phrases for word in phrase if word in rules.content):
            kinds[world.ids[word]] = " ".join(name.split()[:2])
    return kinds


def composition_errors(
    world: Storyland, sentences: Tensor, block: int = 300
) -> Iterator[tuple[tuple[int, int], float, float]]:
    """What adding two exact answers costs, for every two content words of every sentence.

    Yields:
        The two words; the nats by which the sum's sentences differ from those that hold both words, a KL along the
        sentence; and the largest error of a logit on the way, ``max_v - min_v`` of the two words' PMI given the prefix,
        over words that are possible for both together.
    """
    rows = [
        (i, pair) for i, row in enumerate(sentences) for pair in combinations(row[world.is_content(row)].tolist(), 2)
    ]
    for first in range(0, len(rows), block):
        chosen = rows[first : first + block]
        token_ids, pairs = sentences[[i for i, _ in chosen]], torch.tensor([pair for _, pair in chosen])
        several = JointConditions.keywords(world, pairs)
        lm, joint, summed = (
            world.next_log_probs(token_ids), several.exact_aux_logits(token_ids), several.summed_aux_logits(token_ids),
        )  # fmt: skip
        over = torch.isneginf(lm).all(-1)  # nothing follows a whole sentence
        q, p = ((lm + aux).masked_fill(over[..., None], 0.0).log_softmax(-1) for aux in (joint, summed))
        lost = kl(q, p).masked_fill(over, 0.0).sum(1)
        pmi = joint - summed
        known = torch.isfinite(lm) & torch.isfinite(pmi)
        spread = pmi.masked_fill(~known, -torch.inf).amax(-1) - pmi.masked_fill(~known, torch.inf).amin(-1)
        widest = spread.masked_fill(~known.any(-1), 0.0).amax(1)
        yield from zip((pair for _, pair in chosen), lost.tolist(), widest.tolist(), strict=True)
