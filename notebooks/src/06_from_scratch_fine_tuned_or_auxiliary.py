# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["header"]
#

# %% tags=["parameters"]
PROFILE = "quick"
SEED = 0
SENTENCES = 5000
EPOCHS = 4
QUESTIONS = 300

# %%
import json
from math import ceil, inf, log, nan, sqrt
from statistics import median

import torch
from IPython.display import display
from torch import nn

from auxlib.data.assets import data_dir
from auxlib.frozen import fingerprint
from auxlib.worlds.story_lm import SHIPPED_LM_600K
from course.exercises import check, use
from experiments.baselines.frozen_expert import AuxiliaryTuned
from experiments.baselines.prefix import fine_tuned, from_scratch
from experiments.baselines.story_auxiliary import StoryAuxiliary
from experiments.claim import rule
from experiments.claim.pictures import data_efficiency, frontier, load_curves, over_cost, over_tasks, over_weight
from experiments.claim.plan import AUXILIARY, SYSTEMS
from experiments.claim.setup import TrialSetup, TrialSize, measure_system, train_steps, training_batches
from experiments.claim.table import CONTROLS, MAIN, conclusion, system_rows, verdict_line
from experiments.flops import ComputeLedger, counted_by_torch
from experiments.records import read_record
from experiments.tables import as_markdown

print(f"profile: {PROFILE}")

# %% [markdown]
# ## A sentence that could be false
#
# The paper behind this course makes a claim: Auxiliary Tuning gives "similar results to training from scratch, while
# using significantly fewer resources". Is the sentence true? As it stands it can hardly be false. Whoever likes the
# method will find nine tenths similar and half the cost significant, and whoever does not will not.
#
# A claim becomes an experiment when it could fail. For that, three words must become numbers: *similar* in what,
# *significantly* how much, *resources* which. And they must do so **before** the run. Afterwards there is always a
# threshold that one's own system has just passed.
#
# **Before you run**: write down your own numbers. How much control may be lost, and how much fluency? How many times
# cheaper is "significant"? The cell prints the numbers of our rule.

# %% tags=["nbval-check-output"]
print(f"control   keyword accuracy at least {rule.SHARE:.0%} of the best that training from scratch reaches")
print(f"fluency   SLOR not below that best's 95 % interval, which begins {rule.Z} standard errors under its mean")
print(f"cost      at least {rule.FEWER:g} times fewer training operations")
print(f"verdict   supported at this scale, if all three hold in at least {rule.SEEDS_NEEDED} of 5 seeds")

# %% [markdown]
# The rule stands in `experiments/claim/rule.py` and was put into the repository before any of its seeds was run.
# **Keyword accuracy** you know. **SLOR** is how much likelier a sentence is than its bare words would be, in nats per
# token; its judge is Storyland's true process, so no model judges itself. *From scratch* is a model of the expert's own
# shape, at the *best* it ever reaches. A **seed** is the whole comparison once, with sentences, starting weights and
# dice of its own. One cost is left out, as in the paper: the expert's pre-training. That bill comes at the end.
#
# ## One face for every system
#
# A difference between two figures should only be one between two systems. So everybody finds the same on the **bench**:
# the same 5,000 sentences, held-out questions, judge, and frozen expert (a well-read one, trained on 600,000 other
# sentences). And everybody has one face: shown what has been read, which keyword is asked for and whether it was said,
# a system returns the logits of the next word.
#
# Three systems, one line each. Two read the keyword as a word *in front of* the sentence, as one would prompt a large
# model: one starts from scratch, the other as a copy of the expert. The third is yours from
# [notebook 05](05_the_keyword_auxiliary.ipynb), a little narrower.
#
# **Before you run**: in which of the three do most weights learn? And with what loss does each begin? The vocabulary
# has 364 words, and $\ln 364 = 5.9$; the expert alone reads at about a nat and a third per token. Think twice about
# the fine-tuned one.

# %% tags=["nbval-check-output"]
size = TrialSize(train=SENTENCES, epochs=EPOCHS, dev=QUESTIONS, test=QUESTIONS)
bench = TrialSetup(size, SEED, SHIPPED_LM_600K)
torch.manual_seed(SEED)
systems = {"from scratch": from_scratch(bench.world, width=96, layers=2, seed=SEED)}
systems["fine-tuned"] = fine_tuned(bench.expert)
systems["auxiliary"] = AuxiliaryTuned(bench.expert, StoryAuxiliary(bench.expert.unembedding, AUXILIARY))
reading, token_ids = next(training_batches(bench, epochs=1, batch=64))
for name, system in systems.items():
    learning = sum(weight.numel() for weight in system.parameters() if weight.requires_grad)
    with torch.no_grad():
        loss = system.loss(reading, token_ids)
    print(f"{name:13} {learning:7,} weights learn   begins at {loss:.1f} nats per token")

# %% [markdown] tags=["task:6.1"]
# The first two have one shape and differ only in where they begin. The auxiliary begins as the expert, bit for bit. The
# fine-tuned model *is* the expert too, and yet it begins worse: a keyword stands in front, and never in its life has it
# read anything in front of a sentence. Remember this when you meet its figures.
#
# ## What does a step cost?
#
# Seconds depend on the machine and on who else is using it; operations do not. A linear layer with $N$ weights that
# reads $R$ rows spends $2NR$ of them: one multiplication and one addition for each weight and row. On the way back it
# has up to two more jobs, $2NR$ each: the gradient of its *weights*, if they learn, and the gradient of its *input*, if
# anything before it wants to learn. For each row that makes
#
# - $6N$ where everything learns, the well-known price of training from scratch;
# - $4N$ for a frozen layer with something that learns before it: the error must travel through. LoRA pays this;
# - $2N$ for a frozen layer with nothing that learns before it. It is only read.
#
# > **Exercise 6.1 · the price of a step**
# >
# > Write `step_flops(layers, rows)`. `layers` lists the linear layers in the order of reading, each as `(inputs,
# > outputs, learns)`; `rows` is how many rows go through. Return the operations of one training step, forward and
# > backward. The first layer reads data; nobody wants the gradient of data.
#
# *What if* in a deep frozen network only the very first layer learned? You train one layer in a hundred. What share of
# the full price do you pay?


# %% tags=["exercise:6.1"]
def step_flops(layers, rows):
    """Operations of one training step through layers ``(inputs, outputs, learns)``, forward and backward."""
    # SOLUTION
    flops, wanted = 0, False
    for inputs, outputs, learns in layers:
        flops += 2 * rows * inputs * outputs * (1 + wanted + learns)
        wanted = wanted or learns
    return flops
    # END


# %% tags=["check:6.1", "nbval-check-output"]
check("6.1", step_flops)
step_flops = use("6.1", step_flops)

# %% [markdown]
# PyTorch can count what it really multiplies, so let us hold the rule against it. Three stacks of the same three
# layers: all learn; only the first learns; only the last learns, as in an auxiliary on top of a frozen expert.
#
# **Before you run**: the last stack trains as many weights as the one before it. How many times cheaper is it?

# %% tags=["nbval-check-output"]
shapes = [(96, 192), (192, 192), (192, 96)]
for name, flags in {"all learn": (1, 1, 1), "the first learns": (1, 0, 0), "the last learns": (0, 0, 1)}.items():
    layers = [(inputs, outputs, bool(flag)) for (inputs, outputs), flag in zip(shapes, flags, strict=True)]
    stack = nn.Sequential(*(nn.Linear(i, o, bias=False).requires_grad_(learns) for i, o, learns in layers))
    seen = counted_by_torch(lambda stack=stack: stack(torch.randn(100, 96)).sum().backward())
    print(f"{name:17} by the rule {step_flops(layers, 100) / 1e6:5.1f} MFLOP   by torch {seen / 1e6:5.1f}")

# %% [markdown]
# Where the learner sits matters as much as how large it is: an adapter at the bottom pays for the whole way back.
#
# Now the real ones. The **ledger** applies the rule to every layer and every attention head. It also adds up what must
# lie in memory: weights, gradients, the optimiser's two running means, what a step keeps for its way back, and the
# cache, if there is one. In the last row the expert's states come from a cache, as in notebook 05.
#
# **Before you run** (a few seconds): put the four rows in order of operations. By what factor is the last cheaper than
# the first? And which row needs the most memory?


# %% tags=["nbval-check-output"]
def ledger_of(system, batch, cached=False):
    """What a training step of a system costs, taken from one batch of the bench."""
    reading, token_ids = next(training_batches(bench, 1, batch, cached))
    cache = (bench.read_flops, bench.hidden.nbytes) if cached else ()
    return ComputeLedger.of(system, lambda: system.loss(reading, token_ids), batch, *cache)


ledgers = {name: ledger_of(system, 64) for name, system in systems.items()}
ledgers["auxiliary, cached"] = ledger_of(systems["auxiliary"], 64, cached=True)
for name, ledger in ledgers.items():
    per_sentence = f"{ledger.step_flops / 64e6:4.1f} MFLOP per sentence"
    print(f"{name:17} {per_sentence}   memory {ledger.memory_bytes / 1e6:4.1f} MB")

# %% [markdown] tags=["task:6.2"]
# Fine-tuning costs per step what starting from scratch costs; whatever it saves, it must save in steps. The auxiliary
# is cheaper twice, nearly five times in all: no way back through the expert, and, with a cache, no way through it. For
# that it pays in memory: the states of all sentences outweigh everything else (they may lie on a disk).
#
# ## Reading once
#
# And somebody has to fill the cache. An honest bill charges each sentence's reading to the step that meets it first,
# and then never again.
#
# > **Exercise 6.2 · the price of a training**
# >
# > Write `training_flops(step_flops, read_flops, batch, steps, sentences)`. `step_flops` is the cost of one step,
# > `read_flops` that of reading *one* sentence for the cache, `batch` the sentences in a step, `sentences` how many
# > there are to learn from. Every epoch visits each of them once. Return the operations of a training of so many steps;
# > it may well end within its first epoch.
#
# *What if* the sentences never came twice, as in the training of large models? What would a cache be worth?


# %% tags=["exercise:6.2"]
def training_flops(step_flops, read_flops, batch, steps, sentences):
    """Operations of a training whose frozen part reads each sentence once, when it is first met."""
    # SOLUTION
    return step_flops * steps + read_flops * min(sentences, steps * batch)
    # END


# %% tags=["check:6.2", "nbval-check-output"]
check("6.2", training_flops)
training_flops = use("6.2", training_flops)

# %% [markdown]
# Now we can say where a factor may come from. **Cheaper sentences**: no way back through the expert. **Cached states**:
# from the second epoch on. And **fewer sentences**: getting as far in fewer steps. The first two need no training to be
# known.
#
# **Before you run**: if both systems take *equally many* steps, how large can the factor grow, however long they train?

# %% tags=["nbval-check-output"]
for epochs in (0.25, 1, 4, 24, 1000):
    bill = {}
    for name in ("from scratch", "auxiliary", "auxiliary, cached"):
        ledger = ledgers[name]
        bill[name] = training_flops(ledger.step_flops, ledger.read_flops, 64, ceil(epochs * 5000 / 64), 5000)
    full, uncached, cached = bill.values()
    print(f"{epochs:7g} epochs   fewer operations: uncached ÷ {full / uncached:.1f}   cached ÷ {full / cached:.1f}")

# %% [markdown]
# In the first epoch a cache brings nothing; in the limit it brings
# 4.9<!-- 1000 epochs … uncached … cached ±0.3 -->. Keep this number. If the experiment finds a larger factor, the rest
# can only be *fewer sentences*, and must be earned by learning faster.
#
# ## A slice, live
#
# The whole experiment takes about an hour on two cores: thirty systems, up to five seeds each. Its results lie in
# `data/results/full`.
#
# Before it, every system that has something to choose was given the same **search**: three settings, an extra seed,
# half its epochs, judged on development questions. Tuning one's own system against a baseline's defaults is the oldest
# way to win, and it also happens by accident. In a first run of this experiment, on other sentences, small batches were
# on offer to ours alone, and ours chose them; LoRA, prompts and the classifier had fewer epochs. So the others were
# offered more and everything was run anew. The rule, and what ours may choose, stayed.
#
# **Before you run**: which settings were chosen now?

# %% tags=["nbval-check-output"]
root = data_dir().parent
found, recorded = read_record("claim", root), load_curves(root)
done = {name: system for name, system in found["systems"].items() if "error" not in system}
searched = ("scratch", "fine_tuned", "auxiliary")
settings = {name: found["settings"].get(name, SYSTEMS[name].settings[0]) for name in searched}
for name, setting in settings.items():
    print(f"{SYSTEMS[name].label:33} rate {setting['rate']:g}, {setting['batch']:g} sentences a step")

# %% [markdown]
# Now you train two of them yourself, with these settings, on the bench's 5,000 sentences. In `learn` the learning rate
# stays level, and a running mean of the weights stands in for its decay. So every checkpoint is a finished training of
# that length, and not a long one cut off in the middle.
#
# At four checkpoints each system writes a sentence for every question. There are two sets of questions. **Development**
# may choose; **test** may only judge.
#
# **Before you run** (some 40 seconds): both read the same sentences equally often, four times. At the end, how many of
# a hundred sentences hold their keyword, for the auxiliary, and from scratch?


# %%
def study(name, system, cached=False):
    """Train on the bench's sentences; at four checkpoints the cost so far, and both figures."""
    rate, batch = settings[name]["rate"], int(settings[name]["batch"])
    ledger, last = ledger_of(system, batch, cached), EPOCHS * ceil(SENTENCES / batch)
    marks, points = {ceil(last * share) for share in (1 / 8, 1 / 4, 1 / 2, 1)}, []
    for step, mean, _ in train_steps(system, training_batches(bench, EPOCHS, batch, cached), rate):
        if step in marks:
            flops = training_flops(ledger.step_flops, ledger.read_flops, batch, step, SENTENCES)
            figures = {part: measure_system(mean, getattr(bench, part), bench) for part in ("dev", "test")}
            points.append({"step": step, "flops": flops, **figures})
    return points


live = {"scratch": study("scratch", systems["from scratch"])}
live["auxiliary"] = study("auxiliary", systems["auxiliary"], cached=True)
for name, points in live.items():
    for point in points:
        cost, holds, slor = point["flops"] / 1e9, point["dev"]["accuracy"], point["dev"]["slor"]
        print(f"{name:9} step {point['step']:4}   {cost:5.0f} GFLOP   hold {holds:.2f}   SLOR {slor:5.2f}")

# %% [markdown]
# Equal sentences, and yet no race. Where do your points lie among the recorded ones? Lines are medians over seeds,
# bands reach from the lowest to the highest seed. The axis is logarithmic: a step to the right is a *factor* in cost.
#
# **Before you look**: will the recorded model from scratch catch up in the end, when it has read everything 24 times?


# %% tags=["figure"]
def beside_mine(figure, title):
    """The recorded curves of two systems, with the reader's own points."""
    mine = {
        f"yours, {name}": ([point["flops"] for point in points], [point["dev"][figure] for point in points])
        for name, points in live.items()
    }
    return over_cost(recorded, title, figure, systems=("auxiliary", "scratch"), live=mine)


beside_mine("accuracy", "The auxiliary has learned to obey before the model from scratch begins to")

# %% [markdown]
# It comes near in the end, and stays a little below. For a long time nothing happens, then nearly everything at once:
# it first has to learn the language, and only when it can say whole sentences is there anything to control. The
# auxiliary was handed the language.
#
# **Before you look**: the same picture for fluency. Where does the auxiliary begin, and where does it end?

# %% tags=["figure"]
beside_mine("slor", "Fluency is inherited by the one and has to be earned by the other")

# %% [markdown] tags=["task:6.3"]
# It begins at the expert's own fluency and stays close to it: what it pays for control is a few hundredths of a nat.
# From scratch begins with word salad.
#
# ## Where is the bar?
#
# Pictures persuade; the rule decides. A figure is measured on finitely many questions, so it carries doubt. When a
# checkpoint is *chosen* as the first past the bar, the rule wants it past by one standard error, or luck would choose.
#
# > **Exercise 6.3 · the bar**
# >
# > Write `passes_bar(figures, best, margin=0.0)`. Both are figures of a checkpoint: `accuracy`, `slor`, `slor_se` (the
# > standard error of SLOR), `n` (questions). `best` sets the bar: `rule.SHARE` of its accuracy, and the lower end of
# > its SLOR's interval, `rule.Z` standard errors below. Lower the accuracy and the SLOR of `figures` by `margin` of
# > *their own* standard errors, $\sqrt{a(1-a)/n}$ for an accuracy $a$. Return True if both reach their bar.
#
# *What if* one asked for 95 % of SLOR as well, since it is so convenient? Where would the bar of a poor model lie,
# whose SLOR is negative?


# %% tags=["exercise:6.3"]
def passes_bar(figures, best, margin=0.0):
    """Whether figures pass the bar that ``best`` sets, by ``margin`` standard errors of their own."""
    # SOLUTION
    accuracy = figures["accuracy"]
    accuracy_se = sqrt(accuracy * (1 - accuracy) / figures["n"])
    control = accuracy - margin * accuracy_se >= rule.SHARE * best["accuracy"]
    fluency = figures["slor"] - margin * figures["slor_se"] >= best["slor"] - rule.Z * best["slor_se"]
    return control and fluency
    # END


# %% tags=["check:6.3", "nbval-check-output"]
check("6.3", passes_bar)
passes_bar = use("6.3", passes_bar)

# %% [markdown] tags=["task:6.4"]
# Now the verdict of one seed. Three mistakes are common, and each can turn a verdict: choosing the checkpoint on test
# questions; charging the baseline for its whole training, while one's own may stop at the bar; and comparing *steps*,
# although a step of one costs a multiple of the other's.
#
# > **Exercise 6.4 · the verdict**
# >
# > Write `decide(scratch, auxiliary, passes)`. Both curves are lists of checkpoints in the order of training, each with
# > `step`, `flops`, and figures under `dev` and `test`; figures also hold `success`, the share of sentences that hold
# > their keyword *and* are grammatical. `passes` is your function from above.
# >
# > 1. From scratch is at its best where `dev` success is highest. That checkpoint sets the bar.
# > 2. On `dev`, find the first checkpoint of each curve that passes by one standard error. If from scratch never does,
# >    take its best; if the auxiliary never does, return `(False, None)`.
# > 3. The ratio is how many times fewer `flops` the auxiliary took to that point.
# > 4. It passes if that very checkpoint's `test` figures reach the bar of the best's `test` figures (without a margin),
# >    and the ratio is at least `rule.FEWER`. Return `(passed, ratio)`.
#
# *What if* one measured a checkpoint after every single step, and took the first that passes?


# %% tags=["exercise:6.4"]
def decide(scratch, auxiliary, passes):
    """One seed's verdict, and how many times fewer operations the auxiliary took."""
    # SOLUTION
    top = max(scratch, key=lambda point: point["dev"]["success"])

    def first(curve):
        return next((point for point in curve if passes(point["dev"], top["dev"], margin=1.0)), None)

    theirs, ours = first(scratch) or top, first(auxiliary)
    if ours is None:
        return False, None
    ratio = theirs["flops"] / ours["flops"]
    return passes(ours["test"], top["test"]) and ratio >= rule.FEWER, ratio
    # END


# %% tags=["check:6.4", "nbval-check-output"]
check("6.4", decide)
decide = use("6.4", decide)

# %% [markdown]
# Let your function judge your own slice. And since a verdict is only as good as its baseline: is the recorded model
# from scratch *done*? What did its last doubling of cost bring?
#
# **Before you run**: your slice has shown the model from scratch after four epochs. What will the verdict be? Should
# you publish it?

# %%
passed, ratio = decide(live["scratch"], live["auxiliary"], passes_bar)
print(f"your slice: passed {passed}, {ratio or 0:.0f} times fewer operations")
curves = [run["curve"]["accuracy"] for run in recorded if (run["system"], run["sentences"]) == ("scratch", 5000)]
for epochs, back in ((6, -5), (12, -3), (24, -1)) if curves else ():
    reached = median([curve[back] for curve in curves])
    print(f"recorded, from scratch, {epochs:2} epochs: accuracy {reached:.3f}")

# %% [markdown]
# A fine ratio, and worthless. The bar was set by a beginner, so the auxiliary's very first checkpoint jumps over it.
# **An undertrained baseline is the cheapest way to a large factor**, and no rule about margins protects against it.
# What protects is to look. After six epochs the recorded one is in the middle of its climb. After 24 the climb has
# slowed, but it is not over, and this limit of the experiment belongs beside its verdict.
#
# Now the verdict that counts. For each recorded seed the rule's sentence is printed, and your function is asked about
# the two test figures in it.
#
# **Before you run**: all five passed in the first run. What do you expect of this one, on other sentences?

# %% tags=["nbval-check-output"]
for seed, verdict in found["verdicts"].items():
    yours = passes_bar(verdict["auxiliary"], verdict["scratch"]) if "flops_ratio" in verdict else None
    print(f"seed {seed}: {verdict_line(verdict)}; your bar says {yours}")
print(conclusion(found))

# %% [markdown]
# Four of five: as many as the rule asks, and not one more. Seed 0 was past the bar on development questions by one
# standard error, and on test it reaches 0.873<!-- seed 0 … accuracy --> where 0.883<!-- seed 0 … bar --> is asked. Its
# very next checkpoint would pass. To take that one now would be choosing on test, so the seed stays lost. The claim
# survives, here, under a rule that could have sunk it.
#
# Where does the factor of 19.4<!-- auxiliary takes --> come from? Its three parts, printed with it, are those of the
# seed in the middle. The cheaper sentences and the cache bring what you have computed above, before any training. The
# largest part is **fewer sentences**: the auxiliary needs to be shown less, because it need not learn the language.
#
# ## Against whom else?
#
# You have the verdict; this is a good place for a pause.
#
# From scratch is the only opponent that the claim names, and a weak one: who would start there with a pre-trained model
# at hand? The table has seventeen systems, each at its best checkpoint, chosen on development questions and measured on
# test questions. "To the bar" is what it costs to get that far, the median over seeds, and how many times less that is
# than from scratch. Square brackets are 95 % intervals over **seeds**, since a thousand sentences from one training are
# still one training. With five seeds they reach not quite three standard errors to each side; with two, nearly thirteen
# (Student's t), and such a row promises little.
#
# **Before you look**: who has perfect control and no fluency? Who has fluency and no control? And what do you expect
# of fine-tuning and of LoRA?


# %% tags=["nbval-check-output"]
def show(names, *columns):
    """Some columns of the results, as a table that a notebook can render and anybody can read."""
    table = [{key: row[key] for key in ("system", *columns) if key in row} for row in system_rows(found, names)]
    display({"text/markdown": as_markdown(table), "text/plain": as_markdown(table)}, raw=True)


show(MAIN, "seeds", "keyword", "SLOR", "grammatical", "nats", "to the bar")

# %% [markdown]
# Take your time with it. Some readings:
#
# - **Ours** has ÷ 19.4<!-- auxiliary (ours) … ÷ --> in the middle of five seeds, which reached from
#   15.1<!-- seed 1 … SLOR … bar 3.16), --> to 21.3<!-- seed 3 … SLOR … bar 3.14), -->. Five seeds do not settle a
#   factor any better. Say "fifteen or more".
# - **Forced** decoding puts the keyword in the place of the full stop: perfect control, hardly a grammatical sentence.
#   Accuracy alone would have crowned it. The **expert alone** is its counterpart.
# - **Full fine-tuning** comes close to from scratch, at the same price for each sentence. Pre-training shows in its
#   likelihood (nats per held-out sentence), but its SLOR has fallen to that of from scratch: much of what it knew was
#   written over. **LoRA**, which cannot write over anything, stays far behind. All this is about *this expert*, tiny,
#   and never shown anything in front of a sentence; with a large one we expect both to do well.
# - The **prefix classifier** asks "will the keyword still come?" about every candidate word. It controls most of its
#   sentences and breaks the grammar of many.
# - From scratch **with the auxiliary's aids** (gate, flag, boost, nothing frozen) obeys better than any other from
#   scratch, and comes to the bar no sooner. The saving lies not in clever parts, but in parts *on top of a language*.
# - An auxiliary **with a trunk of its own** reads nothing of the expert; only logits are added. It stays fluent and
#   learns control slowly, since it also has to learn to read. What pays is reading the expert's *states*, which the
#   paper allows and does not demand.
#
# **Before you look**: the second table is about weight. Who needs the most memory to train? Who is dearest to use?

# %% tags=["nbval-check-output"]
learners = [name for name in MAIN if found["systems"][name].get("learning", 1)]
show(learners, "weights", "training memory", "a written token")

# %% [markdown]
# Whoever caches needs the most memory, the auxiliary more than training from scratch, and nearly all of it *is* the
# cache. It may lie on a disk, or be left out at some twice the operations: what is saved there is paid in storage.
#
# The classifier pays with every word that it writes: the expert must read each candidate before it can be judged. The
# auxiliary pays there too, a little, since nothing can be merged away as with LoRA. If a model is trained once and used
# a billion times, this column matters more than all of this notebook.
#
# ## What does the work?
#
# Which of its parts does a winner need? Three **controls** first: never told the keyword; told its neighbour's; told
# its own but *without the expert's logits*, so that only the frozen features are left. Then single choices undone. All
# had a quarter of the main auxiliary's epochs; hold them against the row "states computed anew", which is ours in all
# but price. Most have two seeds, so take small differences for none.
#
# **Before you look**: without the expert's logits, will control be lost, or fluency? And beside a *weaker* expert?

# %% tags=["nbval-check-output"]
variants = ("not_cached", "no_boost", "no_flag", "random_init", "width_16", "weak_expert")
show((*CONTROLS, *variants), "seeds", "keyword", "SLOR", "grammatical", "to the bar")

# %% [markdown] tags=["task:6.5"]
# Untold and mistold, it stands at the base rate: the control is real. Without the expert's logits the control is still
# there, because frozen **features** carry it. What the logits carry is fluency.
#
# The **boost** is the part that it cannot do without in so short a training. The flag, in which notebook 05 took such
# pride, is hardly missed, since Storyland is kind. The **random start** does no harm, though notebook 03 promised "a
# spike in the loss": as the library makes it, that layer only whispers. So a start at zero is a guarantee (the expert,
# bit for bit) and here no gain. And beside the **weaker expert** control is as good as any, but the sentences have that
# expert's slips. A product is no more fluent than its first factor.
#
# ## What control must cost
#
# Two writers hold their keyword equally often. One changes the expert just enough, the other bends every sentence. The
# difference is **drift**, $\mathrm{KL}(q \,\|\, p_{\text{expert}})$ in nats per sentence. Is there a least one?
#
# From each sentence keep a single bit: does it hold the keyword? For the writer that is a coin which says yes with the
# accuracy $\alpha$, for the expert one with the base rate $\beta$. Looking at less can only make two distributions
# harder to tell apart, so no drift is below that of the coins:
#
# $$\mathrm{KL}(q \,\|\, p) \;\ge\; \mathrm{kl}(\alpha \,\|\, \beta)
#   = \alpha \log\frac{\alpha}{\beta} + (1 - \alpha) \log\frac{1 - \alpha}{1 - \beta}.$$
#
# > **Exercise 6.5 · control efficiency**
# >
# > Write `control_efficiency(accuracy, base_rate, drift)`: the least drift at which anybody could have this accuracy,
# > divided by the drift that was paid. All are plain numbers, drift is in nats. The accuracy may be 0 or 1.
#
# *What if* it came out as two? Name what could be wrong in the measurement, since it cannot be the writer.


# %% tags=["exercise:6.5"]
def control_efficiency(accuracy, base_rate, drift):
    """The least drift at which anybody can have this accuracy, as a share of the drift that was paid, in nats."""
    # SOLUTION
    coins = (accuracy, base_rate), (1 - accuracy, 1 - base_rate)
    return sum(a * log(a / b) for a, b in coins if a > 0) / drift
    # END


# %% tags=["check:6.5", "nbval-check-output"]
check("6.5", control_efficiency)
control_efficiency = use("6.5", control_efficiency)

# %% [markdown]
# **Before you run**: who comes near one? The exact posterior must. And the model from scratch, whose control is nearly
# as good as ours, but who has never heard of the expert?

# %% tags=["nbval-check-output"]
base_rate = done.get("expert", {"accuracy": nan})["accuracy"]
print(f"base rate {base_rate:.3f}")
shown = ("truth", "auxiliary", "no_expert", "scratch", "pair", "classifier", "forced")
for system in (done[name] for name in shown if name in done):
    mine = control_efficiency(system["accuracy"], base_rate, system["drift"])
    drift = f"drift {system['drift']:5.2f}"
    print(f"{system['label']:37} {drift}   efficiency {mine:.2f}   keyword by keyword {system['efficiency']:.2f}")

# %% [markdown]
# Almost all that the auxiliary changes, it changes for the keyword's sake. From scratch a good part of the drift has
# nothing to do with control. (Your figure treats all keywords as one with the mean base rate, and is a little too low
# for that; the last column goes keyword by keyword.)
#
# Two pictures. The first turns the **dial** λ of the trained auxiliary; the rule judged it at λ = 1. The second has
# drift and accuracy as its axes, with the **frontier**, the least drift for every accuracy. Nobody can be above it. A
# system with a dial is a line there, any other a point.
#
# **Before you look**: is 1 the best place on the dial? If another is better, may we report that one? And could an exact
# auxiliary stay on the frontier at every λ, or only at some?

# %% tags=["figure", "nbval-check-output"]
title = "A little above λ = 1 is better than 1, and far above it grammar breaks"
over_weight(recorded, title) if "auxiliary" in done else None

# %% tags=["figure", "nbval-check-output"]
shown = [name for name in ("auxiliary", "pair", "classifier", "scratch", "fine_tuned") if name in done]
frontier(found, recorded, "Ours climbs along the frontier; the others pay for more than control", shown)

# %% [markdown]
# A little above 1 both marks are better, and we may not report them. The dial was turned on *test* sentences, after the
# fact, and nobody turned one for the model from scratch, say its temperature. A dial is a search.
#
# On the frontier even an exact auxiliary would lie at two places only: λ = 0, where nothing is paid, and λ = 1, the
# posterior. In between λ bends every *step*, and the frontier bends whole *sentences*; beyond, one goes on paying where
# no accuracy is left to buy.
#
# ## The bill that was left out
#
# The rule ignored pre-training. With only one task that is generous to the auxiliary: the expert once read 600,000
# sentences, at a multiple of what training from scratch costs here. But that is paid **once**, and every further task
# shares it. How many tasks does it take?
#
# $$K^* = \frac{C_{\text{pre-training}}}{C_{\text{scratch}} - C_{\text{auxiliary}}}.$$
#
# **Before you look**: pre-training against one task from scratch: what factor? After how many tasks has it paid?

# %% tags=["figure", "nbval-check-output"]
receipt = json.loads((data_dir() / "checkpoints" / SHIPPED_LM_600K / "receipt.json").read_text())
scratch, ours = (done.get(name, {}).get("flops_to_bar") or inf for name in ("scratch", "auxiliary"))
print(f"pre-training {receipt['training_flops'] / 1e12:.1f} TFLOP, once")
print(f"to the bar   from scratch {scratch / 1e12:.2f} TFLOP, auxiliary {ours / 1e12:.2f}, for each task")
enough = found["break_even"] or inf
print(f"it has paid after K* = {enough:g} tasks")
title = f"After {enough:.1f} tasks pre-training has paid"
over_tasks(found, receipt["training_flops"], title) if enough < inf else None

# %% [markdown]
# For a single task, from scratch is cheaper, by far. Who quotes the large factor should quote this number beside it.
# The factor is fair where the expert exists already, paid for by others, as large language models do.
#
# ## Is 5,000 a lucky number?
#
# "At equal data" was one amount of data. Both sides were also run on a quarter of the sentences and on four times as
# many, with as many readings in all; one seed only, so take it as a hint.
#
# **Before you look**: who profits more from more sentences?

# %% tags=["figure"]
title = "Keyword accuracy at the end, by how much there was to learn from"
data_efficiency(recorded, title, ("scratch", "auxiliary"))

# %% [markdown]
# The fewer the sentences, the more it matters to have been handed the language. With many, the model from scratch is no
# longer short of sentences but of readings, and what remains is the advantage in cost.
#
# ## The seal
#
# **Before you run**: hundreds of steps beside the expert, thousands of sentences written with it. What must the
# fingerprint say? And do your own points agree with the verdict?

# %% tags=["nbval-check-output"]
print("expert unchanged:                 ", fingerprint(bench.expert.model) == bench.expert.fingerprint)
print("the claim is supported here:      ", found["supported"])
print("systems that failed:              ", len(found["failed"]))
if PROFILE != "brief":
    mine = {name: points[-1]["dev"] for name, points in live.items()}
    print("yours: the auxiliary obeys better:", mine["auxiliary"]["accuracy"] > mine["scratch"]["accuracy"] + 0.2)
    print("yours: and is more fluent:        ", mine["auxiliary"]["slor"] > mine["scratch"]["slor"])

# %% [markdown]
# ## What you take with you
#
# - A claim becomes an experiment when **numbers are fixed before the run**: control, fluency, cost, and how many seeds.
# - Equal data, equal search, equal epochs. Favours slip in unnoticed, so look at what was on offer to whom.
# - **Development chooses, test judges once**. Both sides are charged to the same bar, and the baseline is trained to
#   its end; a beginner as a baseline makes any factor.
# - Count **operations**: $2N$ to read, again for weights that learn, again for the way back. A factor has **sources**;
#   two of the three can be computed beforehand.
# - A table needs opponents, intervals over seeds, **controls** that must fail, and its negatives. Here the auxiliary
#   wins on control, fluency and operations. It pays with storage for its cache, a little with every written word, and
#   with a pre-training that several tasks have to share.
# - **Control efficiency** compares the drift with the least possible one. It cannot exceed one.
#
# ## Quiz
#
# **1.** A colleague reports: "Our method needs ten times fewer *steps* than LoRA, at equal batch size, on the same
# frozen model." What do you ask?
# <details><summary>Answer</summary>What a step costs on each side. LoRA pays the way back through the whole model, some
# 4 N per token; a method that asks about many candidates may pay more. And whether both were held to the same bar,
# chosen on development data, after equal searches.</details>
#
# **2.** Seed 0 missed the bar by a hair. May one leave it out and report four of four, or run a sixth?
# <details><summary>Answer</summary>Neither. The rule allowed for one such seed when it said four of five. Leaving it
# out, or running until the count is right, is choosing on test, one level up. Report all five.</details>
#
# **3.** A system's accuracy is 1 and its control efficiency one half. Is it worse than one with accuracy one half and
# efficiency 1?
# <details><summary>Answer</summary>That depends on what is needed. The first does what it is told and changes more than
# it must, perhaps its topics or its grammar; the second changes nothing in vain and obeys half of the time. Fluency
# tells what the extra drift has bought.</details>
#
# ## Onward
#
# All this was decided in a language of 364 words, where truth can be asked. Next comes one that nobody has written
# down, with a vocabulary of 49,152: [A real expert](07_a_real_expert.ipynb). What else a trained pair can do, such as
# two keywords at once, or a guarantee, is told in [Generation as control](08_generation_as_control.ipynb).
