"""Determinisation: from a grammar to a deterministic weighted automaton over beliefs.

A grammar's arcs are ambiguous: the words "at noon the" do not determine where the story takes place. A *belief* is the
distribution over the grammar's places given a prefix (the forward filter). Prefixes with equal beliefs have the same
future, so beliefs become numbered states, and reading a word becomes a look-up. Nothing is estimated; beliefs that
agree to twelve digits count as equal.

Axes: ``B`` sentences, ``T`` tokens, ``S`` states, ``V`` words including the blank, ``E`` arcs, ``K`` keywords.
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

MAX_STATES = 50_000
BLANK = 0  # the token that pads rows
DIGITS = 12


@dataclass(frozen=True)
class Automaton:
    """A deterministic weighted automaton; state 0 is the start, and the blank (token 0) changes no state.

    Attributes:
        step: ``[S, V]`` int64, the state after each word; -1 where the word is impossible.
        log_probs: ``[S, V]`` float64, log p(word | state); ``-inf`` where it is impossible.
        end: the state after a complete sentence; it has no next word.
    """

    step: Tensor
    log_probs: Tensor
    end: int

    @cached_property
    def arcs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Source, word, target and probability of all E arcs, each ``[E]``."""
        source, word = self.log_probs.isfinite().nonzero(as_tuple=True)
        return source, word, self.step[source, word], self.probs[source, word]

    @cached_property
    def probs(self) -> Tensor:
        """p(word | state), ``[S, V]``; rows sum to 1, except that of the end."""
        return self.log_probs.exp()

    @cached_property
    def choices(self) -> Tensor:
        """The possible next words ``[S, D]``, rows padded with blanks; D is their largest number in any state."""
        source, word, _, _ = self.arcs
        counts = torch.bincount(source, minlength=len(self.step))
        return torch.nn.utils.rnn.pad_sequence(word.split(counts.tolist()), batch_first=True, padding_value=BLANK)

    def walk(self, token_ids: Tensor) -> Tensor:
        """Return the state before each token and after the last, ``[B, T]`` to ``[B, T + 1]``; -1 if impossible."""
        states = [torch.zeros(len(token_ids), dtype=torch.long)]
        for tokens in token_ids.T:
            states.append(torch.where(states[-1] < 0, -1, self.step[states[-1], tokens]))
        return torch.stack(states, 1)

    @cached_property
    def visits(self) -> Tensor:
        """Expected number of visits of a sentence to each state, ``[S]``: the solution of v = start + vᵀ A."""
        source, _, target, probs = self.arcs
        start = torch.zeros(len(self.step), dtype=torch.float64)
        start[0] = 1.0
        return fixed_point(lambda v: start.index_add(0, target, v[source] * probs), start)

    def future_keyword_prob(self, words: Tensor) -> Tensor:
        """Return P(word occurs from here on | state) for different words, ``[K]`` to ``[S, K]``; exactly 1 if certain.

        The transition matrix A is split into the arcs that emit the word and the others; backward dynamic programming
        is then the linear system h = A_without h + A_with 1. Its Neumann series is summed for all words together, and
        ends after finitely many terms where the length of sentences is bounded.
        """
        source, word, target, probs = self.arcs
        S, K = len(self.step), len(words)
        A = torch.sparse_coo_tensor(torch.stack([source, target]), probs, (S, S), check_invariants=True).coalesce()
        column = torch.full((self.step.shape[1],), -1).scatter(0, words, torch.arange(K))[word]
        emits = column >= 0
        source, target, column, probs = source[emits], target[emits], column[emits], probs[emits]

        def backward(h: Tensor) -> Tensor:  # A h, with 1 in place of h on the arcs that emit the word
            gain = probs * (1 - h[target, column])
            return torch.sparse.mm(A, h).index_put_((source, column), gain, accumulate=True)

        h = fixed_point(backward, torch.zeros(S, K, dtype=torch.float64))
        return h.masked_fill_(h > 1 - 10**-DIGITS, 1.0)  # rounding: the log-odds of 1 + 1e-16 would be NaN


def determinise(grammar: Grammar, ids: Mapping[str, int]) -> Automaton:
    """Return the automaton whose states are the beliefs, numbered breadth first; ``ids`` numbers words from 1.

    Raises:
        WorldError: there are more than 50,000 beliefs, because the rules remember too much at the same time.
    """
    arcs: dict[Place, list[tuple[int, float, Place]]] = defaultdict(list)
    for arc in grammar.arcs:
        arcs[arc.source].append((ids[arc.word], arc.prob, arc.target))
    beliefs: list[dict[Place, float]] = [{FIRST: 1.0}]
    numbers: dict[tuple[tuple[Place, float], ...], int] = {((FIRST, 1.0),): 0}
    steps: list[tuple[int, int, int, float]] = []
    for number, belief in enumerate(beliefs):  # the list grows during the loop
        for word, (prob, after) in _next_beliefs(belief, arcs).items():
            key = tuple(sorted((place, round(p, DIGITS)) for place, p in after.items()))
            if key not in numbers:
                numbers[key] = len(beliefs)
                beliefs.append(after)
            steps.append((number, word, numbers[key], prob))
        if len(beliefs) > MAX_STATES:
            raise WorldError(f"{grammar.name}: more than {MAX_STATES} beliefs; let the rules remember less at once.")
    sources, words, targets, probs = zip(*steps, strict=True)
    index, shape = (torch.tensor(sources), torch.tensor(words)), (len(beliefs), max(ids.values()) + 1)
    step = torch.full(shape, -1).index_put(index, torch.tensor(targets))
    step[:, BLANK] = torch.arange(len(beliefs))
    log_probs = torch.full(shape, -torch.inf, dtype=torch.float64)
    log_probs.index_put_(index, torch.tensor(probs, dtype=torch.float64).log())
    return Automaton(step, log_probs, end=numbers[((LAST, 1.0),)])


def _next_beliefs(
    belief: Mapping[Place, float], arcs: Mapping[Place, list[tuple[int, float, Place]]]
) -> dict[int, tuple[float, dict[Place, float]]]:
    """Return the probability of each next word and the belief after it: a step of the forward filter."""
    mass: dict[int, dict[Place, float]] = defaultdict(lambda: defaultdict(float))
    for place, p in belief.items():
        for word, prob, target in arcs[place] if place != LAST else ():
            mass[word][target] += p * prob
    totals = {word: sum(after.values()) for word, after in mass.items()}
    return {word: (totals[word], {at: p / totals[word] for at, p in after.items()}) for word, after in mass.items()}


def fixed_point(update: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Repeat an update until it changes no element by 1e-15; raise a `WorldError` after 10,000 updates."""
    for _ in range(10_000):
        fresh = update(value)
        if float((fresh - value).abs().max()) < 1e-15:
            return fresh
        value = fresh
    raise WorldError("sentences of this grammar are too long: a sum over 10,000 words has not converged.")
