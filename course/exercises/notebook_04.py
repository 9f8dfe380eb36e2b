"""The exercises of notebook 04, Storyland."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_number, expect_tensor, gap


@exercise(
    "4.1",
    hints=(
        "Two things happen at each word: some places could hardly have said it, and the story moves on.",
        "`arcs[:, word]` is [S, S]: say this word at s, go on to s'. What does `belief @ arcs[:, word]` sum to?",
        "joint = belief @ arcs[:, word]; the new belief is joint / joint.sum(). Start the list with `start`.",
    ),
)
def read_on(start: Tensor, arcs: Tensor, words: Sequence[int]) -> Tensor:
    """Belief over places after 0, 1, … T words: ``[S]``, ``[S, V, S]`` and T word numbers to ``[T + 1, S]``."""
    beliefs = [start]
    for word in words:
        joint = beliefs[-1] @ arcs[:, word]
        beliefs.append(joint / joint.sum())
    return torch.stack(beliefs)


@read_on.examiner
def _(answer: Answer) -> str:
    for seed in range(10):
        start, arcs = _random_start(3, seed), _random_arcs(4, 3, seed)[:3, :, :3]
        arcs = arcs / arcs.sum((1, 2), keepdim=True)
        _judge_beliefs(answer, start, arcs, [0, 2, 1])
    start, arcs = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.zeros(2, 2, 2, dtype=torch.float64)
    arcs[0, 0, 0] = arcs[1, 1, 1] = 1.0
    sure = expect_tensor(answer(start, arcs, [1, 1]), (3, 2), "the beliefs where each word is said in one place only")
    expect(gap(sure[1], torch.tensor([0.0, 1.0])) == 0, "a word that only one place can say must settle the question.")
    return "agrees with the list of all paths on 10 random automata, word by word."


def _judge_beliefs(answer: Answer, start: Tensor, arcs: Tensor, words: list[int]) -> None:
    raw = answer(start, arcs, words)
    if isinstance(raw, Tensor) and tuple(raw.shape) == (len(words), len(start)):
        expect(False, f"{len(words)} words leave {len(words) + 1} beliefs: the one before the first word is missing.")
    beliefs = expect_tensor(raw, (len(words) + 1, len(start)), "the beliefs")
    expect(gap(beliefs[0], start) == 0, "row 0 is what is believed before the first word: `start` itself.")
    steps = arcs[:, words[0]]
    joint = start @ steps
    known = {
        "the word was not listened to: this is where the story stands after *any* word.": start @ arcs.sum(1),
        f"row 1 sums to {joint.sum():.2f}, the probability of the word; a belief sums to one, so divide by it.": joint,
        "every place moved on, but none lost weight: a place that hardly ever says this word is now less likely.": (
            start @ (steps / steps.sum(-1, keepdim=True))
        ),
        "only the most likely place was followed; a belief keeps them all, weighted.": _only_best(start, steps),
        "the arcs were walked backwards: `arcs[s, v, s2]` leads from s to s2.": (steps @ start) / (steps @ start).sum(),
        "softmax of probabilities makes places nearly equal; divide by the sum instead.": joint.softmax(-1),
        "the places lost weight, but the story did not move on: a word also leads to the next place.": (
            start * steps.sum(-1) / joint.sum()
        ),
    }
    for says, wrong in known.items():
        expect(gap(beliefs[1], wrong) > 1e-9, says)
    expect(gap(beliefs[1], joint / joint.sum()) < 1e-9, "row 1 is not p(place | first word) of the list of all paths.")
    afresh = start @ arcs[:, words[1]]
    expect(
        gap(beliefs[2], afresh / afresh.sum()) > 1e-9,
        "row 2 has forgotten the first word: go on from the last belief, not from `start`.",
    )
    paths = torch.einsum("a,ab,bc,cd->d", start, *(arcs[:, word] for word in words))
    error = gap(beliefs[-1], paths / paths.sum())
    expect(error < 1e-9, f"the last belief is off by up to {error:.3f} from the list of all paths.")


def _only_best(start: Tensor, steps: Tensor) -> Tensor:
    row = steps[start.argmax()]
    return row / row.sum()


@exercise(
    "4.2",
    hints=(
        "How unsure is the next word in one state? How often does a sentence come through that state?",
        "Nats of a sentence: visits times the rows' entropies. Tokens of a sentence: visits times the rows' sums.",
        "-(visits @ torch.special.xlogy(probs, probs).sum(-1)) / (visits @ probs.sum(-1)).",
    ),
)
def entropy_per_token(visits: Tensor, probs: Tensor) -> float:
    """Entropy in nats per token: visits of each state by a sentence ``[S]`` and rows ``[S, V]`` to one number."""
    nats = -(visits @ torch.special.xlogy(probs, probs).sum(-1))
    return float(nats / (visits @ probs.sum(-1)))


@entropy_per_token.examiner
def _(answer: Answer) -> str:
    for seed in range(5):
        visits, probs, sentences = _listed(seed)
        whole = -sum(p * math.log(p) for p, _ in sentences)
        length = sum(p * tokens for p, tokens in sentences)
        _judge_rate(answer, visits, probs, whole, length)
    return "is the entropy of all sentences, listed one by one, over their mean length, in 5 random languages."


def _judge_rate(answer: Answer, visits: Tensor, probs: Tensor, whole: float, length: float) -> None:
    raw = answer(visits, probs)
    expect(
        not (isinstance(raw, (float, Tensor)) and torch.as_tensor(raw).isnan().any()),
        "some words are impossible, and 0 · log 0 came out as NaN; it counts as 0.",
    )
    rate, right = expect_number(raw, "the entropy"), whole / length
    rows = -torch.special.xlogy(probs, probs).sum(-1)
    mixed = (visits @ probs) / length
    known = {
        "the plain mean of the rows: a state that hardly any sentence visits counts as much as the start.": (
            float(rows.mean())
        ),
        "the plain mean of the rows, the end left out: still, states are not visited equally often.": (
            float(rows[:-1].mean())
        ),
        f"these are the nats of a whole sentence; it has {length:.2f} tokens on average.": whole,
        "you divide by all visits, and each sentence also visits the end, where no token is said.": (
            whole / float(visits.sum())
        ),
        "the rows were averaged before the logarithm: this is the entropy of word counts, which knows no state.": (
            -float(torch.special.xlogy(mixed, mixed).sum())
        ),
        "these are bits; a nat is 1.44 of them.": right / math.log(2),
        "the sign is wrong: an entropy is never negative.": -right,
    }
    for says, wrong in known.items():
        expect(abs(rate - wrong) > 1e-9, says)
    expect(abs(rate - right) < 1e-9, f"{rate:.3f} nats per token; listing all sentences gives {right:.3f}.")


@exercise(
    "4.3",
    hints=(
        "One step: the word is said now, or something else is said and the chance is that of the next place.",
        "Split the steps: `arcs[:, word]` say it. The others are `arcs.sum(1) - arcs[:, word]`, which is A_without.",
        "torch.linalg.solve(torch.eye(S, dtype=arcs.dtype) - without, arcs[:, word].sum(-1)).",
    ),
)
def keyword_chance(arcs: Tensor, word: int) -> Tensor:
    """P(the word is said from here on | place): ``arcs [S, V, S]`` and a word's number to ``[S]``."""
    without = arcs.sum(1) - arcs[:, word]
    return torch.linalg.solve(torch.eye(len(arcs), dtype=arcs.dtype) - without, arcs[:, word].sum(-1))


@keyword_chance.examiner
def _(answer: Answer) -> str:
    for seed in range(10):
        _judge_chance(answer, _random_arcs(4, 4, seed), word=1)
    arcs = _random_arcs(4, 4, seed=0)
    arcs[:, 1] = 0.0
    never = expect_tensor(answer(arcs, 1), (4,), "the chance of a word that nobody says")
    expect(gap(never, torch.zeros(4)) < 1e-12, "a word that no arc says gets a chance above 0.")
    return "solves h = A_without h + A_with 1 on 10 random automata, loops included."


def _judge_chance(answer: Answer, arcs: Tensor, word: int) -> None:
    h = expect_tensor(answer(arcs, word), (len(arcs),), "the chance")
    without, says = arcs.sum(1) - arcs[:, word], arcs[:, word].sum(-1)
    eye, exact = torch.eye(len(arcs), dtype=arcs.dtype), torch.zeros_like(says)
    for _ in range(500):
        exact = without @ exact + says
    count = torch.linalg.solve(eye - arcs.sum(1), says)
    known = {
        f"place 0 gets {count[0]:.2f}: with the whole matrix A every saying is counted; once the word is said, stop.": (
            count
        ),
        "this is the chance that the word is said *next*; it may also come later.": says,
        "this is the chance that the word is never said; the answer is the rest.": 1 - exact,
        "the system was turned over: h looks ahead from each place, and a transpose looks back.": (
            torch.linalg.solve((eye - without).T, says)
        ),
        "the other steps were scaled up to sum to one, as if the word could not be said; leave them as they are.": (
            _scaled_up(without, says)
        ),
    }
    for text, wrong in known.items():
        expect(gap(h, wrong) > 1e-9, text)
    expect(gap(h, exact) < 1e-9, f"off by up to {gap(h, exact):.4f} from 500 rounds of h ← A_without h + A_with 1.")


def _scaled_up(without: Tensor, says: Tensor) -> Tensor:
    total = without.sum(-1, keepdim=True)
    scaled = without / total.where(total > 0, 1.0)
    return torch.linalg.solve(torch.eye(len(says), dtype=says.dtype) - scaled, says)


@exercise(
    "4.4",
    hints=(
        "How likely is each word to be the keyword? It must be in the sentence, and be the one drawn of k.",
        "I(X; C) = H(C) − H(C | X). Who has read the sentence still does not know which of its k words was drawn.",
        "p = h / k; then -(torch.special.xlogy(p, p)).sum() - math.log(k).",
    ),
)
def information_ceiling(h: Tensor, k: int) -> float:
    """I(X; C) in nats per sentence: P(word in sentence) ``[V]``, k different words a sentence, to one number."""
    p = h / k
    return float(-torch.special.xlogy(p, p).sum() - math.log(k))


@information_ceiling.examiner
def _(answer: Answer) -> str:
    for words, k, seed in ((6, 2, 0), (7, 3, 1), (5, 1, 2)):
        h, exact = _drawn_language(words, k, seed)
        _judge_ceiling(answer, h, k, exact)
    h = torch.cat([h, torch.zeros(2, dtype=torch.float64)])
    padded = answer(h, 1)
    expect(not torch.as_tensor(padded).isnan(), "a word that no sentence holds makes it NaN: 0 · log 0 counts as 0.")
    expect(abs(float(padded) - exact) < 1e-9, "words that no sentence holds change the result; they can tell nothing.")
    return "is the mutual information found by listing sentences and keywords, in 3 random languages."


def _judge_ceiling(answer: Answer, h: Tensor, k: int, exact: float) -> None:
    value, p = expect_number(answer(h, k), "the ceiling"), h / k
    entropy = -float((p * p.log()).sum())
    yes_no = -float((torch.special.xlogy(h, h) + torch.special.xlogy(1 - h, 1 - h)).sum())
    known = {
        f"this is H(C): who knows the sentence still cannot tell which of its {k} words was drawn.": entropy,
        f"h sums to {h.sum():.0f}, not to one: a sentence holds {k} words, and only one is drawn.": (
            -float((h * h.log()).sum())
        ),
        "h was used as if it were p(c): being in the sentence is not being drawn.": (
            -float((h * h.log()).sum()) - math.log(k)
        ),
        "this asks of every word whether it is in the sentence, all at once; the keyword tells of one word.": yes_no,
        "an entropy is not shared out among the words: the unknown draw costs log k, it does not divide.": entropy / k,
        "these are bits; a nat is 1.44 of them.": exact / math.log(2),
    }
    for says, wrong in known.items():
        expect(k == 1 or abs(value - wrong) > 1e-9, says)
    expect(abs(value - exact) < 1e-9, f"{value:.3f} nats; listing sentences and keywords gives {exact:.3f}.")


def _random_start(states: int, seed: int) -> Tensor:
    start = 0.1 + torch.rand(states, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + seed))
    return start / start.sum()


def _random_arcs(states: int, words: int, seed: int) -> Tensor:
    """``[S, V, S]``: every place says every word on the way to any other; the last is the end, which says nothing."""
    arcs = 0.02 + torch.rand(states, words, states, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    arcs[:, 1] *= 4  # word 1 comes often, so that its count exceeds 1
    arcs = arcs / arcs.sum((1, 2), keepdim=True)
    arcs[-1] = 0.0
    return arcs


def _listed(seed: int) -> tuple[Tensor, Tensor, list[tuple[float, int]]]:
    """A language without loops: visits and rows of its five states, and (probability, tokens) of every sentence."""
    weights = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    step = torch.tensor([[1, 2, 3], [2, 3, 4], [3, 4, 4], [4, 4, 4], [4, 4, 4]])
    weights[3, 0], weights[4] = 0.0, 0.0
    probs = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
    visits, sentences, open_ones = torch.zeros(5, dtype=torch.float64), [], [(0, 1.0, 0)]
    while open_ones:
        state, prob, tokens = open_ones.pop()
        visits[state] += prob
        following = [(int(step[state, v]), prob * float(probs[state, v]), tokens + 1) for v in range(3)]
        open_ones += [item for item in following if item[1] > 0]
        sentences += [(prob, tokens)] if state == 4 else []
    return visits, probs, sentences


def _drawn_language(words: int, k: int, seed: int) -> tuple[Tensor, float]:
    """Sentences are sets of k words: P(word in sentence) ``[V]``, and I(X; C) by listing (sentence, keyword)."""
    sentences = list(combinations(range(words), k))
    chances = torch.rand(len(sentences), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.05
    probs: list[float] = (chances / chances.sum()).tolist()
    h = torch.zeros(words, dtype=torch.float64)
    for sentence, prob in zip(sentences, probs, strict=True):
        h[list(sentence)] += prob
    pairs = [(p, c) for sentence, p in zip(sentences, probs, strict=True) for c in sentence]
    return h, sum(p / k * math.log((1 / k) / float(h[c] / k)) for p, c in pairs)
