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
PASSES = 800
CROWDED = 1500

# %%
from math import log

import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn
from torch.func import functional_call

from auxlib import plot
from auxlib.classification.encoders import mean_state
from auxlib.classification.trainer import labels_of, predict_logits
from auxlib.collator import IGNORE_INDEX
from auxlib.data.assets import data_dir
from auxlib.tartan.meta_weights import GradientStats, MetaWeights, fit_linear_head, inner
from auxlib.tartan.objectives import rows_batch
from auxlib.tartan.trainer import HEAD_DECAY, TrainingConfig
from auxlib.worlds.rules import Rules
from course.exercises import check, use
from experiments.records import read_record
from experiments.tables import as_markdown
from experiments.tartan.arms import ALL, ARMS, CROWD
from experiments.tartan.setup import END, evaluate, train_arm
from experiments.tartan.story import GRAMMAR, NEUTRAL, USEFUL, load_world, places_of_words, story_setup
from experiments.tartan.table import goal_rows, real_rows, story_rows, weight_rows

print(f"profile: {PROFILE}")

# %% [markdown]
# ## If you know where you are going
#
# A pre-trained model has learned from texts that nobody chose with *your* task in mind. Often a second round is added:
# it goes on with its old objective for a while, on texts of the task, and is fine-tuned then. All this time the task
# itself has not said a word.
#
# Dery, Michel, Talwalkar and Neubig (2022, arXiv 2109.07437) ask why. If the end task is known, let it learn from the
# first step on, *together* with the other objectives, and let it say which of them are worth the time. This is
# **end-task aware training**. The auxiliary had its say in the logits first, then in the labels; now it speaks in the
# *loss*.
#
# ## A task with thirty answers
#
# Back to Storyland, where the truth is known. The task: in which of six places is a story told? There are five labelled
# stories of each place to learn from, 240 more to choose by (when is the training at its best?), and a thousand to test
# with. And there are 4,000 stories whose place nobody has written down.
#
# **Before you run**: the cell prints three stories and their places. Which words give the place away?

# %% tags=["nbval-check-output"]
lab, world, rules = story_setup(SEED), load_world(), Rules(GRAMMAR)
places = list(rules.variables["place"])
for row in lab.labelled[:3]:
    print(f"{places[row['label']]:9} {world.decode(torch.tensor([row['token_ids']]))[0]}")
print(f"{len(lab.labelled)} labelled stories, {len(lab.dev)} to choose by, {len(lab.test)} to test with")

# %% [markdown]
# Three words in each: the hero, the object and the spot. All others could stand anywhere. The grammar says which words
# belong to which place, so we can count. (Some belong to two or three. The few stories that would fit two places have
# been left out.)
#
# **Before you run**: thirty stories with three such words each. How many of a place's words can they show at most? And
# of a hundred test stories, how many hold not one word that the thirty have shown?

# %% tags=["nbval-check-output"]
belongs = places_of_words(world, rules)  # [V, P]: which words belong to which places
of_a_place, shown = belongs.any(1), torch.zeros(len(belongs), dtype=torch.bool)
for row in lab.labelled:
    shown[row["token_ids"]] = True
known = of_a_place & shown
print(f"words in all {len(belongs)}, of a place {of_a_place.sum()}, of these in labelled stories {known.sum()}")
met = torch.tensor([int(known[row["token_ids"]].sum()) for row in lab.test])
for count in range(4):
    print(f"test stories with {count} of their 3 words known: {(met == count).sum()}")

# %% [markdown]
# Two of five words have been shown, and yet only one test story in fourteen is without any of them. So the thirty hold
# enough for nine stories of ten?
#
# Not so fast: who says which words *matter*? Take the plainest rule that can learn from labels. Every word of a story
# votes for the places in whose labelled stories it stood, as often as it stood there. Most votes win; a tie is settled
# by a die.
#
# **Before you run**: chance is one in six. How far does the rule come if all words vote? If only content words vote
# (no "the", no "until")? If we tell it which words belong to a place at all?


# %% tags=["nbval-check-output"]
def bag(rows):
    """Which words stand in which text, ``[N, V]``."""
    return torch.stack([torch.zeros(len(belongs)).index_fill(0, torch.tensor(row["token_ids"]), 1) for row in rows])


def share_right(words):
    votes = bag(lab.test) @ (seen_in * words).T
    best = (votes == votes.amax(1, keepdim=True)).float()
    return (best / best.sum(1, keepdim=True)).gather(1, truth.unsqueeze(1)).mean()


truth, content = torch.tensor(labels_of(lab.test)), torch.zeros(len(belongs)).index_fill(0, world.content_ids, 1)
seen_in = torch.zeros(len(places), len(belongs)).index_add_(0, torch.tensor(labels_of(lab.labelled)), bag(lab.labelled))
print(f"all words vote       {share_right(torch.ones(len(belongs))):.2f}")
print(f"content words vote   {share_right(content):.2f}")
print(f"words of a place     {share_right(of_a_place):.2f}")

# %% [markdown]
# The same thirty labels, and the rule is right in 41 %<!-- all words vote --> or in 88 %<!-- words of a place -->, just
# by knowing whom to listen to. By chance "every" stood twice in the forest and nowhere else, and "who" four times on
# the farm and only once in the mountains. So they vote.
#
# Keep the three figures; whatever we train will have to stand beside them. Nobody tells a network which words belong to
# a place. But somebody could.
#
# ## What the other four thousand know
#
# Stories without a label are not without knowledge. Words of one place stand *together*: where hens are fed, the barn
# is not far. Take some words of a story away and ask which they were, and the best answer begins with the place.
#
# An **objective** is somebody who asks something of the body: it has texts, a head of its own, and a loss. This one,
# `BagOfWordsMLM`, takes away half of a story's content words, and must tell them all from the *mean of the story's
# states*, the very vector from which the label is told.
#
# **Before you run**: which of the missing words will you be able to guess, and how well?

# %% tags=["nbval-check-output"]
missing = lab.objectives[USEFUL](USEFUL, None)
batch = missing.draw(32, torch.Generator().manual_seed(SEED))
vocabulary = [*world.vocabulary, "____"]
for ids, mask, targets in list(zip(batch["input_ids"], batch["mask"], batch["targets"], strict=True))[:3]:
    print(" ".join(vocabulary[word] for word in ids[mask]))
    print("     missing:", ", ".join(vocabulary[word] for word in targets[targets != IGNORE_INDEX]))
count = (batch["targets"] != IGNORE_INDEX).sum()
print(f"targets {tuple(batch['targets'].shape)}  (texts, tokens)   missing words {count}")

# %% [markdown] tags=["task:11.1"]
# The adjective may be anything. But three of the six content words belong to the place, and who knows it needs to
# choose among a sixth of the candidates: that saves up to $\ln 6 \approx 1.8$ nats for each of them. Here is the loss.
#
# > **Exercise 11.1 · the missing words**
# >
# > Write `missing_loss(told, targets)`: `told [B, V]` are the log-probabilities that a text gives to every word;
# > `targets [B, T]` holds the missing word where one is missing, and `IGNORE_INDEX` (−100) elsewhere. Return the mean
# > of $-\log p$ over *all missing words of the batch*. Some text may miss none.
#
# *What if* a text missed all of its words? What could a body say about it, and what would the best head answer?


# %% tags=["exercise:11.1"]
def missing_loss(told, targets):
    """Mean of −log p over all missing words: ``[B, V]`` and ``[B, T]`` to one number."""
    # SOLUTION
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return -told[row, targets[row, column]].mean()
    # END


# %% tags=["check:11.1", "nbval-check-output"]
check("11.1", missing_loss)
missing_loss = use("11.1", missing_loss)

# %% [markdown]
# The body of this notebook is a transformer of a single layer, 64 numbers wide, and it has learned nothing yet.
#
# **Before you run**: what will its loss be, about?

# %% tags=["nbval-check-output"]
torch.manual_seed(SEED)
body = lab.body().eval()
states = body(input_ids=batch["input_ids"], attention_mask=batch["mask"]).last_hidden_state
told = missing.head(mean_state(states, batch["mask"])).log_softmax(-1)
ours, theirs = missing_loss(told, batch["targets"]).item(), missing.loss(states, batch).item()
print(f"states {tuple(states.shape)}  (texts, tokens, width)   told {tuple(told.shape)}  (texts, words)")
print(f"loss about {ours:.0f}, that of a guess among {told.shape[1]} words {log(told.shape[1]):.1f}")
print(f"yours is the library's: {abs(ours - theirs) < 1e-4}")

# %% [markdown]
# A guess among all words, as it should be. One thing belongs on the bill: this objective *is told* which words are
# content words, since it takes only those away. The rule that lets content words vote has
# 76 %<!-- content words vote --> from thirty labels. This, and not 41 %, is the bar for everything that learns from
# missing words.
#
# ## Three ways, one price
#
# What can be done with such an objective?
#
# - **alone**: leave it. Fine-tune on the thirty.
# - **first**: missing words for the first half, then fine-tuning. This is the usual order, *task-adaptive pre-training*
#   (TAPT; Gururangan and others, 2020).
# - **together**: in every step one batch of each, and the gradients are added, weighing the same. This is
#   **MT-TARTAN**.
#
# All begin at the same body, and all pay the same: `PASSES` batches of 32 texts that go through it, forward and
# backward, whoever asked. So "first" and "together" ask *the same questions equally often*, and only the order differs.
# Every 25 steps the stories to choose by are told; the weights that did best are kept.
#
# The figure of merit is **macro-F1**: how well each place is found (neither missed nor claimed too often), averaged
# over places, so that a rare place counts as much as a common one.
#
# **Before you run** (some twenty seconds): put the three in order. And beside the three rules that vote?

# %%
plan = TrainingConfig(PASSES, learning_rate=5e-3, seed=SEED)
arms, done = {"alone": ARMS["tune"], "first": ARMS["before"], "together": ARMS["mt"]}, {}
for name, arm in arms.items():
    system, taught = train_arm(lab, arm, plan)
    done[name] = (system.cpu(), taught)
    found = evaluate(lab, system)
    said = f"share right {found['accuracy']:.2f}   {taught.seconds:4.1f} s"
    print(f"{name:9} test macro-F1 {found['macro_f1']:.2f}   {said}")

# %% tags=["figure"]
lines = {}
for name, (system, taught) in done.items():
    spent, each = PASSES // 2 * arms[name].first, len(system.objectives)
    steps = [min(plan.eval_steps * look, len(taught.losses)) for look in range(1, len(taught.dev) + 1)]
    lines[name] = ([spent + each * step for step in steps], taught.dev)
best = {name: max(taught.dev) for name, (_, taught) in done.items()}
title = ", ".join(f"{name} {value:.2f}" for name, value in best.items())
plot.curves(lines, "passes through the body", "macro-F1, stories to choose by", f"The best on the way: {title}")

# %% [markdown]
# Alone it soon knows its thirty stories by heart, and more passes do not help. It ends near the rule in which all words
# vote. With the other objective *first* it starts late and is at once about as good as it will be, below the rule of
# the content words. *Together* passes this bar and comes near the rule that was told which words belong to a place. And
# it has asked nothing that "first" has not asked as often.
#
# Where does the difference lie? Sort the test stories by how many of their words the thirty have shown.
#
# **Before you run**: where must "alone" be at chance? Where will "together" and "first" differ more, with few words
# shown or with many?


# %% tags=["figure"]
def hits(system):
    """Which test stories are told right, ``[N]``."""
    return predict_logits(system, lab.test, rows_batch).argmax(-1) == truth


right = {name: hits(system) for name, (system, _) in done.items()}
bars = {name: [one[met == count].float().mean() for count in range(4)] for name, one in right.items()}
labels = ["none of 3 shown", "1", "2", "all 3"]
title = f"Of stories with no word shown, together tells {bars['together'][0]:.0%} right, alone {bars['alone'][0]:.0%}"
plot.bars(bars, labels, title, "share of test stories told right")

# %% [markdown]
# On the left stand stories of which no label has ever shown a word. Alone cannot know them. Both others know many of
# them, for they have read the four thousand: the barn is where the hens are, and the hens had a label.
#
# Now go to the right. Even where all three words have been shown, alone is often wrong, since it also listens to "who"
# and "every". "First" is wrong less often there, and together hardly ever.
#
# Why should the order matter? Asked *first*, the missing words arrange the body as suits them, and the place is one of
# many things to arrange. Then they fall silent, and thirty stories pull the body to wherever thirty stories are learned
# by heart most quickly. Asked *together*, what the two have in common is pulled from both sides in every step, and
# nothing that only the thirty share lasts for long. That is the idea. One seed is no proof of it (with another the gap
# may be small); the recorded run below has five.
#
# ## One step for several
#
# How does one take a step for several objectives? With weights $w_i$ the loss is $\sum_i w_i L_i$, so the gradient is
# $\sum_i w_i\, g_i$. One could add the losses and go backward once. But then the graphs of *all* batches are in memory
# together. One by one there is never more than one.
#
# A small net helps to think, in double precision. Its three objectives: the end task, labels that are noise, and the
# end task turned round.

# %% tags=["nbval-check-output"]
torch.manual_seed(SEED)
net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()
shared, inputs = list(net.parameters()), torch.randn(3, 40, 5).double()
labels = (inputs @ torch.randn(5, 4).double()).argmax(-1)  # one rule for all, except for the noise
labels[1] = torch.randint(4, (40,))
losses = [
    lambda: F.cross_entropy(net(inputs[0]), labels[0]),
    lambda: F.cross_entropy(net(inputs[1]), labels[1]),
    lambda: -F.cross_entropy(net(inputs[0]), labels[0]),
]
print("losses", " ".join(f"{loss().item():.2f}" for loss in losses), "  (end task, noise, turned round)")

# %% [markdown] tags=["task:11.2"]
# > **Exercise 11.2 · one step for several**
# >
# > Write `weighted_gradient(losses, parameters, weights)`: `losses` are N functions without arguments, each computes
# > its loss when it is called; `parameters` is a list of tensors; `weights [N]` need not sum to one. Return a list of
# > tensors, shaped like the parameters: the gradient of $\sum_i w_i L_i$. Compute each loss once, and only when the
# > graph of the one before is gone. Leave every `.grad` as it is. A loss need not depend on every parameter.
#
# *What if* all objectives shared one batch of texts? Which pass could they share then, and what would become of the
# rule of one graph at a time?


# %% tags=["exercise:11.2"]
def weighted_gradient(losses, parameters, weights):
    """The gradient of ``Σ_i w_i L_i``, one tensor a parameter, one graph at a time."""
    # SOLUTION
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for loss, weight in zip(losses, weights, strict=True):
        gradient = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        total = [so_far + weight * part for so_far, part in zip(total, gradient, strict=True)]
    return total
    # END


# %% tags=["check:11.2", "nbval-check-output"]
check("11.2", weighted_gradient)
weighted_gradient = use("11.2", weighted_gradient)

# %% [markdown]
# Two things must hold. It must be the gradient of the sum. And with all weight on the end task it must be plain
# fine-tuning, to the last bit, or else no comparison with fine-tuning would be fair.
#
# **Before you run**: there is a third line. What remains if the end task and its opposite weigh the same?

# %% tags=["nbval-check-output"]
halves, only_end = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([1.0, 0.0, 0.0]).double()
summed = torch.autograd.grad(sum(w * loss() for w, loss in zip(halves, losses, strict=True)), shared)
alone, against = torch.autograd.grad(losses[0](), shared), torch.tensor([0.5, 0.0, 0.5]).double()
pairs = zip(weighted_gradient(losses, shared, halves), summed, strict=True)
print("gradient of the weighted sum: ", all(torch.allclose(a, b, rtol=1e-9) for a, b in pairs))
pairs = zip(weighted_gradient(losses, shared, only_end), alone, strict=True)
print("plain fine-tuning, bit by bit:", all(torch.equal(a, b) for a, b in pairs))
left = max(part.abs().max().item() for part in weighted_gradient(losses, shared, against))
print(f"the end task against itself:   largest entry {left:.3f}")

# %% [markdown]
# Nothing remains. Whoever weighs all the same pays for a harmful objective with half of his end task. It would be good
# to have less of it. But how much of whom?
#
# ## What is an objective worth?
#
# What we want is a low loss on *development* texts, which no objective learns from. Let $g_{dev}$ be its gradient. A
# plain step of size $\beta$ along $\sum_i w_i g_i$ changes it by
#
# $$-\beta \sum_i w_i\, d_i , \qquad d_i = \langle g_{dev},\, g_i\rangle .$$
#
# So an objective is worth $d_i$: how far it pulls where the development texts want to go. The weights shall be positive
# and sum to one; they are $w = \mathrm{softmax}(v)$, and $v$ is free to learn. Following the change back to $v$,
# through $\partial w_i / \partial v_j = w_i\,(\delta_{ij} - w_j)$, it falls fastest along
#
# $$\beta\, w_j \Big( d_j - \sum_i w_i\, d_i \Big) .$$
#
# In words: whoever is worth more than the average gains.

# %% [markdown] tags=["task:11.3"]
# > **Exercise 11.3 · where the weights should go**
# >
# > Write `direction(v, dots)`: `v [N]` are the weights' logits, `dots [N]` the inner products $d_i$. Return `[N]`,
# > where $v$ should go to *lower* the development loss (leave out $\beta$). Do not change `v`.
#
# *What if* one objective has nearly all of the weight, and is worthless? How fast will the formula take it away, and
# what does that mean for a weight that has come close to one, or to zero?


# %% tags=["exercise:11.3"]
def direction(v, dots):
    """Where v should go to lower the development loss: ``[N]`` and ``[N]`` to ``[N]``."""
    # SOLUTION
    weights = v.softmax(0)
    return weights * (dots - weights @ dots)
    # END


# %% tags=["check:11.3", "nbval-check-output"]
check("11.3", direction)
direction = use("11.3", direction)

# %% [markdown]
# A formula for a slope can be checked without any theory. Take the step with slightly more of $v_j$, and with slightly
# less; look at the development loss after each, and divide by the difference. These are **finite differences**.
#
# **Before you run**: the formula holds for small steps only. How will its error change with $\beta$?


# %%
def after_a_step(v, size):
    """The development loss after one plain step with the weights softmax(v)."""
    step = weighted_gradient(losses, shared, v.softmax(0))
    moved = {name: p - size * part for (name, p), part in zip(net.named_parameters(), step, strict=True)}
    return F.cross_entropy(functional_call(net, moved, (inputs[2],)), labels[2]).detach()


# %% tags=["nbval-check-output"]
v, width = torch.tensor([0.5, -0.2, 0.1]).double(), 1e-4
g_dev = torch.autograd.grad(F.cross_entropy(net(inputs[2]), labels[2]), shared)
dots = torch.stack([inner(g_dev, torch.autograd.grad(loss(), shared)) for loss in losses])
print("worth    ", " ".join(f"{d:+.3f}" for d in dots), "  (end task, noise, turned round)")
print("direction", " ".join(f"{d:+.3f}" for d in direction(v, dots)))
for size in (1.0, 0.1, 0.01, 0.001):
    more, less = (torch.stack([after_a_step(v + one, size) for one in way * torch.eye(3)]) for way in (width, -width))
    slope = (more - less) / (2 * width)
    print(f"step {size:<5}  error of the formula {(slope + size * direction(v, dots)).norm() / slope.norm():.3%}")

# %% [markdown]
# A tenth of the step, a tenth of the error: that is what "to first order" means. The worth has the signs that it should
# have. And the noise? It is worth a little, and less than the weighted average, so its weight falls slowly.
#
# ## Two rules
#
# The authors' code does not follow this formula. Its $v_j$ follows the **cosine** between $g_{dev}$ and $g_j$: only
# where a gradient points, and neither its length nor $w_j$. The library has both rules, "cosine" and "exact".
#
# Four made-up objectives show the difference. The first is a copy of the end task. The second agrees only a little, but
# its gradient is a hundred times as long. The third asks nothing of the body. The fourth is the opposite of the first.
#
# **Before you run**: who wins under each rule? What becomes of the *copy* under the exact one?

# %% tags=["figure", "nbval-check-output"]
names = ["a copy", "long, agrees a little", "asks nothing", "the opposite"]
dots, norms = torch.tensor([1.0, 10.0, 0.0, -1.0]), torch.tensor([1.0, 100.0, 0.0, 1.0])
seen, ended = GradientStats(torch.zeros(4), dots, norms, reference_norm=1.0), {}
for rule in ("cosine", "exact"):
    meta = MetaWeights(4, rate=0.1, rule=rule)
    print(f"{rule:6} first direction", " ".join(f"{d:+.2f}" for d in meta.direction(seen)))
    for _ in range(20):
        meta.step(seen)
    ended[rule] = meta.weights
plot.bars(ended, names, "After twenty steps: length wins under the exact rule, direction under the cosine", "weight")

# %% [markdown]
# Under the exact rule the long one takes everything, and even a copy of the end task itself loses. That is no mistake.
# For *one plain step* the long gradient would indeed lower the development loss the most.
#
# But is its length honest? It grows a hundredfold if somebody sums a loss in place of averaging it. And no step of ours
# is plain: AdamW divides lengths away. The cosine asks for the direction alone, and who asks nothing of the body is
# worth exactly nothing. We take the cosine, and record both.
#
# ## Who may ask?
#
# One thing is missing: $g_{dev}$, the gradient of the end task's development loss on the body. A loss needs a head.
# Which? The end task's head is at hand. But it was trained on the thirty, and it knows them by heart.
#
# So the authors take a **fresh head**. Some development texts fit it, and *other* development texts ask through it.
# Only those who ask reach the body. And since few texts fit it, its weights are held short: their squares are added to
# the loss of the fitting, times half a `decay`.

# %% [markdown] tags=["task:11.4"]
# > **Exercise 11.4 · asked through a fresh head**
# >
# > Write `ask_through(fit, fit_labels, ask, ask_labels, count, decay)`: `fit [F, D]` and `ask [A, D]` are the mean
# > states of two batches of development texts, with labels `[F]` and `[A]` out of `count`. Return the mean
# > cross-entropy of those who *ask*, through a head that those who *fit* have fitted. `fit_linear_head(features,
# > labels, count, decay)` gives the best linear head, held still. A gradient must reach `ask`, and none may reach
# > `fit`.
#
# *What if* the head went on learning from step to step, in place of being fitted anew? Whose texts would it know after
# a while?


# %% tags=["exercise:11.4"]
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    """The loss of some texts through a head that others have fitted: ``[F, D]``, ``[A, D]`` to one number."""
    # SOLUTION
    head = fit_linear_head(fit.detach(), fit_labels, count, decay)
    return F.cross_entropy(head(ask), ask_labels)
    # END


# %% tags=["check:11.4", "nbval-check-output"]
check("11.4", ask_through)
ask_through = use("11.4", ask_through)

# %% [markdown]
# Fitting is cheap. The states are computed once, without a graph, and the best linear head on them is a convex problem
# in a few hundred numbers.
#
# Now five askers, on the body that was fine-tuned alone: its training stories through its own head, development stories
# through the same head, and development stories through a fresh head, fitted on themselves or on others, held loosely
# or short.
#
# **Before you run**: a guess among six places costs $\ln 6 = 1.8$ nats. Who is silent? Who pays more than for a guess?


# %%
def mean_states(rows):
    batch = rows_batch(rows)
    return mean_state(system.states(batch), batch["mask"]), batch["labels"]


system = done["alone"][0].eval()
body, head = list(system.body.parameters()), system.objectives[0].head
thirty, fit, ask = (mean_states(rows) for rows in (lab.labelled, lab.dev[:60], lab.dev[60:]))
askers = {
    "training stories, its own head": F.cross_entropy(head(thirty[0]), thirty[1]),
    "development, its own head": F.cross_entropy(head(ask[0]), ask[1]),
    "development, head fitted on the same": ask_through(*ask, *ask, len(places), HEAD_DECAY),
    "development, fitted on others, loosely": ask_through(*fit, *ask, len(places), 0.01),
    "development, fitted on others, short": ask_through(*fit, *ask, len(places), HEAD_DECAY),
}
for name, loss in askers.items():
    gradient = torch.autograd.grad(loss, body, retain_graph=True)
    print(f"{name:38} loss {loss.item():5.2f}   length of the gradient {inner(gradient, gradient).sqrt():5.2f}")

# %% [markdown]
# The training stories have nothing left to ask. Through their head the development stories shout: it is sure of
# everything, also where it is wrong, and much of what they ask is to be less sure. A head that is held loosely does the
# same, since sixty stories are learned by heart as easily as thirty. And one that the askers have fitted themselves
# makes light of what the body lacks. The last is an honest question: what would have to change in the body, so that a
# head learned from *some* stories were right about *others*?
#
# This question has its price. Every step of **META-TARTAN** pays for one pass more, and for a forward pass alone, which
# is a third of one: with $N$ objectives $N + \frac43$ passes in place of $N$.
#
# ## A crowd
#
# With one other objective that is known to help there is little for weights to do. So we invite two more. One *cannot*
# help: missing words again, but in stories whose content words have been exchanged for words from anywhere. The other
# *harms*: it wants **all alike**. Its loss is how far the mean states of a batch's stories lie apart, and it is content
# when every story looks like every other. Then no head can tell a place.
#
# First a look at the exchanged stories. Two words that each belong to one place alone: how often do they stand in the
# same story and belong to the same place?
#
# **Before you run**: what must this share be in true stories, and about what after the exchange?


# %% tags=["nbval-check-output"]
def same_place(texts):
    """Of two words in one text that each belong to one place alone: how often is it the same?"""
    single = belongs.float() * (belongs.sum(1, keepdim=True) == 1)
    held = bag([{"token_ids": text} for text in texts]) @ single  # [N, P]
    words = held.sum(1)
    return float((held * (held - 1)).sum() / (words * (words - 1)).sum())


for name in (USEFUL, NEUTRAL):
    print(f"{name:17} the same place in {same_place(lab.objectives[name](name, None).examples):.0%} of pairs")

# %% [markdown]
# One in six, as a die would have it. In the exchanged stories nothing knows of its missing words; the same question can
# be asked as often and has no answer.
#
# Now both ways with the whole crowd. MT must listen to all four alike. META begins there too, and may change its mind;
# each spends `CROWDED` passes, now with 96 texts in a batch. Whom to believe is told from single gradients, and those
# of a few texts are mostly chance.
#
# **Before you run** (half a minute): how many steps are that for MT, and how many for META? Four weights begin at a
# quarter: write down the order in which they end. And which of the two ways tells more test stories right?

# %%
crowd, wide = {}, TrainingConfig(CROWDED, 96, learning_rate=16e-3, seed=SEED)
for name in ("mt", "meta"):
    system, taught = train_arm(lab, CROWD[name], wide)
    crowd[name] = taught
    print(f"{CROWD[name].label:26} test macro-F1 {evaluate(lab, system)['macro_f1']:.2f}", end="   ")
    print(f"{len(taught.losses)} steps of {1000 * taught.step_seconds:.0f} ms")
print(f"a META step takes {crowd['meta'].step_seconds / crowd['mt'].step_seconds:.1f} MT steps")
for i, name in enumerate((END, *ALL)):
    taught = crowd["meta"]
    print(f"{name:17} mean cosine {taught.cosines[:, i].mean():+.3f}   weight in the end {taught.weights[-1, i]:.3f}")

# %% tags=["figure"]
weights = crowd["meta"].weights
lines = {name: (range(len(weights)), weights[:, i]) for i, name in enumerate((END, *ALL))}
ended = dict(zip((END, *ALL), weights[-1].tolist(), strict=True))
title = ", ".join(f"{name} {ended[name]:.3f}" for name in ALL)
plot.curves(lines, "step", "weight", f"In the end: {title}")

# %% [markdown]
# Begin with the one who harms. Its mean cosine is far below zero: stories that all look alike are the last thing that
# the development stories ask for. For some steps, as long as the body knows nothing, even its line may rise; then it
# sinks before all others, and soon nobody hears it.
#
# The missing words sink too, more slowly, and the words of anywhere sink further than they do. Were the missing words
# not worth more? They were, but look at what was asked: which gradient lowers the development loss *with the next
# step*? Missing words help slowly, by arranging words that no label has shown, and their cosine is hardly above zero.
# The end task agrees with itself best and takes nearly everything. What pays at the next step and what pays in the end
# are two questions, and the rule asks the first.
#
# And the result? MT pays dearly for its company: it ends below "alone", which had none. META gets rid of the one who
# harms, though it pays a quarter of its steps for asking (the clock says more than that, since on a body as small as
# ours fitting a head takes time too), and comes out above "alone". But "together" above had about a sixth of the texts
# and one good companion, and is far ahead of both: *choosing good company is worth more than weighing bad company
# well.*
#
# ## Five seeds, and rules that were fixed before
#
# So far these were single runs, and another seed would have told another story here and there. The recorded experiment
# has five seeds, ten labelled stories of each place, and rates that were chosen by development stories of two seeds
# that take no part. (It is the second design. The first, on other seeds, had five stories of each place, where "first"
# and "together" came out level, and another one to do harm. Whoever changes a design says so, and takes fresh seeds.)
# What was expected, written down before the run:
#
# - **together** is above **first**, and first above **alone**, with standard errors that do not overlap;
# - the weights end in the order missing words, words of anywhere, all alike in five of five seeds;
# - where a harmful objective is present, META is at least as good as MT;
# - a META step takes at most $2.5$ MT steps.
#
# **Before you look**: on which of the four would you bet, after what you have seen? And in the tables below, macro-F1
# on the test stories with its standard error: how much will it matter to META that who wants all alike
# stays at home?


# %% tags=["nbval-check-output"]
def show(table):
    """Rows of the recorded results, as a table that a notebook can render and anybody can read."""
    said = as_markdown(table)
    display({"text/markdown": said, "text/plain": said}, raw=True)


recorded = read_record("tartan", data_dir().parent)
show(goal_rows(recorded))
show(story_rows(recorded))
show(weight_rows(recorded))

# %% [markdown]
# All four came as expected. But look closer. In bad company META is ahead of MT by a point, no more, with the best rate
# that was found for each. The exact rule has the order right in every seed and has hardly moved a weight: it counts
# lengths, and at the size of step that it was given here lengths are small. With one good companion and no bad one,
# META is *behind* MT, by more than anywhere else: it has fewer steps, and it turns the companion down. Weights that
# learn are a protection, and protection costs.
#
# Eight hundred passes and ten labels of each place are one choice among many. With enough passes, does "first" catch
# up? With enough labels, is there anything left to gain? The bands are one standard error.
#
# **Before you look**: which of the curves will be flat? Where will the gap between together and alone be widest?


# %% tags=["figure", "nbval-check-output"]
def over(curves, budget, rows="test"):
    lines, bands = {}, {}
    for arm, curve in curves.items():
        spent, (means, errors) = list(map(float, curve)), map(torch.tensor, zip(*curve.values(), strict=True))
        name = recorded["storyland"]["main"][arm]["label"]
        lines[name], bands[name] = (spent, means), (spent, means - errors, means + errors)
    title = f"By {budget}: mean and standard error"
    return plot.curves(lines, budget, f"{rows} macro-F1", title, log_x=True, bands=bands)


over(recorded["storyland"]["passes"], "passes through the body")

# %% tags=["figure", "nbval-check-output"]
over(recorded["storyland"]["labels"], "labelled stories of each place")

# %% [markdown]
# Alone is nearly flat over the passes: what its labels hold is soon learned. "First" does catch up, nearly, with twice
# the passes. And over the labels the order *turns round*: with two of each place "first" is ahead, with five they are
# level, and from ten on together wins. A dozen labels know little, and in every step they pull the body to what only a
# dozen have in common; better if they come late. "Together above first" held where we had said that we would look. It
# is no law.
#
# And the weights of the crowd, in a training longer than yours. The bands hold all five seeds.
#
# **Before you look**: is there more order than in your own figure?


# %% tags=["figure", "nbval-check-output"]
def over_steps(steps):
    mean, least, most = torch.tensor(steps).unbind(1)  # each [S, N]
    share = torch.linspace(0, 1, len(mean))
    lines = {name: (share, mean[:, i]) for i, name in enumerate((END, *ALL))}
    bands = {name: (share, least[:, i], most[:, i]) for i, name in enumerate((END, *ALL))}
    title = "Whom META-TARTAN believes: mean and range of five seeds"
    return plot.curves(lines, "share of the training", "weight", title, bands=bands)


over_steps(recorded["storyland"]["weights"]["meta"])

# %% [markdown]
# One more look at the crowd, at something that a table of best rates hides. The rates were searched, on development
# stories of two seeds. How much does each of the two ways depend on this search?
#
# **Before you look**: one of them gets on with most rates, the other with hardly any. Which?

# %% tags=["figure", "nbval-check-output"]
over(recorded["storyland"]["rates"], "learning rate, in the crowd", "development")

# %% [markdown]
# META gets on with most rates. MT gets on with one, where the heads learn so fast that they read even what little
# differs. Whoever searches finds it. Whoever takes the rate that was best for MT *without* the crowd, $0.008$, loses
# more than forty points with MT, and some ten with META. At their best rates a point lies between the two. That is what
# the weights are good for: one does not have to know beforehand who does harm, nor to search until it no longer shows.
#
# Storyland was made so that missing words *must* help. Real texts promise nothing. So the same arms were run with
# MiniLM, all of whose weights learn, on the posts of 20 Newsgroups and on product reviews, with twenty labelled texts
# of each label. The other objective is the usual one: words are hidden and have to be told from their places, in the
# task's own unlabelled texts, or in texts of another task that are like them.
#
# **Before you look**: MiniLM has read a great deal before. Will there be more to gain than in Storyland, or less?

# %% tags=["nbval-check-output"]
show(real_rows(recorded))

# %% [markdown]
# Nothing was gained. On 20 Newsgroups every pass that others took was missing at the end task, and alone is best by
# three points and more. On reviews hardly anything leaves the noise of three seeds, and hiding words *first* made it
# worse. The budget is small (200 passes), MiniLM has read such texts before, and its head for hidden words had to be
# learned anew, since the model comes without one. The authors found gains with larger models, more text and longer
# training; this table can neither confirm nor deny them. It says what such objectives are worth *here*.
#
# ## What you take with you
#
# - **If the end task is known, let it say what else is worth learning**, from the first step on.
# - A few labels hold more than they seem to, for whoever knows which words matter. Texts without a label can tell that.
# - The same questions in another order are another training. Compare at one price, in passes through the body.
# - One step for several objectives: a weighted sum of gradients, one graph alive at a time. With all weight on the end
#   task it is fine-tuning, to the last bit.
# - An objective is worth what its gradient has in common with the development gradient. The exact rule counts lengths;
#   the cosine does not.
# - Who asks must not have been taught by the answers: a fresh head, fitted on some, asked by others.
# - Weights that learn can turn down who harms. They do not replace good company, and they have a price.
# - A best rate hides how hard it was to find. Show the search.
#
# ## Quiz
#
# **1.** Somebody sums the missing words' loss over the batch in place of averaging it, and its gradient becomes a
# hundred times as long. What changes for MT, for META with the cosine rule, and with the exact rule?
# <details><summary>Answer</summary>MT follows the missing words and hardly anybody else. The cosine rule gives them the
# same weight as before, which does not help: in the weighted sum the gradient is still a hundred times as long. The
# exact rule believes them at once if they agree even a little, and drops them at once if they do not. Lengths have to
# be made comparable before anybody weighs.</details>
#
# **2.** After a thousand steps an objective weighs a thousandth. What does it still cost?
# <details><summary>Answer</summary>Its full pass, in every step. A weight saves no computing. If it stays there, leave
# the objective out and spend its passes on the others.</details>
#
# **3.** "META has seen the labels of 240 development stories, fine-tuning only thirty. Unfair!" What do you say?
# <details><summary>Answer</summary>There is something in it. All arms use the 240, to choose the best weights on the
# way. META learns from them besides, though only as many numbers as there are objectives, which is too little to learn
# stories by heart. The rival to ask for is fine-tuning on thirty and some of the 240. You can run it:
# <code>replace(lab, labelled=lab.labelled + lab.dev[:60], dev=lab.dev[60:])</code>, with <code>replace</code> from
# <code>dataclasses</code>.</details>
#
# ## Onward
#
# Logits, labels, losses: three places for something auxiliary beside a model that is frozen or shared. What all three
# have in common is that they can go wrong in silence. If a loss falls and the figure that counts does not move, take
# the instruments of [Debug me](12_debug_me.ipynb). After that comes [Your own task](13_your_own_task.ipynb).
