"""The exercises of notebook 09, to the GPU. No model is loaded and nothing is timed: shapes and traces are made up."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._pytree import tree_map_only

from course.exercises.exercise import Answer, exercise, expect, expect_number
from course.exercises.synthetic_trace import KINDS, ToyTraining, synthetic_trace
from experiments.speed.roofline import Peak

Event = Mapping[str, Any]
KEPT = {
    "model": "the weights",
    "optimiser": "two running means and a count for each weight, or its next steps are as rash as its first",
    "schedule": "where the learning rate stands",
    "draw": "the state of the dice, which decide what is read next",
}


def _examine(got: Tensor, right: Tensor, known: Mapping[str, Tensor], what: str, case: object) -> None:
    """State that answers to a battery of cases are not those of a known misconception, but the right ones."""
    for says, wrong in known.items():
        expect(not torch.allclose(got, wrong.double(), rtol=1e-9), says)
    mine, wanted = (values.flatten()[0] for values in (got, right))
    expect(torch.allclose(got, right.double(), rtol=1e-9), f"{what}: {mine:g} for {case}, expected {wanted:g}.")


def _two(given: list, what: str) -> list[list]:
    """Two lists, of the first and of the second things that were returned."""
    expect(all(isinstance(two, tuple) and len(two) == 2 for two in given), f"return two things: {what}.")
    return [list(things) for things in zip(*given, strict=True)]


def _column(values: Sequence[Any]) -> Tensor:
    return torch.tensor([expect_number(value, "each of them") for value in values], dtype=torch.float64)


@exercise(
    "9.1",
    hints=(
        "Count the weights first: four projections and three matrices of the feed-forward net a layer, and the table.",
        "Keys and values are `kv = hidden_size // num_attention_heads * num_key_value_heads` wide. A row multiplies "
        "with each weight, and its query meets each kept position twice: 4 · layers · hidden_size · context.",
        "weights = layers * (2*D*D + 2*D*kv + 3*D*F) + V*D; flops = 2*rows*weights + 4*rows*layers*D*context; bytes = "
        "bytes_each * (weights + rows * layers * 2*kv*context).",
    ),
)
def token_work(config: Any, rows: int, context: int, bytes_each: int) -> tuple[int, int]:
    """Operations and bytes of one decoding step of a Llama: a new token for each of so many rows."""
    width, layers = config.hidden_size, config.num_hidden_layers
    kv = width // config.num_attention_heads * config.num_key_value_heads
    layer = 2 * width * width + 2 * width * kv + 3 * width * config.intermediate_size
    weights = layers * layer + config.vocab_size * width
    flops = 2 * rows * weights + 4 * rows * layers * width * context
    return flops, bytes_each * (weights + rows * layers * 2 * kv * context)


@token_work.examiner
def _(answer: Answer) -> str:
    cases = [(_shape(), *sizes) for sizes in ((2, 40, 4), (8, 25, 4), (3, 90, 2), (64, 7, 1))]
    flops, moved = _two([answer(*case) for case in cases], "operations, bytes")
    c = SimpleNamespace(**{name: _column([getattr(case[0], name) for case in cases]) for name in vars(cases[0][0])})
    b, t, e = (_column([case[i] for case in cases]) for i in (1, 2, 3))
    layers, width, table = c.num_hidden_layers, c.hidden_size, c.vocab_size * c.hidden_size
    kv = width // c.num_attention_heads * c.num_key_value_heads
    w = layers * (2 * width**2 + 2 * width * kv + 3 * width * c.intermediate_size) + table
    more = 2 * layers * width * (width - kv)  # weights of keys and values, if they had all heads
    met, kept = 2 * layers * width * t, layers * kv * t
    known = {
        "operations of training, 6 for each weight; decoding only goes forward.": b * (6 * w + 2 * met),
        "half of the operations: each weight is multiplied *and* added.": b * (w + met),
        "the embedding is counted as a product too; looking up multiplies nothing.": 2 * b * (w + table + met),
        "the operations do not grow with the cache: a new query meets all that is kept.": 2 * b * w,
        "scores *and* weighted sums multiply with all that is kept; one is missing.": b * (2 * w + met),
        "the operations are those of one row.": 2 * (w + met),
        "the projections of keys and values are too wide: they have fewer heads.": 2 * b * (w + more + met),
        "several queries share a key, and yet each one multiplies with it.": b * (2 * w + 4 * kept),
    }
    _examine(_column(flops), 2 * b * (w + met), known, "operations", cases[0])
    known = {
        "bytes of the weights times rows: they are moved once, and used for every row.": e * b * (w + 2 * kept),
        "the table is moved twice; it is tied, one matrix that embeds and unembeds.": e * (w + table + 2 * b * kept),
        "the cache is as wide as the queries; keys and values have fewer heads.": e * (w + b * met),
        "only weights are moved; a step also reads the keys and values that are kept.": e * w,
        "keys *and* values are kept; one of them is missing.": e * (w + b * kept),
        "one cache for all rows: each row has read something else.": e * (w + 2 * kept),
        "numbers, not bytes: `bytes_each` plays no part.": w + 2 * b * kept,
    }
    _examine(_column(moved), e * (w + 2 * b * kept), known, "bytes", cases[0])
    return "counts weights, products with the cache, and what is moved once for all, on four shapes."


def _shape() -> SimpleNamespace:
    heads, number = random.choice((6, 12)), random.randint
    return SimpleNamespace(
        hidden_size=heads * number(4, 9),
        intermediate_size=number(50, 90),
        num_attention_heads=heads,
        num_key_value_heads=number(2, 3),
        num_hidden_layers=number(3, 6),
        vocab_size=number(300, 500),
    )


@exercise(
    "9.2",
    hints=(
        "Two times for a step of B rows: operations over `peak.flops`, bytes over `peak.bandwidth`. Which one counts?",
        "The floor is the larger of the two, and B tokens come out of a step. For the turn, solve for the B at which "
        "both times are equal: each row gains `flops_a_row / peak.flops - bytes_a_row / peak.bandwidth`.",
        "gain = flops_a_row / peak.flops - bytes_a_row / peak.bandwidth; the turn is ceil(shared_bytes / "
        "peak.bandwidth / gain) if gain > 0, else None.",
    ),
)
def batching(
    flops_a_row: float, bytes_a_row: float, shared_bytes: float, peak: Peak, rows: Sequence[int]
) -> tuple[int | None, list[float]]:
    """The fewest rows that operations bind, and tokens a second at the floor for each number of rows."""
    product, own, shared = flops_a_row / peak.flops, bytes_a_row / peak.bandwidth, shared_bytes / peak.bandwidth
    turn = -int(-shared // (product - own)) if product > own else None
    return turn, [b / max(b * product, shared + b * own) for b in rows]


@batching.examiner
def _(answer: Answer) -> str:
    cases = [_load(share) for share in (0.5, 0.0, 0.3, 0.6, 0.9, 0.0)]
    turns, rates = _two([answer(*case) for case in cases], "the turn, the speeds")
    speeds = torch.stack([_column(list(values)) for values in rates])
    b = _column(cases[0][-1])
    f, o, s = (_column([case[i] for case in cases])[:, None] for i in range(3))
    flops, bandwidth = (_column([getattr(case[3], name) for case in cases])[:, None] for name in vars(cases[0][3]))
    f, o, s = f / flops, o / bandwidth, s / bandwidth
    known = {
        "the two times were added; a machine multiplies while it moves.": b / (b * f + s + b * o),
        "the faster of the two was taken; a step is over when the slower one is.": b / (b * f).minimum(s + b * o),
        "shared bytes were moved once a row; then a batch would gain nothing.": (1 / f.maximum(s + o)).expand(6, 6),
        "steps a second: out of each step come as many tokens as rows.": 1 / (b * f).maximum(s + b * o),
        "the speed of one row times rows: that gain ends where operations bind.": b / f.maximum(s + o),
        "the rows' own bytes are missing: each brings a cache of its own.": b / (b * f).maximum(s + 0 * b),
    }
    _examine(speeds, b / (b * f).maximum(s + b * o), known, "the first speed", cases[0])
    exact = (s / (f - o))[:, 0]
    known = {
        "the turn leaves out the rows' own bytes, and comes too early.": (s / f)[:, 0].ceil(),
        "the turn was rounded down: at that many rows bytes still take longer.": exact.floor(),
        "the turn was rounded to the nearest; asked for are the first rows that operations bind.": exact.round(),
    }
    _examine(_column(turns), exact.ceil(), known, "the turn", cases[0])
    never = answer(*_load(1.4))[0]
    expect(never is None, f"{never} rows, though each brings more bytes than operations: then bytes bind for ever.")
    return "takes the slower of the two, gains until operations bind, and knows when they never do."


def _load(share: float) -> tuple[float, float, float, Peak, list[int]]:
    """Made-up work; ``share`` is how long a row's own bytes take, over its operations."""
    peak, flops = Peak(random.uniform(80.0, 120.0), random.uniform(8.0, 12.0)), random.uniform(2.0, 4.0)
    row, shared = flops / peak.flops * peak.bandwidth, random.uniform(7.2, 7.4)
    return flops, share * row, shared * row, peak, [1, 2, 5, 9, 40, 200]


@exercise(
    "9.3",
    hints=(
        "An event's children are those that begin and end within it, and in no smaller event within it.",
        "Go through the events in the order of (start, -end) with a stack: on top is the smallest one still open. "
        "Each takes its duration off its parent, and off nobody else.",
        "while stack and stack[-1]['end'] <= event['start']: stack.pop(). Then add the event's duration to its name, "
        "and take it off the name of stack[-1], if there is one; push the event. At last, the largest of moves.",
    ),
)
def costliest_copy(events: Sequence[Event], moves: Collection[str]) -> tuple[str, float]:
    """The operation of ``moves`` with the most self time in a trace, and that time."""
    spent = dict.fromkeys([event["name"] for event in events], 0.0)
    stack: list[Event] = []
    for event in sorted(events, key=lambda event: (event["start"], -event["end"])):
        while stack and stack[-1]["end"] <= event["start"]:
            stack.pop()
        spent[event["name"]] += event["end"] - event["start"]
        if stack:
            spent[stack[-1]["name"]] -= event["end"] - event["start"]
        stack.append(event)
    name = max((name for name in spent if name in moves), key=lambda name: spent[name])
    return name, spent[name]


@costliest_copy.examiner
def _(answer: Answer) -> str:
    moves, traces = set(KINDS[:5]), [synthetic_trace() for _ in range(60)]

    def ask(traces: list) -> list[tuple]:
        plain = [[{key: event[key] for key in ("name", "start", "end")} for event in trace] for trace in traces]
        names, times = _two([answer(trace, moves.copy()) for trace in plain], "the name, its time")
        return list(zip(names, _column(times).tolist(), strict=True))

    def by(own: str, total: Callable = sum, names: Collection[str] = moves) -> list[tuple]:
        """The answer if an event spends what stands under ``own``, and ``total`` of that is what a name spends."""
        spent = [{n: [e[own] for e in trace if e["name"] == n] or [0] for n in sorted(names)} for trace in traces]
        return [max(((n, total(own)) for n, own in each.items()), key=lambda two: two[1]) for each in spent]

    known = {
        "total time: what an operation calls was counted for it, and then for itself.": by("total"),
        "an operation that computes; asked for is one that only moves memory.": by("self", names=KINDS),
        "the longest single event; many short ones may cost more.": by("self", max),
        "grandchildren were taken off twice: they are in their parents' time.": by("twice"),
        "only events that nothing encloses were counted; copies hide within others.": by("outer"),
        "only events that enclose nothing were counted; a parent works as well.": by("inner"),
        "only the first child was taken off its parent.": by("first"),
    }
    got, right = ask(traces), by("self")
    for says, wrong in known.items():
        expect(got != wrong, says)
    calls = [max(sorted(moves), key=[e["name"] for e in trace].count) for trace in traces]
    expect([name for name, _ in got] != calls, "the operation with the most calls; asked for is the most time.")
    expect(got == right, f"{got[0]} for the first trace, {sum(map(tuple.__ne__, got, right))} of 60 are wrong.")
    shuffled = ask([random.sample(trace, len(trace)) for trace in traces])
    expect(shuffled == right, "the order in the list plays a part; only start and end say who is within whom.")
    return "finds it in 60 nested traces, by what each operation spends itself, in any order of events."


@exercise(
    "9.4",
    hints=(
        "Four things change from step to step. Which of them do you find again in the weights?",
        "`state_dict()` of the first three and `draw.getstate()`. Does a `state_dict` hold numbers, or references?",
        "copy.deepcopy({'model': model.state_dict(), 'optimiser': optimiser.state_dict(), 'schedule': "
        "schedule.state_dict(), 'draw': draw.getstate()})",
    ),
)
def pack(model: nn.Module, optimiser: Optimizer, schedule: LRScheduler, draw: random.Random) -> dict[str, Any]:
    """All that an interrupted training needs to go on as if nothing had happened, as copies."""
    live = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    return copy.deepcopy(live | {"draw": draw.getstate()})


@pack.examiner
def _(answer: Answer) -> str:
    whole = ToyTraining(1).steps(4)
    before = pack.reference(*whole.parts)
    saved = answer(*whole.parts)
    expect(isinstance(saved, dict), f"return a dict; yours is {type(saved).__name__}.")
    expect(_same(pack.reference(*whole.parts), before), "packing has changed the training that it should only look at.")
    expect(set(saved) != {"model"}, "only the weights: everything else would begin anew.")
    for name, what in KEPT.items():
        expect(name in saved, f"'{name}' is missing: {what}.")
    expect(not isinstance(saved["draw"], random.Random), "the dice themselves, and they roll on; keep their state.")
    then, end = copy.deepcopy(saved), pack.reference(*whole.steps(5).parts)
    for name in KEPT:
        expect(_same(saved[name], then[name]), f"'{name}' went on learning after it was packed: it refers, so copy it.")
    again = ToyTraining(2)
    again.model.load_state_dict(copy.deepcopy(saved["model"]))
    again.optimiser.load_state_dict(copy.deepcopy(saved["optimiser"]))
    again.schedule.load_state_dict(copy.deepcopy(saved["schedule"]))
    again.rng.setstate(saved["draw"])
    for name, found in pack.reference(*again.parts).items():
        expect(_same(found, before[name]), f"'{name}' is not what it was when it was packed: {KEPT[name]}.")
    expect(_same(pack.reference(*again.steps(5).parts), end), "the resumed training ends elsewhere than the whole one.")
    return "lets a killed training end where the whole one does, bit for bit, and holds copies."


def _same(one: Any, other: Any) -> bool:
    """Whether two nested states hold the same numbers; the ``repr`` of a tensor rounds, that of its list does not."""
    return repr(tree_map_only(Tensor, Tensor.tolist, one)) == repr(tree_map_only(Tensor, Tensor.tolist, other))
