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
STEPS = 80
BATCH = 48
OVERFIT_STEPS = 60

# %%
from collections import namedtuple
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn

from auxlib import plot
from auxlib.frozen import fingerprint
from auxlib.worlds.story_lm import lm_nll, load_story_lm
from auxlib.worlds.storyland import Storyland
from course.exercises import check, use
from course.exercises.buggy_runs import RUNS, TrainingParts, broken_source, parts_of

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Runs that look fine
#
# A training run that crashes is a kind one: it tells you the line. The runs of this notebook do not crash. Each
# prints a loss, the loss goes down, and the result is wrong. There are five of them, each with **one** bug, and all
# five bugs are common: every working group that trains models has met them.
#
# Reading the code again is a poor way to find such a bug, because you will read what you meant. So we do what an
# engineer does with a machine that hums but does not work: put **instruments** on it, each of which measures one thing
# that must be true, and look at which of them move.
#
# We work in Storyland, where the truth is known, with its shipped language model as the frozen expert. All sentences
# are brought to 20 tokens with blanks (token 0), as tokenizers do when asked for a fixed length.
#
# **Before you run**: two numbers below bound every honest run. No model can have a lower loss than the truth, and
# knowing the keyword can save no more than $I(X;C)$. By how much, per token, can a perfect auxiliary beat the expert?

# %%
BLANK, LENGTH, FRESH = 0, 20, 512
world, expert = Storyland.load(), load_story_lm()
generator = torch.Generator().manual_seed(SEED)
token_ids = F.pad(world.sample(STEPS * BATCH + FRESH, generator), (0, LENGTH))[:, :LENGTH]
keyword_ids = world.draw_keywords(token_ids, generator)
token_ids, keyword_ids = (ids.to(expert.model.device) for ids in (token_ids, keyword_ids))
lessons, fresh = (token_ids[:-FRESH], keyword_ids[:-FRESH]), (token_ids[-FRESH:], keyword_ids[-FRESH:])

floor = world.entropy_rate - world.mutual_information / world.mean_length
alone = lm_nll(expert.model, fresh[0])
print(f"{world.decode(token_ids[:1])[0]}   keyword: {world.vocabulary[keyword_ids[0]]}")
print(f"the truth, H           {world.entropy_rate:.3f} nats per token")
print(f"told the keyword, H−I  {floor:.3f}   no run can end below this")
print(f"all that is to win, I  {world.entropy_rate - floor:.3f}")
print(f"the expert alone       {alone:.3f}   on {FRESH} fresh sentences")

# %% [markdown]
# A quarter of a nat, 0.248<!-- is to win, I -->, and a first auxiliary will win half of it. Keep the floor in mind:
# 1.080<!-- told the keyword, H−I -->.
#
# ## A small auxiliary
#
# Here is the auxiliary of all runs. It reads the expert's hidden state, the last word and the keyword. It writes a
# shift for every word, and a **boost** for the keyword alone, as long as that has not been said. Both outputs start at
# zero, so the pair starts as the expert. You may trust this cell: **the auxiliary is the same in all runs, and it is
# right.**
#
# `wanted` is 1 up to the place where the keyword has been read, and 0 from there on.


# %%
class SmallAuxiliary(nn.Module):
    """Reads states ``[B, T, D]``, inputs ``[B, T]`` and keywords ``[B]``; writes logits ``[B, T, V]``."""

    def __init__(self, vocabulary, expert_width, width=64):
        super().__init__()
        self.keyword, self.word = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)
        self.read, self.mix = nn.Linear(expert_width, width), nn.Linear(width, width)
        self.shift, self.boost = nn.Linear(width, vocabulary), nn.Linear(width, 1)
        for last in (self.shift, self.boost):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, hidden, inputs, keyword_ids):
        wanted = ~(inputs == keyword_ids[:, None]).cummax(1).values.unsqueeze(-1)
        state = self.read(hidden) + self.word(inputs) + wanted * self.keyword(keyword_ids)[:, None]
        state = self.mix(F.gelu(state)).tanh()
        places = keyword_ids[:, None, None].expand(-1, inputs.shape[1], 1)
        return self.shift(state).scatter_add(-1, places, wanted * self.boost(state))


# %% [markdown]
# ## A run with five holes
#
# This is the training loop. It is right too, but it is not complete. Five functions are missing, and each run brings
# its own, as `parts`:
#
# | part | takes | gives |
# |---|---|---|
# | `frozen` | the expert as its own training left it | the expert as it must be here |
# | `shifted` | sentences | what is read, what is to be predicted |
# | `joint` | both experts' logits, λ | joint logits |
# | `masked_nll` | joint logits, targets | the loss |
# | `trainable` | expert, auxiliary | what the optimiser may move |
#
# Note what a run is given: a copy of the expert that is still in training mode, with dropout in its attention and all
# its gradients on. That is how a model comes out of somebody's training script.
#
# **Before you run**: for each of the five, think of one way to get it wrong that raises no error.


# %%
Run = namedtuple("Run", "parts model auxiliary optimizer losses")


def begin(parts):
    torch.manual_seed(SEED)
    model = deepcopy(expert.model).train().requires_grad_()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    model = parts.frozen(model)
    auxiliary = SmallAuxiliary(*expert.unembedding.shape).to(model.device)
    return Run(parts, model, auxiliary, torch.optim.AdamW(parts.trainable(model, auxiliary), lr=1e-2), [])


def logits_and_targets(run, token_ids, keyword_ids, weight=1.0):
    inputs, targets = run.parts.shifted(token_ids)
    seen = run.model(inputs, use_cache=False, output_hidden_states=True)
    aux_logits = run.auxiliary(seen.hidden_states[-1], inputs, keyword_ids)
    return run.parts.joint(seen.logits, aux_logits, weight), targets


# %%
def train(run, token_ids, keyword_ids, steps):
    batches = list(zip(token_ids.split(BATCH), keyword_ids.split(BATCH), strict=True))
    for step in range(steps):
        loss = run.parts.masked_nll(*logits_and_targets(run, *batches[step % len(batches)]))
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.losses.append(loss.item())
    return run


# %% [markdown]
# ## Six closed boxes
#
# Now six runs: a healthy one, whose five parts are right, and A to E, each with one part that is not. `parts_of` hands
# us the parts without showing them. (You could look them up. Do not: there is only one first time.)
#
# **Before you run** (about twenty seconds): all six are trained for the same number of steps, on the same sentences.
# Suppose you had started only *one* of the five, with no healthy run beside it. What would you look at to decide
# whether to believe it?

# %%
runs = {name: train(begin(parts_of(name)), *lessons, STEPS) for name in RUNS}
for name, run in runs.items():
    print(f"{name:8} first loss {run.losses[0]:6.2f}   last loss {run.losses[-1]:6.2f}")

# %% [markdown]
# Every loss has gone down and nothing has complained. The figure shows the six curves, with the two levels from above.
#
# **Before you look**: which curve would you show to your supervisor? Then: which curves are *impossible*, and which
# are merely not very good?

# %% tags=["figure"]
lines = {name: (range(STEPS), [min(loss, 5.5) for loss in run.losses]) for name, run in runs.items()}
levels = {"H": world.entropy_rate, "H − I": floor}
plot.curves(lines, "step", "nats per token, cut at 5.5", "Six losses go down; two go where no loss can go", levels)

# %% [markdown]
# The two lowest curves are the ones to worry about: A and C end below the floor. B, D and E look like honest runs
# with a weak auxiliary. Without the healthy one you might spend a week on their learning rate.
#
# ## The floor and the silent expert
#
# A curve of batch losses is noisy, so the first instrument measures on fresh sentences. It is quiet as long as the
# loss is above $H - I$. An instrument here is a function that takes a run and returns two things: a reading, and
# whether it **trips**. `look` reads it on all six and keeps the verdicts.
#
# The second instrument costs nothing and needs no known truth: at λ = 0 the auxiliary is silent, so the run's loss must
# be the expert's own, as the library measures it. After training as before.
#
# **Before you run**: the readings are losses in nats per token. How many of the five will the second test catch, though
# the auxiliary says nothing in it?


# %%
def look(name, instrument):
    readings = {letter: instrument(run) for letter, run in runs.items()}
    instruments[name], verdicts[name] = instrument, {letter: trips for letter, (_, trips) in readings.items()}
    line = [f"{letter} {reading:.2f}{' ✗' if trips else ''}" for letter, (reading, trips) in readings.items()]
    print(f"{name:9}{'   '.join(line)}")


@torch.no_grad()
def loss_at(run, weight):
    return float(run.parts.masked_nll(*logits_and_targets(run, *fresh, weight)))


def below_floor(run):
    return loss_at(run, 1.0), loss_at(run, 1.0) < floor - 0.02


def unlike_expert(run):
    return loss_at(run, 0.0), abs(loss_at(run, 0.0) - alone) > 0.01


instruments, verdicts = {}, {}
look("floor", below_floor)
look("λ = 0", unlike_expert)

# %% [markdown]
# A cross marks what trips. The λ = 0 test is a **smoke detector**: it goes off in four rooms of five and does not say
# where the fire is. It is also the one to build in first, since it needs no trained model: at step 0 it would already
# have said the same about A, C and D. E stays quiet. Whatever is wrong there is wrong only when the auxiliary speaks.
#
# ## Does it see the future?
#
# A language model must predict a word from the words before it. Here is the test: change the word at one place, and
# see which logits move. Those by which *earlier* words are scored, and the changed word itself, must not. This test
# asks nothing about the model's inside, and works on an untrained one.
#
# Both calls begin with the same seed, so that a run with chance in it is not accused of clairvoyance.
#
# **Before you run**: the instrument reports the largest movement of a logit that should have stood still. Which run
# will be caught? You may go by its curve.


# %%
@torch.no_grad()
def sees_ahead(run, place=4):
    changed = fresh[0].clone()
    changed[:, place] = world.ids["moat"]
    heard = []
    for token_ids in (fresh[0], changed):
        torch.manual_seed(SEED)
        heard.append(logits_and_targets(run, token_ids, fresh[1])[0][:, : place + 1])
    moved = float((heard[0] - heard[1]).abs().max())
    return moved, moved > 1e-3


look("future", sees_ahead)

# %% [markdown]
# C reads the word that it is about to predict. That explains its curve: at first it is terrible, since the expert
# answers another question (what comes *after* this word?), and then the auxiliary learns to repeat what it sees. Given
# more steps the loss would go to zero. **A loss that goes to zero on a language is not a triumph.**
#
# ## What is scored?
#
# A was below the floor as well, but sees no future. Then perhaps it is not asked the same questions. Which positions
# does the loss look at? There is a way to find out without reading it: random logits in, and a gradient back. A
# position whose logits get no gradient is not scored.
#
# **Before you run**: the instrument gives the share of blanks among the scored positions. Sentences have 15 tokens on
# average, rows have 20. What will it be where blanks are scored?


# %% tags=["nbval-check-output"]
def scores_blanks(run):
    joint_logits, targets = logits_and_targets(run, *fresh)
    joint_logits = torch.randn_like(joint_logits).requires_grad_()
    run.parts.masked_nll(joint_logits, targets).backward()
    scored = joint_logits.grad.abs().sum(-1) > 0
    share = float((targets[scored] == BLANK).float().mean())
    return share, share > 0


look("blanks", scores_blanks)

# %% [markdown]
# In run A one question in four is "what follows a blank?", and the answer is always a blank. It costs the auxiliary
# some steps to learn that, and then every fourth position is free. The loss is an average over the wrong thing: divide
# by the words alone and nothing impossible is left.
#
# The longer the rows, the better such a run looks. Beware of losses that improve with padding.
#
# ## Twice the same question
#
# A frozen model is a function: the same input, the same output. Ask twice and compare.
#
# **Before you run**: a difference of any size is a failure here. Why would a *small* one be no comfort?


# %%
@torch.no_grad()
def wavers(run):
    inputs, _ = run.parts.shifted(fresh[0])
    first, second = (run.model(inputs, use_cache=False).logits for _ in range(2))
    difference = float((first - second).abs().max())
    return difference, difference > 1e-3


look("twice", wavers)

# %% [markdown]
# D's expert rolls dice. Dropout is meant for training: it zeroes some of the attention at random. Here it is on in a
# model that is not being trained, so the auxiliary sits beside an expert with a headache, and learns to make up for
# it. Nothing about the loss is impossible; it is just worse than it need be, for ever. Had we *cached* this expert's
# hidden states, as with [a real expert](07_a_real_expert.ipynb), the dice would have been rolled once and kept.
#
# ## The seal and the audit
#
# "Frozen" is a promise about weights. Two instruments watch it. The **seal** compares fingerprints: a hash of all
# weights, before and after. It proves the damage but comes late. The **audit** asks before the first step: which of
# the expert's tensors does the optimiser hold? And afterwards: which has ever received a gradient?
#
# **Before you run**: can the audit trip while the seal does not? Can the seal trip while no parameter of the *expert*
# has a gradient?


# %% tags=["nbval-check-output"]
def seal_broken(run):
    broken = fingerprint(run.model) != expert.fingerprint
    return float(broken), broken


def in_wrong_hands(run):
    held = {id(parameter) for group in run.optimizer.param_groups for parameter in group["params"]}
    found = [name for name, p in run.model.named_parameters() if id(p) in held or p.grad is not None]
    return float(len(found)), bool(found)


look("seal", seal_broken)
look("audit", in_wrong_hands)

# %% [markdown]
# Run B has been training all 20<!-- audit … B --> tensors of the expert. Look back at its curve: it *rises* at first,
# since a step that suits a new auxiliary tears at a trained model, and then recovers. With a smaller step there would
# be no hump to see, and the loss might even be the best of all. Still everything that freezing was to buy would be
# gone: one expert for many auxiliaries, cached states, a λ = 0 that gives the old model back.
#
# To the two questions: yes, when gradients are off, the optimiser skips what it holds. And yes, when two modules share
# a tensor: a gradient arrives under the *other* name. We come back to this in the last exercise.
#
# ## Can the auxiliary say no?
#
# One box has passed everything so far. In a product each expert has a **veto**. So let an auxiliary rule out the
# expert's favourite word at every place, with a logit of −1,000, and see what probability is left to it.
#
# **Before you run**: what is left where logits are added? Where probabilities are averaged, it would be about half.


# %% tags=["nbval-check-output"]
@torch.no_grad()
def no_veto(run):
    lm_logits = expert.model(fresh[0], use_cache=False).logits
    favourites = lm_logits.argmax(-1, keepdim=True)
    aux_logits = torch.zeros_like(lm_logits).scatter(-1, favourites, -1000.0)
    left = float(run.parts.joint(lm_logits, aux_logits, 1.0).softmax(-1).gather(-1, favourites).mean())
    return left, left > 1e-3


look("veto", no_veto)

# %% [markdown]
# In E the favourite hardly notices. The auxiliary can talk as loudly as it likes, and something between it and the sum
# turns the volume down.
#
# The last instrument finds this kind of bug without knowing what to look for: **overfit one batch**. Eight sentences,
# sixty steps. Any model with enough parameters learns eight sentences by heart, and its loss goes far below the floor:
# for once that is right, since they are not fresh. If it *cannot*, something stands in its way.
#
# **Before you run** (about ten seconds): five runs will pass. Note that four of those are broken.


# %%
def cannot_overfit(run):
    few = [ids[:8] for ids in lessons]
    loss = train(begin(run.parts), *few, OVERFIT_STEPS).losses[-1]
    return loss, loss > 0.5


look("overfit", cannot_overfit)

# %% [markdown]
# ## The panel
#
# All verdicts in one picture: a row for each run, a column for each instrument, 1 where it trips.
#
# **Before you look**: the first row must be empty, or the instruments are no good. And no two of the other rows should
# be alike. Why does the second matter?

# %% tags=["figure", "nbval-check-output"]
panel = torch.tensor([[float(verdicts[name][run]) for name in verdicts] for run in RUNS])
for run in RUNS:
    print(f"{run:8} trips: {', '.join(name for name in verdicts if verdicts[name][run]) or 'nothing'}")
title = "The healthy run trips nothing, and each bug leaves a pattern of its own"
plot.heatmap(panel, RUNS, list(verdicts), title, "instrument", "run", unit="1 where it trips")

# %% [markdown]
# Five different rows: the panel does not just say that something is wrong, it says **what**. It does so because it
# mixes two sorts of instrument. The *broad* ones (floor, λ = 0, overfit) are cheap and miss little. The *narrow* ones
# (future, blanks, twice, seal, audit, veto) look at one part each and name it.
#
# Now name the suspects, before the boxes are opened. Write it down: five letters, five parts, `frozen`, `shifted`,
# `joint`, `masked_nll`, `trainable`. For each, one sentence: what does the broken function do?
#
# **Before you run**: the cell prints the broken part of each box, with the comment that its author believed in. Every
# one of those comments is *nearly* true.

# %% tags=["nbval-check-output"]
for name in RUNS[1:]:
    print(f"--- box {name}\n{broken_source(name)}\n")

# %% [markdown] tags=["task:12.1"]
# Five functions of a line or two, no error anywhere. Now the repairs, the most expensive bug first. In box C the author
# remembered that models of `transformers` shift their `labels` by themselves. So they do, when *they* compute the loss.
# Here we do.
#
# > **Exercise 12.1 · nobody reads ahead**
# >
# > Write `shifted(token_ids)`: `[B, T]` to a pair of `[B, T]`, inputs and targets. Every token is a target, also the
# > first word. At each place the inputs hold the token *before* the target; before the first word stands `<s>`, which
# > is token 0, the blank. Rows may be full, without a blank at the end.
#
# *What if* both were done: we shift, and the model shifts again? Would the loss be too low or too high? Which
# instrument sees it?


# %% tags=["exercise:12.1"]
def shifted(token_ids):
    """Inputs ``[B, T]`` and targets ``[B, T]`` of sentences ``[B, T]``."""
    # SOLUTION
    return F.pad(token_ids, (1, 0), value=0)[:, :-1], token_ids
    # END


# %% tags=["check:12.1", "nbval-check-output"]
check("12.1", shifted)
shifted = use("12.1", shifted)

# %% [markdown] tags=["task:12.2"]
# Box A: `cross_entropy` does average by itself, and over everything that it is given. Most tokenizers make this bug
# worse, because their padding token *is* the end of the text. Mask it, and the end is never learned; leave it, and
# blanks are scored. In Storyland they are two tokens: 0 is the blank, 1 the full stop.
#
# > **Exercise 12.2 · blanks cost nothing**
# >
# > Write `masked_nll(joint_logits, targets)`: `[B, T, V]` and `[B, T]` to one number with a gradient, the mean of
# > −log p over all targets that are not 0. Every such token counts the same, whatever the length of its sentence.
#
# *What if* a batch were split over four machines, each took its mean, and the four means were averaged?


# %% tags=["exercise:12.2"]
def masked_nll(joint_logits, targets):
    """Nats per token over the targets that are not blank: ``[B, T, V]`` and ``[B, T]`` to a number."""
    # SOLUTION
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten(), ignore_index=0)
    # END


# %% tags=["check:12.2", "nbval-check-output"]
check("12.2", masked_nll)
masked_nll = use("12.2", masked_nll)

# %% [markdown] tags=["task:12.3"]
# Box D: without gradients nothing in the expert can change, which is true and not enough. Whether it *learns* and
# whether it is *in training mode* are two switches, in two places: the first sits on parameters, the second on modules.
# The second is also easily thrown back: `pair.train()` before an epoch puts every module inside `pair` into training
# mode again, the expert with it.
#
# > **Exercise 12.3 · frozen means both**
# >
# > Write `frozen(model)`: switch off every gradient and all dropout of the model, in place, and return the same model.
# > Not all dropout is a `Dropout` module; attention drops by a function that asks `self.training`.
#
# *What if* the model contained a batch norm? Which of the two switches would keep its running averages from drifting?


# %% tags=["exercise:12.3"]
def frozen(model):
    """The same model, without gradients and without dropout."""
    # SOLUTION
    return model.eval().requires_grad_(False)
    # END


# %% tags=["check:12.3", "nbval-check-output"]
check("12.3", frozen)
frozen = use("12.3", frozen)

# %% [markdown] tags=["task:12.4"]
# Box E: a softmax does keep the scale from running away. It leaves a range of one: the auxiliary can make a word more
# likely by a factor of $e$ at most, and less likely hardly at all. In
# [A product of experts](02_product_of_experts.ipynb) we saw that a *log*-softmax would have been harmless: it takes
# away one constant per row. Three letters make the difference.
#
# > **Exercise 12.4 · add logits**
# >
# > Write `joint(lm_logits, aux_logits, weight)`: both `[B, T, V]`, λ a number; return joint logits `[B, T, V]`. At
# > λ = 0 they must be the expert's, up to a constant per row. Leave the inputs as they are.
#
# *What if* one is really afraid of a scale that runs away? Name a remedy that leaves the sum alone.


# %% tags=["exercise:12.4"]
def joint(lm_logits, aux_logits, weight):
    """The product of two experts as logits, ``[B, T, V]``."""
    # SOLUTION
    return lm_logits + weight * aux_logits
    # END


# %% tags=["check:12.4", "nbval-check-output"]
check("12.4", joint)
joint = use("12.4", joint)

# %% [markdown] tags=["task:12.5"]
# Box B: the author gave the optimiser the whole pair and, since something asked for no gradient, made it ask. There
# is a quieter version. Let an auxiliary start from the expert's embedding, with `nn.Embedding.from_pretrained(W,
# freeze=False)`: that does not copy. Both modules then hold the *same memory*, one of them learns, and the frozen
# model changes although no gradient was ever seen on it. The seal trips; our audit, which goes by identity, does not.
#
# > **Exercise 12.5 · what may be moved**
# >
# > Write `trainable(model, auxiliary)`: a list of the parameters that the optimiser may move: all of the auxiliary's,
# > once each, except those that lie in the expert's memory. It must be right even if nobody has switched off the
# > expert's gradients. Change nothing. (`parameter.data_ptr()` says where a tensor begins.)
#
# *What if* the auxiliary *should* start from that embedding, and learn? What is missing from the line above?


# %% tags=["exercise:12.5"]
def trainable(model, auxiliary):
    """The auxiliary's parameters that are not also the expert's, as a list."""
    # SOLUTION
    locked = {parameter.data_ptr() for parameter in model.parameters()}
    return [parameter for parameter in auxiliary.parameters() if parameter.data_ptr() not in locked]
    # END


# %% tags=["check:12.5", "nbval-check-output"]
check("12.5", trainable)
trainable = use("12.5", trainable)

# %% [markdown]
# ## The repaired run
#
# Your five functions fill the five holes. The same sentences, the same seed, the same steps; then every instrument,
# once more.
#
# **Before you run**: nine verdicts, and a last line that compares with the healthy run. A passed panel proves that
# these nine things are true. What does it not prove?

# %% tags=["nbval-check-output"]
repaired = train(begin(TrainingParts(frozen, shifted, joint, masked_nll, trainable)), *lessons, STEPS)
for name, instrument in instruments.items():
    print(f"{name:8} {'TRIPS' if instrument(repaired)[1] else 'quiet'}")
difference = abs(loss_at(repaired, 1.0) - loss_at(runs["healthy"], 1.0))
print(f"ends where the healthy run ends, to 0.05 nats: {difference < 0.05}")

# %% [markdown]
# It does not prove that the auxiliary is *good*. A run with a learning rate of zero would pass all but one of them.
# Instruments tell you that the number you look at means what you think; whether it is a good number is the business of
# the notebooks on measurement.
#
# ## What you take with you
#
# A checklist to keep. Before the first step:
#
# - [ ] **Floor**: what is the lowest loss that is possible? Write it down. (No known truth? Then the best
#   figure that anybody has published on this text, and suspicion below it.)
# - [ ] **λ = 0**: the pair's loss is the expert's own, measured by *other* code.
# - [ ] **Future**: change one token; no logit that scores it, or an earlier one, moves.
# - [ ] **Blanks**: random logits in, gradient back; no blank is scored, and the end of the text is.
# - [ ] **Twice**: the same input twice, bit for bit the same answer.
# - [ ] **Audit**: the optimiser holds the auxiliary, all of it, and none of the expert's memory.
# - [ ] **Veto**: a word that the auxiliary rules out is gone.
# - [ ] **Overfit**: eight sentences are learned by heart.
#
# And after the last one:
#
# - [ ] **Seal**: the fingerprint is what it was.
#
# Be glad of a loss only when all of these are quiet, and least of all when it is surprisingly good.
#
# ## Quiz
#
# **1.** A colleague's loss falls to half of what everybody else reports on the same text. Name the two instruments that
# you would read first.
# <details><summary>Answer</summary>The future test and the share of blanks. A loss that is too good nearly always
# means that the answer was visible, or that easy questions were mixed in. (A third is the unit: nats, bits, per word,
# per piece.) Seal and audit would only say that the expert was changed, and λ = 0 would trip without saying
# why.</details>
#
# **2.** The λ = 0 test is quiet, the loss falls a little and then stays, and a higher learning rate changes nothing.
# What now?
# <details><summary>Answer</summary>Overfit one batch. If eight sentences cannot be learned by heart, something bounds
# what the auxiliary can say: a softmax or a tanh on its logits, a clamp, a λ that became 0, gradients that do not
# arrive. If they can, the run is merely slow or the auxiliary too small.</details>
#
# **3.** The seal is broken, but the audit finds that the optimiser holds nothing of the expert and that no tensor of
# the expert has a gradient. How can that be?
# <details><summary>Answer</summary>Shared memory: a parameter of the auxiliary lies where the expert's weight lies (a
# tied or "pre-trained" embedding that was not copied), and learns under its own name. Or something writes in place: a
# <code>+=</code> on a view of a weight, or running averages of a batch norm, which change without any
# gradient.</details>
#
# ## Onward
#
# The instruments ask nothing of Storyland but the floor. Take them to [A real expert](07_a_real_expert.ipynb), whose
# last section is a seal, and to a task of your own: [Your own task](13_your_own_task.ipynb) has a line for them.
