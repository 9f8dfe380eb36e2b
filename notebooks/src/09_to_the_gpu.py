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
TRAIN_SENTENCES = 400
TOKENS = 6
ROUNDS = 2

# %%
import copy
import json
import os
import random
from math import ceil

os.environ["KINETO_LOG_LEVEL"] = "6"  # the profiler is to report errors only, and reads this when torch is loaded
from statistics import median

import torch
from IPython.display import display
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from auxlib import plot
from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.collator import FeatureCollator, FeatureRows
from auxlib.data.assets import data_dir
from auxlib.features import normalisers, read_preamble, read_texts
from auxlib.frozen import best_device, best_dtype
from auxlib.recipes import Recipe, load_pretrained, prepare_data, scaled_down
from auxlib.training import FeatureLoss
from course.exercises import check, use
from experiments.benchmarking import median_ratio, paired_seconds
from experiments.flops import ComputeLedger, counted_by_torch
from experiments.records import read_record
from experiments.smollm.headline import greedy_decoding
from experiments.smollm.prompt import bare_request_prompt
from experiments.speed.pictures import roofline
from experiments.speed.roofline import Peak, Work, measure_peak
from experiments.speed.table import speed_rows

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Is that fast?
#
# A token in 70 milliseconds. Is that fast? An epoch in two seconds, thirty times faster than somebody else's: is that
# good, or was somebody else slow? A time by itself says nothing, and a ratio of two times not much more. What one wants
# to know is how long it *must* take.
#
# Four numbers answer that. A piece of **work** does so many *operations* and moves so many *bytes*. A **machine** does
# so many operations a second and moves so many bytes a second. It does both at once, so the slower of the two is a
# **floor** under the time. What was measured, divided by the floor, says how much is left to gain. This notebook has no
# other idea.
#
# The machine first. A large product of matrices shows what it multiplies at best, and a product with a vector, in which
# each number is used once, what it moves.
#
# **Before you run** (some ten seconds, most of them for loading): while one byte comes from memory, how many operations
# could be done? One, ten, a hundred?

# %%
root = data_dir().parent
pair, recorded = load_pretrained(), read_record("speed", root)
expert, frame = pair.expert_info, pair.template
config, W, each = expert.model.config, expert.unembedding, expert.unembedding.element_size()
peak = measure_peak(W.device, W.dtype, rounds=ROUNDS)
print(f"operations  {peak.flops / 1e9:7.1f} GFLOP a second")
print(f"bytes       {peak.bandwidth / 1e9:7.1f} GB a second")
print(f"while one byte comes, {peak.flops / peak.bandwidth:.1f} operations could be done")

# %% [markdown] tags=["task:9.1"]
# Call that last number the **ridge**. Work with more operations for each byte is bound by operations, work with fewer
# by bytes.
#
# Now the work. A new token for one text: each weight is fetched, multiplied once, added once, and not needed any more.
# That is two operations for each four bytes (in float32), one half. The ridge is some multiple of it. So a single token
# is **bound by bytes**, and the arithmetic of the model hardly matters.
#
# > **Exercise 9.1 · the ledger of a token**
# >
# > Write `token_work(config, rows, context, bytes_each)`: operations and bytes of one decoding step of a Llama, in
# > which each of `rows` texts gets a new token. Per layer there are four projections without bias, of queries and
# > output ($D \times D$) and of keys and values (`num_key_value_heads` heads out of `num_attention_heads`, so they are
# > narrower), and a feed-forward net of three matrices $D \times$ `intermediate_size`. The table of `vocab_size` rows
# > is tied: it embeds and unembeds. Embedding a token looks up one row and multiplies nothing. Leave the norms out.
# >
# > Each row attends to `context` positions, the new one included, with all its query heads: scores, then a weighted
# > sum. Keys and values of all these positions are read, and each row has its own. Each number takes `bytes_each`
# > bytes. Return the pair `(flops, bytes)`.
#
# *What if* each query head had keys and values of its own, as in older models? At which context would a row's cache
# outweigh all the weights?


# %% tags=["exercise:9.1"]
def token_work(config, rows, context, bytes_each):
    """Operations and bytes of one decoding step of a Llama: a new token for each of so many rows."""
    # SOLUTION
    width, layers = config.hidden_size, config.num_hidden_layers
    kv = width // config.num_attention_heads * config.num_key_value_heads
    layer = 2 * width * width + 2 * width * kv + 3 * width * config.intermediate_size
    weights = layers * layer + config.vocab_size * width
    flops = 2 * rows * weights + 4 * rows * layers * width * context
    return flops, bytes_each * (weights + rows * layers * 2 * kv * context)
    # END


# %% tags=["check:9.1", "nbval-check-output"]
check("9.1", token_work)
token_work = use("9.1", token_work)

# %% [markdown]
# Does the ledger know SmolLM2? With an empty context and one byte each, your bytes are its number of weights.
#
# **Before you run**: how many operations for each byte will 8 rows have, and 64? And one row that has read 4,096
# tokens?

# %% tags=["nbval-check-output"]
weights, norms = token_work(config, 1, 0, 1)[1], (2 * config.num_hidden_layers + 1) * config.hidden_size
print(f"weights by your ledger {weights:,}, and {norms:,} in norms")
print("together what transformers counts:", weights + norms == expert.model.num_parameters())
for rows, context in ((1, 64), (8, 64), (64, 64), (1, 4096)):
    flops, moved = token_work(config, rows, context, 4)
    said = f"{flops / 1e9:5.2f} GFLOP {moved / 1e6:5.0f} MB   operations a byte {flops / moved:4.1f}"
    print(f"batch {rows:2}, context {context:4}: {said}")

# %% [markdown]
# One row has 0.5<!-- batch 1, context 64 … operations a byte --> operations a byte, eight rows nearly eight times as
# many, since the weights are fetched once for all of them. With 64 rows it is no longer 64 times: by then the rows' own
# caches have become as large as a good part of the model. And a long text helps little; it brings operations, but bytes
# as well.
#
# ## Under the roof
#
# Draw this once and you will see it everywhere. To the right, operations for each byte; upwards, operations a second.
# A machine is a **roof**: a slope where bytes bind, a flat top where operations do. Each piece of work stands at one
# place along the axis, and may be anywhere below the roof.
#
# To have something to measure we need a step of training, too. The cell takes up what you made in
# [A real expert](07_a_real_expert.ipynb): 400 sentences whose states lie on disk, and an untrained auxiliary.

# %%
stuff = prepare_data(scaled_down(Recipe(seed=SEED), TRAIN_SENTENCES, 1), expert, progress=PROFILE != "quick")
cached = FeatureRows(stuff.train)
collator = FeatureCollator(expert.tokenizer, frame.preamble_ids[-1], seed=SEED)


def beginner(seed):
    """An untrained auxiliary and what scores it."""
    torch.manual_seed(seed)
    auxiliary = AuxiliaryModel(AuxiliaryConfig(), W, stuff.groups, stuff.support)
    return FeatureLoss(auxiliary, stuff.continuation_mask).to(W.device)


def batch_of(chosen):
    return {name: value.to(W.device) for name, value in collator([cached[i] for i in chosen]).items()}


loss, batch = beginner(SEED), batch_of(range(len(cached) // 2 - 24, len(cached) // 2 + 24))
print(f"{len(cached)} sentences; a batch of {len(batch['targets'])} for a step")

# %%
prefix, context = read_preamble(expert, frame), len(frame.preamble_ids)
optimiser = torch.optim.AdamW(loss.parameters(), 1e-3)


def decoding(rows):
    """A step of the frozen model behind the preamble, ready to be timed; its cache grows by one each time."""
    cache = copy.deepcopy(prefix[0])
    cache.batch_repeat_interleave(rows)
    ids = torch.full((rows, 1), frame.end_id, device=W.device)
    return lambda: expert.model(ids, past_key_values=cache)


def reading():
    return normalisers(expert, read_texts(expert, prefix, [[frame.end_id] * 17] * 8, frame), stuff.support)


def training_step():
    loss(**batch)["loss"].backward()
    optimiser.step()
    optimiser.zero_grad()


# %% [markdown]
# **Before you run** (some ten seconds): five pieces of work. Decoding for 1, 8 and 64 rows; reading 128 tokens of eight
# sentences at once, as one does for the cache; a step of training from the cache. Which lie on the slope, which under
# the flat top? Which will come nearest to the roof?

# %%
trained = counted_by_torch(lambda: loss(**batch)["loss"].backward())
works = {f"decoding, batch {rows}": Work(*token_work(config, rows, context, each)) for rows in (1, 8, 64)}
works["reading"] = Work(token_work(config, 128, context + 8, each)[0], token_work(config, 8, context, each)[1])
works["training step"] = Work(trained, ComputeLedger.of(loss, lambda: loss(**batch)["loss"], 48).memory_bytes)
calls = [*map(decoding, (1, 8, 64)), reading, training_step]
seconds = dict(zip(works, map(median, paired_seconds(*calls, rounds=ROUNDS)), strict=True))
for name, work in works.items():
    floor, took = 1000 * work.floor(peak), 1000 * seconds[name]
    print(f"{name:18} floor {floor:6.1f} ms by {work.bound_by(peak):10}  took {took:6.1f} ms, {took / floor:.1f} times")

# %% tags=["figure"]
pieces = {name: (work, seconds[name]) for name, work in works.items()}
roofline(peak, pieces, "More rows climb the slope; lines hang from floor to clock")

# %% [markdown]
# How to read a line: its upper end is the floor, its lower end what the clock said, and its length on this scale is the
# factor to be gained. Decoding one row lies at the far left, on the slope. With eight rows it has climbed, and its line
# has grown: the step is no longer busy with one long fetch, but with thousands of small operations (norms, rotations,
# copies of the cache) that the ledger does not even list, each with its own start and its own trip to memory. With 64
# rows the products are large enough to outweigh them.
#
# For a step of training two things are counted. What is multiplied, by torch's counter; and what must at least be
# touched: weights, gradients, the optimiser's two means and what is kept for the way back. The share of the machine's
# best operations a second that a training reaches is widely known as **MFU**, *model FLOPs utilisation*. It is the
# height of the line's lower end under the flat top.
#
# If a time here lies *below* its floor, then the machine was busier during the first measurement than during this one.
# A peak is only as good as the quiet in which it was taken.

# %% [markdown] tags=["task:9.2"]
# ## How many rows?
#
# Rows are what a server plays with. More of them make each token cheaper, as long as bytes bind; from some number on
# operations bind, and a further row costs what it costs.
#
# > **Exercise 9.2 · when does a batch stop paying?**
# >
# > Write `batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows)`. A step of $B$ rows does $B$ times
# > `flops_a_row` operations; it moves `shared_bytes` once and `bytes_a_row` for each row. `peak` has `.flops` and
# > `.bandwidth`, both a second. Return two things: the **turn**, the fewest whole rows for which operations take at
# > least as long as bytes, or None if that never happens; and the list of **tokens a second** at the floor for each
# > number in the list `rows`.
#
# *What if* the weights were kept in four bits, and multiplied in sixteen? In which direction does the turn move?


# %% tags=["exercise:9.2"]
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    """The fewest rows that operations bind, and tokens a second at the floor for each number of rows."""
    # SOLUTION
    product, own, shared = flops_a_row / peak.flops, bytes_a_row / peak.bandwidth, shared_bytes / peak.bandwidth
    turn = ceil(shared / (product - own)) if product > own else None
    return turn, [b / max(b * product, shared + b * own) for b in rows]
    # END


# %% tags=["check:9.2", "nbval-check-output"]
check("9.2", batching)
batching = use("9.2", batching)

# %% [markdown]
# Your floor beside what was measured above.
#
# **Before you run**: from one row to eight, how many times more tokens a second, at the floor? And on the clock?


# %%
def load(context, each):
    """Operations and bytes of a row, and the bytes that all rows share."""
    (flops, one), (_, two) = (token_work(config, rows, context, each) for rows in (1, 2))
    return flops, two - one, 2 * one - two


turn, speeds = batching(*load(context, each), peak, [1, 8, 64])
print("operations bind from", turn, "rows on")
for rows, speed in zip((1, 8, 64), speeds, strict=True):
    took = seconds[f"decoding, batch {rows}"]
    print(f"batch {rows:2}   floor {speed:6.0f} tokens a second   measured {rows / took:6.0f}")

# %% [markdown]
# The turn comes with a handful of rows here; on a GPU it is another matter, see the end. Where the floor stands still
# the clock goes on gaining for a while: starts are shared, too.
#
# ## What does the auxiliary add?
#
# The pair runs the frozen model, then the auxiliary's two layers, then one product with the rows of its support. By
# hand that is a sum of weights, since a token at one row costs what its weights weigh.
#
# **Before you run**: two and a half million weights beside 134 million. What share of the frozen model's tokens a
# second is left, at the floor?

# %% tags=["nbval-check-output"]
own = sum(weight.numel() for weight in pair.auxiliary.parameters())
spoken = len(pair.auxiliary.support) * (config.hidden_size + 2)  # two columns more, one for each group of tokens
print(f"frozen model {weights:,}   auxiliary {own:,}   its support {spoken:,}")
print(f"share of the frozen speed, at the floor {weights / (weights + own + spoken):.2f}")
for rows in (1, 8):
    for how, share in recorded[f"decode_ratios_b{rows}"].items():
        print(f"recorded, batch {rows}, {how:12} {share:.2f}")
    print(f"recorded, batch {rows}, frozen model alone over its floor {recorded[f'frozen_over_floor_b{rows}']:.1f}")

# %% [markdown]
# The floor leaves 0.95<!-- at the floor -->, and the support costs more than the network. The recorded run, 64 tokens
# on two cores, has 0.91<!-- recorded, batch 1, one word -->. The rest are fixed costs: the keyword's automaton, and
# many operations too small to be worth their start. With one row, two words cost somewhat more; with eight, the noise
# of a machine that others share is larger than what there is to see.
#
# The frozen model itself takes 2.5<!-- batch 1, frozen model alone over its floor --> times its floor with one row and
# more with eight. That is why a ratio can come out above the 0.95<!-- at the floor --> that arithmetic allows: small
# costs hide beside a slow denominator. Nobody here has tried to make it faster; it belongs to the library that runs the
# model.
#
# What would it cost to do **without a cache**? The published code of DExperts, another sum of experts, does so: it
# reads the whole text again for each token.
#
# **Before you run**: 256 tokens are written behind a preamble of 52. How many times more operations? And how many times
# more *seconds*, at the floor of a machine with 132 GFLOP and 20 GB a second?

# %% tags=["nbval-check-output"]
two_cores = Peak(132e9, 20e9)  # the best that was seen of the two cores of the recorded runs
lengths = range(context, context + 256)
kept = [Work(*token_work(config, 1, length, 4)) for length in lengths]
anew = [Work(token_work(config, length, length // 2, 4)[0], token_work(config, 1, length, 4)[1]) for length in lengths]
print(f"operations {sum(work.flops for work in anew) / sum(work.flops for work in kept):.0f} times")
at_the_floor = sum(work.floor(two_cores) for work in anew) / sum(work.floor(two_cores) for work in kept)
print(f"seconds at the floor {at_the_floor:.0f} times")
print(f"seconds, recorded {recorded['prefix_speedup_256']:.0f} times")

# %% [markdown]
# A count of operations alone would have promised a factor of 176<!-- operations -->; the floor says
# 14<!-- seconds at the floor -->. Reading a whole text is bound by operations, writing one token by bytes, and whoever
# compares operations across that border compares unlike things.
#
# The clock says 6<!-- seconds, recorded -->, and why it does not say more you have just seen: writing one token is
# thousands of small operations and stands at two and a half times its floor, while reading a whole text is a few
# large products and comes near its own. A floor is a promise that somebody has to keep.
#
# Now a short live run: the pair with and without a cache, and the frozen model, in turn.
#
# **Before you run** (some twenty seconds): only a few tokens behind the same preamble. Will the factor be larger or
# smaller than for 256?

# %%
calls = [
    greedy_decoding(pair, who, 1, TOKENS, **how)
    for who, how in ((None, {}), ("lantern", {}), ("lantern", {"use_cache": False}))
]
alone, together, uncached = paired_seconds(*calls, rounds=ROUNDS)
print(f"tokens a second, pair ÷ frozen model   {median_ratio(alone, together):.2f}")
print(f"seconds, without cache ÷ with cache    {median_ratio(uncached, together):.1f}")

# %% [markdown]
# Smaller. Both begin by reading the preamble, and with few tokens that is most of the work. The gain of a cache grows
# with what is written; a benchmark that writes ten tokens will not see it, nor, for that matter, a loss.
#
# ## What does an epoch cost?
#
# In training, rows are plenty, so operations bind and the ledger of
# [notebook 06](06_from_scratch_fine_tuned_or_auxiliary.ipynb) should predict the clock: $2N$ a token for reading, $4N$
# for LoRA, $6N$ if all weights learn. From the cache only the auxiliary is left, and the product with its support. And
# there is something that a formula forgets: LoRA has to *read the request*, in words, in front of each sentence.
#
# **Before you run**: how many times cheaper than LoRA is an epoch from the cache, by operations? How many times dearer
# is learning all weights? Then look at the seconds, recorded with the same sentences and in turn.

# %% tags=["nbval-check-output"]
tokens = sum(cached.lengths) / len(cached)
request = len(expert.tokenizer(bare_request_prompt("lantern"), add_special_tokens=False)["input_ids"])
predicted = {"auxiliary": trained / 48, "auxiliary, with reading": trained / 48 + tokens * 2 * weights}
predicted |= {"LoRA": (tokens + request) * 4 * weights, "full fine-tuning": (tokens + request) * 6 * weights}
clock = recorded["epoch_seconds"]
for name, flops in predicted.items():
    by_clock = f"by the clock {clock[name] / clock['LoRA']:.2f}"
    print(f"{name:24} {flops / 1e9:6.2f} GFLOP a sentence   of LoRA's {flops / predicted['LoRA']:.3f}   {by_clock}")

# %% [markdown]
# The order is right, and no factor is far off. What is left can be explained, and is worth knowing.
#
# From the cache, an epoch takes more than half as much again as predicted. So little was predicted that **fixed costs**
# show: starting the trainer, making batches, the optimiser's pass over all weights. A saving can be so large that what
# is left is something else.
#
# Learning all weights should cost half as much again as LoRA, and costs a third more. It is LoRA that is a little dear:
# beside each of 210 layers it has two thin products. By the profiler of the next section a step of LoRA starts `1,676`
# products of matrices, and one of full fine-tuning `633`.
#
# The second row is a little *cheaper* than predicted, though reading is nearly all of it. It is a share of LoRA's
# time; and reading, forward only and in large batches, comes nearer to the machine's best than any training does. A
# ratio has two ends, and it pays to ask which of them has moved.
#
# Memory, time to a goal and the rest stand in the same records, each beside the goal that was set before measuring.
#
# **Before you look**: which of the goals would you have thought the hardest?

# %% tags=["nbval-check-output"]
for row in speed_rows(recorded):
    print(f"{row['figure']:45} {row['measured']:>6}   goal {row['goal']}")
print("MB of whole processes:", "  ".join(f"{name} {mb:.0f}" for name, mb in recorded["memory_mb"].items()))
print("LoRA reached accuracy 0.9 in its time:", recorded["reached"]["LoRA"])

# %% [markdown]
# Memory is counted above that of a process which has only loaded its libraries ("nothing"), and most of what the
# auxiliary's process holds is the frozen model itself, which waits there unused. The time to accuracy is an upper bound
# if LoRA never got there: it has two epochs, or six times our time if that is over sooner.
#
# ## Look before you believe
#
# A ledger says where time *should* go. A **profiler** says where it goes: it notes the beginning and end of every
# operation.
#
# **Before you run**: one training step from the cache, in which an auxiliary of two layers and an optimiser run. Which
# operation is at the top, and with what share?


# %%
def trace_of(step):
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        step()
    return trace


trace = trace_of(training_step)
spent = sorted(trace.key_averages(), key=lambda row: -row.self_cpu_time_total)
everything = sum(row.self_cpu_time_total for row in spent)
for row in spent[:6]:
    print(f"{row.key[:44]:44} {row.self_cpu_time_total / everything:4.0%}   {row.count:4} calls")

# %% [markdown] tags=["task:9.3"]
# `mm` and `addmm` are products of matrices: most of the step does what the ledger has counted, and a good share does
# not. The list is by **self time**: what an operation takes without those that it calls. Operations are nested.
# `aten::to` calls `aten::_to_copy`, which calls `aten::copy_`; only the last one works. By *total* time one and the
# same copy would be listed three times.
#
# The classic find in such a list is a copy that nobody asked for.
#
# > **Exercise 9.3 · the copy in the trace**
# >
# > Write `costliest_copy(events, moves)`. Each event is a dict with `name`, `start` and `end` in microseconds, all on
# > one thread: two events are nested in one another or apart. The list has no particular order. An event's self time is
# > its duration without that of the events *directly* within it. Among the names in the set `moves`, operations that
# > only move memory, find the one with the most self time over all its events. Return `(name, that time)`.
#
# *What if* the events came from a GPU, which works while the CPU is already elsewhere? What would a self time on the
# CPU's side mean then?


# %% tags=["exercise:9.3"]
def costliest_copy(events, moves):
    """The operation of ``moves`` with the most self time in a trace, and that time."""
    # SOLUTION
    spent, stack = dict.fromkeys([event["name"] for event in events], 0.0), []
    for event in sorted(events, key=lambda event: (event["start"], -event["end"])):
        while stack and stack[-1]["end"] <= event["start"]:
            stack.pop()
        spent[event["name"]] += event["end"] - event["start"]
        if stack:
            spent[stack[-1]["name"]] -= event["end"] - event["start"]
        stack.append(event)
    name = max((name for name in spent if name in moves), key=spent.get)
    return name, spent[name]
    # END


# %% tags=["check:9.3", "nbval-check-output"]
check("9.3", costliest_copy)
costliest_copy = use("9.3", costliest_copy)

# %% [markdown]
# Let your function look at two real steps. The second has a monitor: somebody wants to see in each step what the frozen
# model alone would say at the beginning of each sentence, and keeps $W$ in half precision, to save memory. It looks
# harmless: 48 rows, one product.
#
# **Before you run**: what will the monitor cost, in milliseconds? More for its product, or for something else?

# %%
half = W.half()
MOVES = {f"aten::{name}" for name in ("copy_", "to", "_to_copy", "clone", "contiguous", "cat", "index_select")}


def monitored_step():
    batch["hidden"][:, 0].float() @ half.float().T
    training_step()


for name, step in {"as it was": training_step, "monitored": monitored_step}.items():
    events = trace_of(step).events()
    main = [event for event in events if event.thread == events[0].thread]
    spans = [{"name": e.name, "start": e.time_range.start, "end": e.time_range.end} for e in main]
    copied, micros = costliest_copy(spans, MOVES)
    print(f"{name:10} {len(spans)} events   {copied} {micros / 1000:.1f} ms")

# %% [markdown]
# The `copy_` is the conversion of 28 million numbers, in each step again. Nobody wrote "copy"; it says `.float()`, in a
# line that saves memory. (It saves none, either: for a moment both versions are there.) The cure is one line outside
# the loop.
#
# ## The log
#
# This is how the course's own code was made faster, on two cores of a server CPU without units for bfloat16, in
# float32. Every line had a good reason beforehand. (It is a diary: what it was measured with is gone, as the code
# before the change is. What can be measured again is what `make bench` prints.)
#
# | what was tried, and why | before | after | kept? |
# |---|---|---|---|
# | **a** · slices of the mapped table in place of converted rows: nothing to convert | `3.9` s | `0.6` s | yes |
# | **b** · normalisers in place, 256 rows at a time: less memory to move | `0.84` ms | `0.68` ms | yes |
# | **c** · no logits inside the preamble: nobody reads them | | 51 ms less | yes |
# | **d** · `W @ h.T` for `h @ W.T` with 8 rows: another order of memory | 23 ms | 12 ms | no |
# | **e** · `torch.compile`: fewer operations to start | 95 ms | 82 ms | no |
# | **f** · bfloat16 without units for it: half the bytes | 132 GFLOP/s | `0.3` GFLOP/s | no |
# | **g** · the end-of-text mark looked up once: see below | 42 ms | 0 ms | yes |
#
# - **a** is the fetching of two epochs of `14.3` s, on 21,000 tokens. The data library converted each row, and the
#   sampler asked a lazy column for every length. An epoch went from `7.5` to `5.4` s. *Not all cost is in the model.*
# - **b** is per token that is read, of `2.9` ms, and leaves 50 MB of logits where there were 600. *The largest thing
#   that is made is what to look at first.*
# - **c** is per text, for one row. *The fastest operation is the one left out.*
# - **d** held in isolation; in the whole nothing was to be seen, and λ = 0 was no longer the frozen model bit for bit.
#   *A gain in isolation is a promise.*
# - **e** is per step and takes 87 s to compile, so that it pays after some 6,000 steps. Our longest training has 3,000.
#   *Ask when it pays, not whether it is faster.*
# - **f** is chosen only where the hardware has it. *Half the bytes are no gain where multiplying is emulated.*
#
# - **g** is per row of *LoRA's* batches, and made `0.7` s of each step. By the clock LoRA was nearly as dear as
#   learning all weights, which its operations could not explain. We had a reason ready, its many thin products, and it
#   was the smaller part: a profile of LoRA's training showed a line of *ours*, which listed the whole vocabulary to
#   look up one number. *Profile your rivals as carefully as yourself: nobody else looks out for them.*
#
# ## Sixteen bits
#
# **bfloat16** has the range of float32, and eight bits of precision: it is float32 with its tail cut off. Half the
# bytes, and on hardware made for it several times the operations. What does it do to logits?
#
# **Before you run**: a likely token of SmolLM2 has a logit of 20 or so. What is the next bfloat16 number after 20? And
# what comes out if a thousand ones are added in bfloat16, one by one?

# %% tags=["nbval-check-output"]
for value in (1.0, 8.0, 20.0):
    here = torch.tensor(value, dtype=torch.bfloat16)
    print(f"the next number after {value:g} is {float(torch.nextafter(here, 2 * here)):g}")
total = torch.zeros((), dtype=torch.bfloat16)
for _ in range(1000):
    total += 1
print(f"a thousand ones make {float(total):g}")
print(f"20 + 0.05 is {float(torch.tensor(20.0, dtype=torch.bfloat16) + 0.05):g}")

# %% [markdown]
# At 20 the numbers are an eighth of a nat apart. A thousand ones stop at 256<!-- a thousand ones make -->, where one
# more is less than half a step. And an auxiliary that wants a token to be a little likelier is not heard at all.
#
# So `combine` and the pair's `forward` convert logits to **float32 before they are added**, and sum them there.
# Products may well be made from bfloat16 numbers: the hardware adds those up in float32 and rounds once, at the end.
#
# **Before you run**: round the logits of real states once. How large is the largest error? And the change of the loss,
# an average of many?

# %%
states, targets = (batch[name][batch["targets"] != -100][:128] for name in ("hidden", "targets"))
lm_logits = states.float() @ W.float().T
rounded, louder = (logits.bfloat16().float() for logits in (lm_logits, lm_logits + 0.05))
nats = [float(F.cross_entropy(logits, targets)) for logits in (lm_logits, rounded)]
deaf = (rounded == louder).gather(-1, lm_logits.topk(10).indices)
print(f"largest error of a logit  {float((rounded - lm_logits).abs().max()):.3f} nats")
print(f"change of the loss        {nats[1] - nats[0]:+.4f} nats a token")
print(f"of the ten likeliest tokens {float(deaf.float().mean()):.0%} do not notice that 0.05 was added")

# %% [markdown]
# Single logits are off by up to a tenth of a nat, the loss in the third or fourth digit. For *reading* that is fine,
# and the cache keeps sixteen bits as well. For the *sum* it is not: many of the likeliest tokens do not hear a small
# opinion at all, and those that do move by a whole step of their grid.
#
# Who decides? `best_device()` takes CUDA if there is one, else the CPU. Apple's MPS it never takes by itself, because
# losses there have been far from those on a CPU; ask for it by name, and compare one before you trust it.
# `best_dtype(device)` takes bfloat16 on CUDA and on CPUs that have units for it, else float32. The log shows why.
#
# ## Many devices
#
# Two processes, each with half of the batch. Each computes the mean loss of its half, and the gradients are averaged.
# Is that the gradient of the whole batch?
#
# **Before you run**: one half holds the eight shortest sentences, the other the eight longest. Whose tokens count more
# in a mean of means?


# %%
def gradient(loss, batches, shares):
    """Of a weighted sum of losses, as one vector."""
    loss.zero_grad()
    for some, share in zip(batches, shares, strict=True):
        (share * loss(**some)["loss"]).backward()
    return torch.cat([weight.grad.flatten() for weight in loss.parameters() if weight.grad is not None])


# %% tags=["nbval-check-output"]
whole = batch_of([*range(8), *range(len(cached) - 8, len(cached))])
halves = [{name: value[part] for name, value in whole.items()} for part in (slice(0, 8), slice(8, 16))]
counts = [int((some["targets"] != -100).sum()) for some in halves]
print("tokens in the halves:", counts)
right = gradient(loss, [whole], [1.0])
for name, shares in {"mean of means": [0.5, 0.5], "joint count": [n / sum(counts) for n in counts]}.items():
    off = (gradient(loss, halves, shares) - right).norm() / right.norm()
    print(f"{name:13} the gradient of the whole batch, to one in a thousand: {bool(off < 1e-3)}")

# %% [markdown]
# A mean of means gives each *process* one vote, and a token in the half with few of them counts several times. So all
# processes first agree on how many tokens they have *together*, and each divides by its share of that number
# (`FeatureLoss` does it in one line). Nothing crashes if one forgets: the curves look fine, and are those of another
# training, which depends on the number of GPUs.
#
# The rest is not written here, but bought: `transformers.Trainer` on `accelerate`.
#
# ```
# accelerate launch --num_processes 2 -m auxlib train wordnet-keyword
# torchrun --nproc-per-node 2 -m auxlib train wordnet-keyword
# ```
#
# One process makes the batches and deals them out; else each would throw its own dice. The reading for the cache is
# shared out, and a process that finds another's share abandoned takes it over. `tests/auxlib/data/test_storage.py`
# starts two real processes on the CPU and shows: the same losses as one, to `1e-5`; a training whose two processes are
# killed is finished by one, with the losses of a whole one; and with `fully_shard` (**FSDP**: each process holds a part
# of all weights and fetches the others' when it needs them) it learns the same.
#
# When does FSDP pay? When weights, gradients and the optimiser's means do not fit into one device. For an auxiliary of
# two and a half million weights never, for full fine-tuning of a few billion at once. It buys room with traffic.

# %% [markdown] tags=["task:9.4"]
# ## Killed at step three
#
# Long runs die: a time limit, a power cut, somebody's `kill -9`. What has to be kept, so that nothing of it shows?
#
# > **Exercise 9.4 · resume after a kill**
# >
# > Write `pack(model, optimiser, schedule, draw)`. The first three have `state_dict()`; `draw` is a `random.Random`
# > with `getstate()`, which decides what is read next. Return a dict with the keys `"model"`, `"optimiser"`,
# > `"schedule"` and `"draw"`, from which a new process goes on *bit for bit*: three times `load_state_dict`, once
# > `draw.setstate`. The training itself goes on after it was packed, and must not change what is in the dict.
#
# *What if* one kept the weights and nothing else, and lowered the learning rate a little "so that it does not jump"?
# What exactly makes it jump?


# %% tags=["exercise:9.4"]
def pack(model, optimiser, schedule, draw):
    """All that an interrupted training needs to go on as if nothing had happened, as copies."""
    # SOLUTION
    live = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    return copy.deepcopy(live | {"draw": draw.getstate()})
    # END


# %% tags=["check:9.4", "nbval-check-output"]
check("9.4", pack)
pack = use("9.4", pack)

# %% [markdown]
# Now with the real auxiliary. A whole training of six steps; one that is packed and killed after three; and new ones,
# with other first weights and other dice, that go on from what was packed. All but the first of them forget one thing.
#
# **Before you run**: which of the omissions can one *see* after three steps, and which are too small to show?


# %%
def begin(seed):
    model, draw = beginner(seed), random.Random(seed)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    return model, optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 6), draw


def go_on(model, optimiser, schedule, draw):
    """Three steps; all weights at their end."""
    collator.rng = draw  # one pair of dice for the rows and for what they are asked for
    for _ in range(3):
        model(**batch_of(draw.sample(range(len(cached)), 16)))["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


# %% tags=["nbval-check-output"]
training = begin(1)
go_on(*training)
saved = pack(*training)
end = go_on(*training)
for forgotten in (None, "model", "optimiser", "schedule", "draw"):
    again = begin(2)
    for name, part in zip(saved, again, strict=True):
        if name != forgotten:
            (part.setstate if name == "draw" else part.load_state_dict)(copy.deepcopy(saved[name]))
    print(f"forgets {forgotten or 'nothing':10} ends where the whole one does: {torch.equal(go_on(*again), end)}")

# %% [markdown]
# All of them show, and only one run is the whole one. "About the same" is what a lost optimiser looks like, too; bit
# for bit is the only test that finds it.
#
# In the library the trainer keeps the first three, and `auxlib.checkpoint` the dice. That little file is written
# *last*, so it is also the mark of a checkpoint that is whole: one that was being written when the power went is
# passed over.
#
# ## To the GPU
#
# What changes on a GPU? Two numbers of the machine, and nothing else. So we can say beforehand what it will be good
# for, from its data sheet: an A100 multiplies 312 TFLOP a second in bfloat16 and moves 2 TB; an H200 989 TFLOP and
# 4.8<!-- NVIDIA H200 … TB/s --> TB. Beside them the two cores at their best.
#
# **Before you look**: how many rows does each need until operations bind, at a context of 64? Remember that each row
# brings a cache of its own.

# %% tags=["figure", "nbval-check-output"]
sheets = {"two cores, float32": (two_cores, 4), "NVIDIA A100, bfloat16": (Peak(312e12, 2e12), 2)}
sheets["NVIDIA H200, bfloat16"] = (Peak(989e12, 4.8e12), 2)
counts, lines = [4**power for power in range(7)], {}
for name, (sheet, size) in sheets.items():
    turn, speeds = batching(*load(64, size), sheet, counts)
    lines[name] = (counts, speeds)
    speed = f"TFLOP/s {sheet.flops / 1e12:.1f}   TB/s {sheet.bandwidth / 1e12:.2f}"
    print(f"{name:22} {speed}   operations bind from {turn or 'no number of'} rows on")
title = "Two cores are busy with a few rows, a GPU wants hundreds"
plot.curves(lines, "rows", "tokens a second, at the floor", title, log_x=True, log_y=True)

# %% [markdown]
# On two cores 14<!-- two cores, float32 … operations bind from --> rows are enough. The A100 wants nearly a thousand,
# and on the H200 operations never bind at this context: it multiplies so fast that fetching a row's own cache takes
# longer than all of the row's arithmetic. For a small model with few rows a GPU is an expensive memory. What makes it
# earn its keep is reading and training, where thousands of tokens share one fetch.
#
# And what have we measured on a GPU? The last cell says what this machine has, and shows whatever was recorded. With a
# GPU at hand, `python -m auxlib run --profile gpu` runs the same notebooks with larger numbers.
#
# **Before you run**: what do you expect to be written there?

# %%
print("this machine:", torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
print("chosen here: ", best_device(), best_dtype(best_device()))
files = sorted((root / "data" / "results" / "gpu").glob("*.json"))
for file in files:
    found = json.loads(file.read_text(encoding="utf-8"))
    print(file.stem, {name: value for name, value in found.items() if isinstance(value, int | float)})
    if "pieces" in found:
        drawn = {name: (Work(flops, moved), took) for name, (flops, moved, took) in found["pieces"].items()}
        display(roofline(Peak(**found["peak"]), drawn, f"Recorded on a GPU: {file.stem}"))
if not files:
    print("no results of a GPU are recorded here: everything above that was measured was measured on CPUs")

# %% [markdown]
# If nothing is recorded, then take every sentence about GPUs here for what it is: a floor, computed from a data sheet.
# No clock has confirmed it.
#
# ## What you take with you
#
# - Two numbers of the **work**, two of the **machine**, and a **floor**. Time over floor says what is left to gain.
# - A token for one row is bound by **bytes**; rows share the fetching, until operations bind or their own caches do.
# - The pair costs what its weights weigh; without a cache, operations mislead by a factor of ten and more.
# - Predictions fail in instructive ways: **fixed costs** where little is left to do, small operations that nobody
#   counts.
# - **Profile** before you believe a count, and read self times. Keep a log with the predictions in it, also of what was
#   dropped.
# - Sum logits in **float32**. Divide by the **joint** count. Keep weights, optimiser, schedule *and* dice.
#
# ## Quiz
#
# **1.** A colleague halves the number of operations of a decoding step for one row, at equal bytes. How much faster is
# it?
# <details><summary>Answer</summary>At the floor not at all: the step is bound by bytes, and the operations were done
# while one waited. (On the clock perhaps a little, if there are fewer operations to be started.)</details>
#
# **2.** Training on eight GPUs gives a slightly worse loss than on one, at the same batch in total. What would you look
# at first?
# <details><summary>Answer</summary>How the losses are averaged. If each process divides by the tokens of its own part,
# the gradient is a mean of means, and tokens in parts with much padding count more. Then at the dice: does each
# process draw its own, perhaps the same rows? Rounding is far too small for that.</details>
#
# **3.** In a trace, <code>aten::to</code> has a total time of 90 ms and a self time of 1 ms. Should it be made faster?
# <details><summary>Answer</summary>Not it, but what it calls: the 89 ms lie in a <code>copy_</code> within. And the
# best remedy is not a faster copy, but to find who asks for it in every step.</details>
#
# ## Onward
#
# So far the auxiliary has steered a model that writes. The same frozen model can also be asked which *label* belongs to
# a text, and the label can be the auxiliary's business: that is the subject of notebook 10,
# [Y-Tuning](10_y_tuning.ipynb). If a fast run of your own should learn nothing, [Debug me](12_debug_me.ipynb) has the
# instruments.
