"""The exercises of notebook 06, the claim as an experiment. No model is loaded: costs and curves are made up here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from course.exercises.exercise import Answer, exercise, expect, expect_number
from experiments.claim import rule

Figures: TypeAlias = Mapping[str, float]
Curve: TypeAlias = Sequence[Mapping[str, Any]]


def _examine(cases: Sequence[Any], got: list, right: list, known: Mapping[str, list]) -> None:
    """State that answers to a battery of cases are not those of a known misconception, but the right ones."""
    for says, wrong in known.items():
        expect(got != wrong, says)
    for case, mine, wanted in zip(cases, got, right, strict=True):
        expect(mine == wanted, f"{mine} for {case}, expected {wanted}.")


@exercise(
    "6.1",
    hints=(
        "Go through the layers in the order of reading and remember one thing: has one of them so far been learning?",
        "A layer costs 2 · rows · inputs · outputs: once to read, again if it learns, again if a layer before it does.",
        "flops += 2 * rows * inputs * outputs * (1 + wanted + learns), and only then wanted = wanted or learns.",
    ),
)
def step_flops(layers: Sequence[tuple[int, int, bool]], rows: int) -> int:
    """Operations of one training step through layers ``(inputs, outputs, learns)``, forward and backward."""
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        flops += 2 * rows * inputs * outputs * (1 + wanted + learns)
        wanted = wanted or learns
    return flops


@step_flops.examiner
def _(answer: Answer) -> str:
    flags = "1", "10", "01", "010", "0110", "10010", "001011", "0010"
    stacks = [[(random.randint(2, 9), random.randint(2, 9), flag == "1") for flag in row] for row in flags]
    got = [expect_number(answer(list(layers), 7), "the cost") for layers in stacks]

    def by(passes: Callable[[bool, bool, bool], float]) -> list[float]:
        """The cost if a layer takes ``passes(one before it learns, it learns, one after it learns)``."""
        return [
            sum(14 * n * m * passes("1" in row[:i], on, "1" in row[i + 1 :]) for i, (n, m, on) in enumerate(layers))
            for layers, row in zip(stacks, flags, strict=True)
        ]

    right = by(lambda b, own, a: 1 + own + b)
    known = {
        "a frozen layer was charged for reading only, even where one before it learns: on its way there the error must "
        "pass through the frozen one.": by(lambda b, own, a: 1 + own + (b and own)),
        "every weight was charged three times, as if all layers learned.": by(lambda b, own, a: 3),
        "the first layer was charged for the gradient of its input, but that is data.": by(lambda b, own, a: 2 + own),
        "a layer's own learning was taken for a wish below it.": by(lambda b, own, a: 1 + own + (b or own)),
        "the wrong way round: what a layer passes on is for those *before* it.": by(lambda b, own, a: 1 + own + a),
        "frozen layers cost nothing here; they still have to be read through.": by(lambda b, own, a: own * (2 + b)),
        "this is the forward pass alone; a step also goes back.": by(lambda b, own, a: 1),
        "half of it: a product of numbers is a multiplication *and* an addition.": [flops / 2 for flops in right],
    }
    _examine(stacks, got, right, known)
    return "charges reading, the weights that learn, and the way back to every layer that learns, each once."


@exercise(
    "6.2",
    hints=(
        "How often is a sentence read by the frozen model in six epochs? And if the training stops in the first epoch?",
        "After `steps` steps `steps * batch` sentences have come by, but never more *different* ones than there are.",
        "step_flops * steps + read_flops * min(sentences, steps * batch)",
    ),
)
def training_flops(step_flops: float, read_flops: float, batch: int, steps: int, sentences: int) -> float:
    """Operations of a training whose frozen part reads each sentence once, when it is first met."""
    return step_flops * steps + read_flops * min(sentences, steps * batch)


@training_flops.examiner
def _(answer: Answer) -> str:
    cases = [(90, 7, 8, steps, 1000) for steps in (0, 1, 40, 124, 125, 126, 300, 1000)] + [(50, 11, 3, 20, 60)]
    got = [expect_number(answer(*case), "the cost") for case in cases]

    def by(read: Callable[[int, int, int], int], times: Callable[[int], int] = lambda b: 1) -> list[float]:
        """The cost if ``read(batch, steps, sentences)`` readings are paid for."""
        return [float(step * times(b) * steps + once * read(b, steps, n)) for step, once, b, steps, n in cases]

    known = {
        "every sentence is read anew in every epoch: that is the bill without a cache.": by(lambda b, s, n: b * s),
        "all sentences are paid for at the start, also those that a short training never meets.": by(lambda b, s, n: n),
        "reading is missing: the states in the cache have been computed by somebody.": by(lambda b, s, n: 0),
        "one reading a step: `read_flops` is of one sentence, and a step takes a batch.": by(lambda b, s, n: min(n, s)),
        "`step_flops` is of a whole batch already.": by(lambda b, s, n: min(n, s * b), lambda b: b),
    }
    _examine(cases, got, by(lambda b, s, n: min(n, s * b)), known)
    return "pays for each sentence once, in the step that meets it first, and for nothing twice."


@exercise(
    "6.3",
    hints=(
        "Two bars from `best`, two figures from `figures`. Does a margin make it easier to pass, or harder?",
        "Accuracy has the standard error sqrt(a · (1 − a) / n), SLOR brings its own. Lower both by margin times that.",
        'a - margin * se >= rule.SHARE * best["accuracy"] and figures["slor"] - margin * figures["slor_se"] >= '
        'best["slor"] - rule.Z * best["slor_se"]',
    ),
)
def passes_bar(figures: Figures, best: Figures, margin: float = 0.0) -> bool:
    """Whether figures pass the bar that ``best`` sets, by ``margin`` standard errors of their own."""
    accuracy = figures["accuracy"]
    accuracy_se = math.sqrt(accuracy * (1 - accuracy) / figures["n"])
    control = accuracy - margin * accuracy_se >= rule.SHARE * best["accuracy"]
    fluency = figures["slor"] - margin * figures["slor_se"] >= best["slor"] - rule.Z * best["slor_se"]
    return control and fluency


@passes_bar.examiner
def _(answer: Answer) -> str:
    cases = [(_figures(), _figures(), margin) for margin in (0.0, 1.0, 2.0) for _ in range(150)]
    got = [answer(dict(figures), dict(best), margin=margin) for figures, best, margin in cases]
    expect(all(said in (True, False) for said in got), "the verdict must be True or False.")

    def by(share=rule.SHARE, points=0.0, scale=1.0, z=rule.Z, sign=1.0, power=0.5, key="accuracy", both=all):
        """What the rule says, with single choices made otherwise."""
        said = []
        for f, b, margin in cases:
            a, s = (f[key] * (1 - f[key]) / f["n"]) ** power, f["slor"] - sign * margin * f["slor_se"]
            control = f[key] - sign * margin * a >= share * b["accuracy"] - points
            said.append(both([control, s >= scale * b["slor"] - z * b["slor_se"]]))
        return said

    known = {
        "the margin is given, not asked for: doubt must make it harder to pass, so lower the figures.": by(sign=-1.0),
        "the margin plays no part.": by(sign=0.0),
        "the bar for accuracy is the whole of the best; asked for is 95 % of it.": by(share=1.0),
        "5 points were taken off the best accuracy; asked for is 95 % *of* it.": by(share=1.0, points=0.05),
        "95 % of SLOR was taken, but it is a log-ratio whose zero means nothing; its bar is an interval's lower end.": (
            by(scale=rule.SHARE, z=0.0)
        ),
        "the bar for SLOR is the best's mean: by chance alone half of all equals would fail it.": by(z=0.0),
        "the bar for SLOR is one standard error below the mean; an interval reaches 1.96 of them.": by(z=1.0),
        "one of the two was enough; control without fluency is a list of keywords.": by(both=any),
        "SLOR plays no part: whoever writes the bare keyword passes.": by(both=lambda two: two[0]),
        "the margin for accuracy is a variance, a·(1 − a)/n; a standard error is its square root.": by(power=1.0),
        "judged by `success`; the bar is about accuracy.": by(key="success"),
    }
    _examine(cases, got, by(), known)
    return "asks for both, takes the doubt off the figures, and gives the best its interval."


def _figures() -> dict[str, float]:
    accuracy, n = random.uniform(0.75, 0.99), random.choice((100, 400, 1000))
    figures = {"accuracy": accuracy, "success": accuracy * random.uniform(0.85, 0.99), "slor": random.uniform(3, 3.3)}
    return {key: round(value, 3) for key, value in figures.items()} | {"slor_se": random.randint(2, 8) / 100, "n": n}


@exercise(
    "6.4",
    hints=(
        "Development figures choose: the best checkpoint from scratch, and the first that passes in either curve.",
        'top = max(scratch, key=lambda point: point["dev"]["success"]); then next((p for p in curve if ...), None).',
        'passes(p["dev"], top["dev"], margin=1.0) finds theirs (or top) and ours. Then ratio = theirs["flops"] / '
        'ours["flops"], and passes(ours["test"], top["test"]) and ratio >= rule.FEWER.',
    ),
)
def decide(scratch: Curve, auxiliary: Curve, passes: Callable[..., bool]) -> tuple[bool, float | None]:
    """One seed's verdict, and how many times fewer operations the auxiliary took."""
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve: Curve) -> Mapping[str, Any] | None:
        return next((point for point in curve if passes(point["dev"], top["dev"], margin=1.0)), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    ratio = theirs["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


@decide.examiner
def _(answer: Answer) -> str:
    passes, seeds = passes_bar.reference, [(_curve(30.0), _curve(60.0 / (1 + i % 6))) for i in range(120)]
    got = [_verdict(answer(scratch, auxiliary, passes)) for scratch, auxiliary in seeds]

    def most(curve: Curve, part: str = "dev", key: str = "success") -> Mapping[str, Any]:
        return max(curve, key=lambda point: point[part][key])

    def by(
        find="dev",
        top=most,
        theirs=lambda first, top, c: first,
        ours=lambda first, c: first,
        judge="test",
        cost="flops",
        margin=1.0,
        fewer=rule.FEWER,
        sense=1,
    ) -> list[tuple[bool, float | None]]:
        """What the rule says, with single choices made otherwise."""
        said = []
        for s, a in seeds:
            t = top(s)
            past = [[p for p in curve if passes(p[find], t[find], margin=margin)] for curve in (s, a)]
            if past[1]:
                x, y = theirs([*past[0], t][0], t, s), ours(past[1][0], a)
                ratio = x[cost] / y[cost]
                said.append((passes(y[judge], t[judge]) and ratio >= fewer, round(ratio**sense, 9)))
            else:
                said.append((False, None))
        return said

    known = {
        "the first checkpoint past the bar was sought on test: now it both chooses and judges.": by(find="test"),
        "the best from scratch was chosen on test; development figures choose.": by(top=lambda c: most(c, "test")),
        "from scratch was charged to its last step; it may stop at the bar.": by(theirs=lambda x, top, c: c[-1]),
        "from scratch was charged to its best, ours to the bar: two measures.": by(theirs=lambda x, top, c: top),
        "steps were compared; they do not cost the same, so compare operations.": by(cost="step"),
        "judged on development figures, which have chosen the checkpoint and flatter it.": by(judge="dev"),
        "ours was taken at its best checkpoint, not at the first that passes.": by(ours=lambda first, c: most(c)),
        "the margin of one standard error is missing where the first checkpoint is sought.": by(margin=0.0),
        "the best from scratch has the most `success`; you took accuracy.": by(top=lambda c: most(c, key="accuracy")),
        "the bar was set by the last checkpoint from scratch, not by its best.": by(top=lambda c: c[-1]),
        "cost plays no part in the verdict: it takes at least three times fewer operations.": by(fewer=0.0),
        "the ratio is upside down: it says how many times *fewer*.": by(sense=-1),
    }
    _examine([f"seed {i}" for i in range(120)], got, by(), known)
    return "lets development choose and test judge, and charges both sides to the same bar."


def _curve(flops: float) -> list[dict[str, Any]]:
    """A made-up training: accuracy and SLOR rise, and dev and test do not quite agree."""
    curve: list[dict[str, Any]] = [{"step": 10 * i, "flops": flops * i} for i in range(1, 9)]
    for i, point in enumerate(curve, 1):
        level = random.uniform(0.85, 1.0) * (1 - 0.5**i)
        for part in ("dev", "test"):
            a, slor = min(0.99, level + random.uniform(-0.05, 0.05)), 2.6 + 0.7 * level + random.uniform(-0.06, 0.06)
            point[part] = {"accuracy": a, "success": a * random.uniform(0.9, 1.0)} | {"slor": slor, "slor_se": 0.03}
            point[part]["n"] = 400
    return curve


def _verdict(value: Any) -> tuple[bool, float | None]:
    expect(isinstance(value, tuple) and len(value) == 2, "return two things: whether the seed passes, and the ratio.")
    return bool(value[0]), None if value[1] is None else round(expect_number(value[1], "the ratio"), 9)


@exercise(
    "6.5",
    hints=(
        "A sentence holds its keyword or it does not: a coin. Which KL between two coins is the least one has to pay?",
        "Sum a · log(a / b) over heads *and* tails; a is the system's share, b the expert's, and 0 · log 0 is 0.",
        "sum(a * log(a / b) for a, b in ((accuracy, base_rate), (1 - accuracy, 1 - base_rate)) if a > 0) / drift",
    ),
)
def control_efficiency(accuracy: float, base_rate: float, drift: float) -> float:
    """The least drift at which anybody can have this accuracy, as a share of the drift that was paid, in nats."""
    coins = (accuracy, base_rate), (1 - accuracy, 1 - base_rate)
    return sum(a * math.log(a / b) for a, b in coins if a > 0) / drift


@control_efficiency.examiner
def _(answer: Answer) -> str:
    cases, log = [(0.9, 0.02, 4.0), (0.3, 0.05, 2.5), (0.05, 0.04, 0.5), (0.5, 0.1, 1.0), (0.75, 0.3, 6.0)], math.log
    got = [round(expect_number(answer(*case), "the efficiency"), 9) for case in cases]

    def by(paid: Callable[[float, float, float], float]) -> list[float]:
        return [round(paid(*case), 9) for case in cases]

    def least(a: float, b: float) -> float:
        return control_efficiency.reference(a, b, 1.0)

    known = {
        "only heads were counted: tails are the other half of a coin's KL.": by(lambda a, b, d: a * log(a / b) / d),
        "the KL runs the wrong way: drift is KL(system‖expert), so the coin must be KL(accuracy‖base rate).": (
            by(lambda a, b, d: least(b, a) / d)
        ),
        "this is the price of certainty, −log(base rate); most owe less.": by(lambda a, b, d: -log(b) / d),
        "the coin's KL is in bits, drift is in nats.": by(lambda a, b, d: least(a, b) / log(2) / d),
        "upside down: what had to be paid, divided by what was paid.": by(lambda a, b, d: d / least(a, b)),
        "this is points of accuracy per nat, and nothing says when that is perfect.": by(lambda a, b, d: (a - b) / d),
        "not divided by the drift.": by(lambda a, b, d: least(a, b)),
    }
    _examine(cases, got, by(lambda a, b, d: least(a, b) / d), known)
    sure = expect_number(answer(1.0, 0.02, -log(0.02)), "the efficiency")
    expect(abs(sure - 1) < 1e-9, f"accuracy 1 for exactly −log(base rate) nats gives {sure:.4f}, not 1.")
    expect_number(answer(0.0, 0.02, 1.0), "the efficiency at accuracy 0")
    return "is the coin's KL over the drift, also where the coin always falls on one side."
