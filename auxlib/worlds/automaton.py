"""What can a reader know? A grammar turned into the beliefs that its prefixes leave, each an ordinary state.

A grammar's arcs are ambiguous: after "at noon the" nobody can say where the story plays. A reader who knows the grammar
holds a *belief*, a distribution over places, and every prefix leaves exactly one (the forward filter). Prefixes that
leave the same belief have the same future, so beliefs are numbered and reading becomes walking. Nothing is estimated;
beliefs that agree to twelve digits count as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from auxlib.errors import WorldError
from auxlib.worlds.grammar import FIRST, LAST, Grammar, Place

MOST_STATES = 50_000
BLANK = 0  # the word that fills up rows
DIGITS = 12


@dataclass(frozen=True)
class Automaton:
    """A deterministic weighted automaton; state 0 is the start. Word 0 is the blank: never said, it moves nothing.

    Axes: ``S`` states, ``V`` words with the blank, ``E`` possible steps.

    Attributes:
        step: ``[S, V]`` int64, the state after each word; -1 where the word is impossible.
        log_probs: ``[S, V]`` float64, log p(word | state); ``-inf`` where it is impossible.
        end: the state in which a sentence is over; nothing follows it.
    """

    step: Tensor
    log_probs: Tensor
    end: int

    @cached_property
    def arcs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All E possible steps: source, word and target ``[E]``, and the step's probability."""
        source, word = self.log_probs.isfinite().nonzero(as_tuple=True)
        return source, word, self.step[source, word], self.probs[source, word]

    @cached_property
    def probs(self) -> Tensor:
        """p(word | state), ``[S, V]``; rows sum to one, but for the end's."""
        return self.log_probs.exp()

    @cached_property
    def choices(self) -> Tensor:
        """The words that may come next, ``[S, D]``, rows filled up with blanks; D is the most that any state offers."""
        source, word, _, _ = self.arcs
        offered = torch.bincount(source, minlength=len(self.step))
        return torch.nn.utils.rnn.pad_sequence(word.split(offered.tolist()), batch_first=True, padding_value=BLANK)

    def walk(self, token_ids: Tensor) -> Tensor:
        """The state before each token and after the last, ``[B, T]`` to ``[B, T + 1]``; -1 after the impossible."""
        states = [torch.zeros(len(token_ids), dtype=torch.long)]
        for tokens in token_ids.T:
            states.append(torch.where(states[-1] < 0, -1, self.step[states[-1], tokens]))
        return torch.stack(states, 1)

    @cached_property
    def visits(self) -> Tensor:
        """How often a sentence comes through each state, on average, ``[S]``: solves v = start + vᵀ A."""
        source, _, target, probs = self.arcs
        start = torch.zeros(len(self.step), dtype=torch.float64)
        start[0] = 1.0
        return _settle(lambda v: start.index_add(0, target, v[source] * probs), start)

    def future_keyword_prob(self, words: Tensor) -> Tensor:
        """P(word is said from here on | state) for different words, ``[K]`` to ``[S, K]``; exactly 1 where certain.

        The transition matrix A splits into the steps that say the word and the others, and backward dynamic
        programming is the linear system h = A_without h + A_with 1. It is summed as its Neumann series, for all words
        at once: where sentences have a longest length, that ends, exactly, after so many terms.
        """
        source, word, target, probs = self.arcs
        S, K = len(self.step), len(words)
        A = torch.sparse_coo_tensor(torch.stack([source, target]), probs, (S, S), check_invariants=True).coalesce()
        column = torch.full((self.step.shape[1],), -1).scatter(0, words, torch.arange(K))[word]
        says = column >= 0
        source, target, column, probs = source[says], target[says], column[says], probs[says]

        def back(h: Tensor) -> Tensor:  # A h, and where the word is said now, 1 instead of h
            gain = probs * (1 - h[target, column])
            return torch.sparse.mm(A, h).index_put_((source, column), gain, accumulate=True)

        h = _settle(back, torch.zeros(S, K, dtype=torch.float64))
        return h.masked_fill_(h > 1 - 10**-DIGITS, 1.0)  # rounding: log-odds of 1 + 1e-16 would be no number


def determinise(grammar: Grammar, ids: Mapping[str, int]) -> Automaton:
    """Number the beliefs of a grammar, nearest to the start first. ``ids`` numbers the words from 1.

    Raises `WorldError` when there are more than 50,000: such a grammar remembers too much at once.
    """
    arcs: dict[Place, list[tuple[int, float, Place]]] = defaultdict(list)
    for arc in grammar.arcs:
        arcs[arc.source].append((ids[arc.word], arc.prob, arc.target))
    beliefs, numbers, steps = [{FIRST: 1.0}], {((FIRST, 1.0),): 0}, []
    for number, belief in enumerate(beliefs):  # grows while it is read
        for word, (prob, after) in _next(belief, arcs).items():
            key = tuple(sorted((place, round(p, DIGITS)) for place, p in after.items()))
            if key not in numbers:
                numbers[key] = len(beliefs)
                beliefs.append(after)
            steps.append((number, word, numbers[key], prob))
        if len(beliefs) > MOST_STATES:
            raise WorldError(f"{grammar.name}: more than {MOST_STATES} beliefs; let the rules remember less at once.")
    source, word, target = (torch.tensor(column) for column in list(zip(*steps, strict=True))[:3])
    probs = torch.tensor([prob for *_, prob in steps], dtype=torch.float64)
    shape = len(beliefs), max(ids.values()) + 1
    step = torch.full(shape, -1).index_put((source, word), target)
    step[:, BLANK] = torch.arange(len(beliefs))
    log_probs = torch.full(shape, -torch.inf, dtype=torch.float64).index_put((source, word), probs.log())
    return Automaton(step, log_probs, end=numbers[((LAST, 1.0),)])


def _next(
    belief: Mapping[Place, float], arcs: Mapping[Place, list[tuple[int, float, Place]]]
) -> dict[int, tuple[float, dict[Place, float]]]:
    """One step of the forward filter for every word: its probability, and the belief after it."""
    mass: dict[int, dict[Place, float]] = defaultdict(lambda: defaultdict(float))
    for place, p in belief.items():
        for word, prob, target in arcs[place] if place != LAST else ():
            mass[word][target] += p * prob
    totals = {word: sum(after.values()) for word, after in mass.items()}
    return {word: (totals[word], {at: p / totals[word] for at, p in after.items()}) for word, after in mass.items()}


def _settle(update: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Repeat an update until it changes nothing."""
    for _ in range(10_000):
        fresh = update(value)
        if float((fresh - value).abs().max()) < 1e-15:
            return fresh
        value = fresh
    raise WorldError("sentences of this grammar are too long: a sum over 10,000 words has not settled.")
