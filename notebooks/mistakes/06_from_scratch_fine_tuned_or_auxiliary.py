# %% setup
from math import log, log2, sqrt

from experiments.claim import rule


# %% 6.1 · believes that what is frozen is free on the way back
# says: must pass through the frozen one
def step_flops(layers, rows):
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        passes = 2 + wanted if learns else 1
        flops += 2 * rows * inputs * outputs * passes
        wanted = wanted or learns
    return flops


# %% 6.1 · knows the rule of thumb, 6 N, and applies it to everything
# says: as if all layers learned
def step_flops(layers, rows):
    weights = sum(inputs * outputs for inputs, outputs, _ in layers)
    return 6 * rows * weights


# %% 6.1 · gives every layer a gradient of its input, the first one too
# says: but that is data
def step_flops(layers, rows):
    return sum(2 * rows * inputs * outputs * (2 + learns) for inputs, outputs, learns in layers)


# %% 6.1 · turns the flag before using it
# says: taken for a wish below it
def step_flops(layers, rows):
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        wanted = wanted or learns
        flops += 2 * rows * inputs * outputs * (1 + wanted + learns)
    return flops


# %% 6.1 · walks from the end, because backward does
# says: the wrong way round
def step_flops(layers, rows):
    flops, wanted = 0, False
    for inputs, outputs, learns in reversed(layers):
        flops += 2 * rows * inputs * outputs * (1 + wanted + learns)
        wanted = wanted or learns
    return flops


# %% 6.1 · counts only what learns
# says: they still have to be read through
def step_flops(layers, rows):
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        if learns:
            flops += 2 * rows * inputs * outputs * (2 + wanted)
        wanted = wanted or learns
    return flops


# %% 6.1 · counts multiplications
# says: a multiplication *and* an addition
def step_flops(layers, rows):
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        flops += rows * inputs * outputs * (1 + wanted + learns)
        wanted = wanted or learns
    return flops


# %% 6.2 · lets the frozen model read in every step
# says: the bill without a cache
def training_flops(step_flops, read_flops, batch, steps, sentences):
    return steps * (step_flops + read_flops * batch)


# %% 6.2 · fills the cache before it starts
# says: that a short training never meets
def training_flops(step_flops, read_flops, batch, steps, sentences):
    return step_flops * steps + read_flops * sentences


# %% 6.2 · thinks that what is cached costs nothing
# says: computed by somebody
def training_flops(step_flops, read_flops, batch, steps, sentences):
    return step_flops * steps


# %% 6.2 · counts steps where sentences are meant
# says: one reading a step
def training_flops(step_flops, read_flops, batch, steps, sentences):
    return step_flops * steps + read_flops * min(steps, sentences)


# %% 6.2 · multiplies the step by its batch once more
# says: of a whole batch already
def training_flops(step_flops, read_flops, batch, steps, sentences):
    met = steps * batch
    return step_flops * met + read_flops * min(met, sentences)


# %% 6.3 · gives the benefit of the doubt
# says: doubt must make it harder
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    a_high = a + margin * sqrt(a * (1 - a) / figures["n"])
    slor_high = figures["slor"] + margin * figures["slor_se"]
    return a_high >= rule.SHARE * best["accuracy"] and slor_high >= best["slor"] - rule.Z * best["slor_se"]


# %% 6.3 · takes 95 per cent of SLOR as well
# says: whose zero means nothing
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    control = a - margin * sqrt(a * (1 - a) / figures["n"]) >= rule.SHARE * best["accuracy"]
    fluency = figures["slor"] - margin * figures["slor_se"] >= rule.SHARE * best["slor"]
    return control and fluency


# %% 6.3 · takes five points off
# says: 5 points were taken off
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    control = a - margin * sqrt(a * (1 - a) / figures["n"]) >= best["accuracy"] - 0.05
    fluency = figures["slor"] - margin * figures["slor_se"] >= best["slor"] - rule.Z * best["slor_se"]
    return control and fluency


# %% 6.3 · asks SLOR to be no worse than the mean
# says: half of all equals would fail it
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    control = a - margin * sqrt(a * (1 - a) / figures["n"]) >= rule.SHARE * best["accuracy"]
    return control and figures["slor"] - margin * figures["slor_se"] >= best["slor"]


# %% 6.3 · looks at control only, as the headline does
# says: whoever writes the bare keyword passes
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    return a - margin * sqrt(a * (1 - a) / figures["n"]) >= rule.SHARE * best["accuracy"]


# %% 6.3 · forgets the square root
# says: a standard error is its square root
def passes_bar(figures, best, margin=0.0):
    a = figures["accuracy"]
    control = a - margin * a * (1 - a) / figures["n"] >= rule.SHARE * best["accuracy"]
    fluency = figures["slor"] - margin * figures["slor_se"] >= best["slor"] - rule.Z * best["slor_se"]
    return control and fluency


# %% 6.4 · chooses on test
# says: both chooses and judges
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])
    past = [[point for point in curve if passes(point["test"], top["test"], 1.0)] for curve in (scratch, auxiliary)]
    if not past[1]:
        return False, None
    theirs, ours = past[0][0] if past[0] else top, past[1][0]
    ratio = theirs["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · lets scratch pay for its whole training
# says: charged to its last step
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])
    ours = next((point for point in auxiliary if passes(point["dev"], top["dev"], 1.0)), None)
    if ours is None:
        return False, None
    ratio = scratch[-1]["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · lets scratch pay up to its best
# says: two measures
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])
    ours = next((point for point in auxiliary if passes(point["dev"], top["dev"], 1.0)), None)
    if ours is None:
        return False, None
    ratio = top["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · compares steps
# says: steps were compared
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve):
        return next((point for point in curve if passes(point["dev"], top["dev"], margin=1.0)), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    ratio = theirs["step"] / ours["step"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · judges with what has chosen
# says: which have chosen the checkpoint and flatter it
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve):
        return next((point for point in curve if passes(point["dev"], top["dev"], margin=1.0)), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    ratio = theirs["flops"] / ours["flops"]
    return passes(ours["dev"], top["dev"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · forgets the margin
# says: the margin of one standard error is missing
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve):
        return next((point for point in curve if passes(point["dev"], top["dev"])), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    ratio = theirs["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio


# %% 6.4 · divides the wrong way round
# says: how many times *fewer*
def decide(scratch, auxiliary, passes):
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve):
        return next((point for point in curve if passes(point["dev"], top["dev"], margin=1.0)), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    share = ours["flops"] / theirs["flops"]
    return passes(ours["test"], top["test"]) and share <= 1 / rule.FEWER, share


# %% 6.5 · counts heads and forgets tails
# says: only heads were counted
def control_efficiency(accuracy, base_rate, drift):
    return accuracy * log(accuracy / base_rate) / drift if accuracy else 0.0


# %% 6.5 · turns the KL round
# says: the KL runs the wrong way
def control_efficiency(accuracy, base_rate, drift):
    heads = base_rate * log(base_rate / accuracy)
    tails = (1 - base_rate) * log((1 - base_rate) / (1 - accuracy))
    return (heads + tails) / drift


# %% 6.5 · pays for certainty, whatever was reached
# says: this is the price of certainty
def control_efficiency(accuracy, base_rate, drift):
    return -log(base_rate) / drift


# %% 6.5 · measures information in bits
# says: the coin's KL is in bits
def control_efficiency(accuracy, base_rate, drift):
    coins = (accuracy, base_rate), (1 - accuracy, 1 - base_rate)
    return sum(a * log2(a / b) for a, b in coins if a > 0) / drift


# %% 6.5 · divides the lift by the drift
# says: points of accuracy per nat
def control_efficiency(accuracy, base_rate, drift):
    return (accuracy - base_rate) / drift


# %% 6.5 · forgets that the coin may always fall on one side
# says: it raised ValueError
def control_efficiency(accuracy, base_rate, drift):
    heads = accuracy * log(accuracy / base_rate)
    tails = (1 - accuracy) * log((1 - accuracy) / (1 - base_rate))
    return (heads + tails) / drift
