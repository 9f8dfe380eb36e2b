"""Control, fluency and drift of systems that write under several conditions in Storyland.

Drift is KL(q‖p) from the unsteered model. No system that fulfils its conditions as often can drift less than the exact
conditional (identity I21), so least drift over drift is an efficiency between 0 and 1. Beside the true process it is
exact; beside a learned expert it holds up to that expert's errors, since the least drift is that from the true process.

Axes: ``B`` sentences, ``T`` tokens, ``V`` words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import inf, isfinite

import torch
from torch import Tensor

from auxlib.frozen import Expert
from auxlib.product import kl
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.rules import Rules
from auxlib.worlds.storyland import Storyland
from experiments.baselines.decoding import System, sequence_nll, write
from experiments.baselines.frozen_expert import FrozenExpertSystem
from experiments.claim.judge import StoryJudge
from experiments.control.joint_conditions import JointConditions
from experiments.metrics import min_kl_for_success, wilson

NEGLIGIBLE = 1e-3  # nats a sentence; sampling cannot tell less from none
Nats = Callable[[Tensor], Tensor]


def under_expert(expert: Expert) -> Nats:
    """Return the function from sentences to their -log p under the frozen model, in nats."""
    return lambda token_ids: sequence_nll(FrozenExpertSystem(expert), token_ids, token_ids[:, 0])


def under_truth(world: Storyland) -> Nats:
    """Return the function from sentences to their -log p under the true process, in nats."""
    return lambda token_ids: -world.log_prob(token_ids)


def measure_conditions(
    system: System, conditions: JointConditions, unsteered: Nats, seed: int = 0
) -> dict[str, float | list[float]]:
    """Sample one sentence for each row of conditions, and return the figures over all of them."""
    world = conditions.world
    first = conditions.wanted[:, 0].long().argmax(1)  # a context needs a keyword; these systems hold their conditions
    written, log_q = write(system, first, world.ids[FULL_STOP], torch.Generator().manual_seed(seed))
    fulfilled, n = conditions.open(written)[:, -1] == 0, len(written)
    hits = int(fulfilled.sum())
    figures = {
        "grammatical": float(world.is_grammatical(written).double().mean()),
        "slor": float(StoryJudge(world).slor(written).mean()),
        "drift": float((log_q + unsteered(written)).double().mean()),
    }
    by_chance = conditions.posterior(written[:, :0])[:, 0]
    least = least_drift(
        conditions, min(hits / n, 1 - 0.5 / n)
    )  # a rate of 1 would need infinite drift; n hits of n are compatible with less
    figures |= {"least_drift": least, "by_chance": float(by_chance.mean())}
    if NEGLIGIBLE < figures["drift"] < inf:  # without drift there is no efficiency
        figures["efficiency"] = least / figures["drift"]
    rounded = {name: round(value, 4) for name, value in figures.items() if isfinite(value)}
    return {"accuracy": hits / n, "interval": [round(x, 4) for x in wilson(hits, n)], **rounded, "n": n}


def least_drift(conditions: JointConditions, accuracy: float) -> float:
    """Return the least drift, in nats, at which any system can fulfil this share of the conditions."""
    by_chance = conditions.posterior(conditions.wanted.new_zeros(len(conditions.wanted), 0, dtype=torch.long))[:, 0]
    return min_kl_for_success(accuracy, by_chance, torch.ones(len(by_chance)))


def word_classes(world: Storyland, rules: Rules) -> list[str | None]:
    """Return the class of every content word by the grammar, such as "trait", "hero farm" or "idle day"; else None."""
    classes: list[str | None] = [None] * len(world.vocabulary)
    for name, phrases in rules.classes.items():
        for word in (word for phrase, _ in phrases for word in phrase if word in rules.content):
            classes[world.ids[word]] = " ".join(name.split()[:2])
    return classes


def composition_errors(
    world: Storyland, sentences: Tensor, block: int = 300
) -> Iterator[tuple[tuple[int, int], float, float]]:
    """Measure the error of adding two exact auxiliaries, for every two content words of every sentence.

    Yields:
        The two words; the KL along the sentence, in nats, of the exact joint conditional from the sum; and the largest
        error of a logit on the way: ``max_v - min_v`` of the two words' PMI given the prefix, over words that are
        possible under both together.
    """
    rows = [
        (i, pair) for i, row in enumerate(sentences) for pair in combinations(row[world.is_content(row)].tolist(), 2)
    ]
    for first in range(0, len(rows), block):
        chosen = rows[first : first + block]
        token_ids, pairs = sentences[[i for i, _ in chosen]], torch.tensor([pair for _, pair in chosen])
        conditions = JointConditions.keywords(world, pairs)
        lm = world.next_log_probs(token_ids)
        joint, summed = conditions.exact_aux_logits(token_ids), conditions.summed_aux_logits(token_ids)
        over = torch.isneginf(lm).all(-1)  # nothing follows a complete sentence
        q, p = ((lm + aux).masked_fill(over[..., None], 0.0).log_softmax(-1) for aux in (joint, summed))
        lost = kl(q, p).masked_fill(over, 0.0).sum(1)
        pmi = joint - summed
        known = torch.isfinite(lm) & torch.isfinite(pmi)
        spread = pmi.masked_fill(~known, -torch.inf).amax(-1) - pmi.masked_fill(~known, torch.inf).amin(-1)
        widest = spread.masked_fill(~known.any(-1), 0.0).amax(1)
        yield from zip((pair for _, pair in chosen), lost.tolist(), widest.tolist(), strict=True)
