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

# %%
from collections import Counter

import torch
from torch import nn

from auxlib import plot
from auxlib.product import center, kl
from course.exercises import check, use
from course.letters import LetterWorld

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Examples instead of futures
#
# In [A product of experts](02_product_of_experts.ipynb) we found the perfect second expert by listing every future of
# every prefix. In a real language nobody can do that. What one does have is **examples**: texts, each with its
# condition.
#
# Here is how ours are made. The language model of the last notebook writes a text. Somebody closes their eyes, puts a
# finger on one of its four letters, and that letter becomes the **keyword**. The learner is shown pairs of text and
# keyword. It is never shown $h$.
#
# So $p(c \mid x)$ is the share of the text's letters that are $c$: a text with two `k`s is twice as likely to be
# labelled `k` as a text with one.
#
# **Before you run**: take all texts that contain a `k`, and take the texts whose *keyword* is `k`. In which group are
# there more `k`s to a text, or is it the same group with the same average?


# %%
def draw(world, n, generator):
    """n examples (text, keyword): the keyword is the letter at a place chosen blindly."""
    places = torch.randint(world.T, (n,), generator=generator).tolist()
    return [(text, text[place]) for text, place in zip(world.sample(n, generator), places, strict=True)]


start = torch.tensor([0.60, 0.30, 0.10], dtype=torch.float64)
after = torch.tensor([[0.30, 0.50, 0.20], [0.60, 0.35, 0.05], [0.30, 0.30, 0.40]], dtype=torch.float64)
world = LetterWorld.markov("abk", 4, start, after)

print("five examples:", *draw(world, 5, torch.Generator().manual_seed(SEED)))
count = torch.tensor([text.count("k") for text in world.texts], dtype=torch.float64)
for name, condition in {"contains k": world.contains("k"), "keyword is k": world.drawn("k")}.items():
    print(f"texts whose {name:12}: {(world.conditional(condition) * count).sum():.2f} times k on average")

# %% [markdown]
# The second group is richer in `k`: the blind finger prefers texts with many. Remember this when a keyword is drawn
# from real sentences; the auxiliary will learn to *repeat* the word a little, because the examples do.
#
# ## A data set is a set of weights
#
# In our world there are few different pairs of text and keyword, so a thousand examples hold many twice. All that a
# loss needs to know is how often each pair came: its **weight**. A sample of $N$ examples gives weights that are
# multiples of $1/N$. The whole population gives the weight $p(x)\,p(c \mid x)$ to each pair, as if $N$ were infinite.
# We shall train on the population first, so that what we see is the method and not the luck of the draw.
#
# `encode` turns weighted pairs into tensors: `targets [M, T]` are the letters as numbers, `prefix_ids [M, T]` say
# which prefix each letter came after, `keyword_ids [M]` which keyword was shown.
#
# **Before you run**: there are 81 texts and 3 keywords. Why are there fewer than 243 pairs?


# %% tags=["nbval-check-output"]
def encode(examples):
    """Tensors (weights, targets, prefix_ids, keyword_ids) of {(text, keyword): weight}; the weights sum to one."""
    pairs = [pair for pair, weight in examples.items() if weight > 0]
    targets = [[world.letters.index(letter) for letter in text] for text, _ in pairs]
    prefix_ids = [[world.prefixes.index(text[:t]) for t in range(world.T)] for text, _ in pairs]
    keyword_ids = [world.letters.index(keyword) for _, keyword in pairs]
    weights = torch.tensor([examples[pair] for pair in pairs], dtype=torch.float64)
    return weights / weights.sum(), torch.tensor(targets), torch.tensor(prefix_ids), torch.tensor(keyword_ids)


def population_of(world):
    chances = dict(zip(world.texts, world.probs.tolist(), strict=True))
    return {(x, c): p * world.drawn(c)(x) for x, p in chances.items() for c in world.letters}


population = encode(population_of(world))
print(f"targets {tuple(population[1].shape)}  (pairs, letters)   different prefixes {len(world.prefixes)}")

# %% [markdown]
# A keyword that is not in the text cannot have been pointed at.
#
# ## The loss
#
# Plain maximum likelihood: make the examples probable. The one who speaks is the product of the frozen language model
# and the auxiliary, so its probability is what counts. For one text with letters $x_1 \dots x_T$ and keyword $c$:
#
# $$\ell(x, c) = -\sum_t \log \operatorname{softmax}\big(\texttt{lm\_logits}_t + \texttt{aux\_logits}_t\big)_{x_t}$$
#
# The language model's logits are numbers, not parameters. Statisticians call such a fixed term in a regression an
# *offset*. It is not trained, but it must be *in the sum before the softmax*: it tells the auxiliary what need not be
# said again.

# %% [markdown] tags=["task:3.1"]
# > **Exercise 3.1 · the loss with an offset**
# >
# > Write `auxiliary_loss(lm_logits, aux_logits, targets)`. Both logits are `[B, T, V]`, `targets [B, T]` holds the
# > number of the letter that came at each place. Return `[B]`: the loss of each text in nats, **summed** over its
# > letters. The gradient must reach `aux_logits`.
#
# *What if* the auxiliary's logits were 7 everywhere? What is the loss then, and what is its gradient?


# %% tags=["exercise:3.1"]
def auxiliary_loss(lm_logits, aux_logits, targets):
    """Loss of each text under the product: ``[B, T, V]``, ``[B, T, V]`` and ``[B, T]`` to ``[B]`` nats."""
    # SOLUTION
    log_probs = (lm_logits + aux_logits).log_softmax(-1)
    return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)
    # END


# %% tags=["check:3.1", "nbval-check-output"]
check("3.1", auxiliary_loss)
auxiliary_loss = use("3.1", auxiliary_loss)

# %% [markdown]
# ## Where the loss must end
#
# Before training we work out the answer. At a given prefix and keyword, examples continue with the letter $v$ in the
# share $p(v \mid x_{<t}, c)$. Averaged over them, the loss of that step is a cross entropy, and
#
# $$\text{cross entropy} \;=\; \underbrace{H\big(p(\cdot \mid x_{<t}, c)\big)}_{\text{nobody's fault}} \;+\;
#   \underbrace{\mathrm{KL}\big(p(\cdot \mid x_{<t}, c) \,\big\|\, \operatorname{softmax}(\texttt{lm} +
#   \texttt{aux})\big)}_{\ge\, 0,\ \text{and 0 only where they agree}}$$
#
# The first term does not depend on the auxiliary. So the minimum is where every KL is zero, that is where
# `aux_logits` $= \log p(v \mid x_{<t}, c) - \log p(v \mid x_{<t})$ plus any constant: by Bayes' rule
# $\log h(x_{<t}\,v)$ plus a constant. **Maximum likelihood aims at the very expert that we computed by hand.** The
# loss there is $H(X \mid C)$; a silent auxiliary pays the language model's own $H(X)$. Between them lies $H(X) - H(X
# \mid C) = I(X;C)$, the *mutual information*: all that knowing the keyword can ever be worth.
#
# **Before you run**: the exact auxiliary goes into your loss; then 200 rivals, the exact one plus a little noise. How
# many rivals will be better?


# %%
def exact_auxiliary(world):
    """log h(prefix·v) for every keyword, prefix and letter: ``[C, P, V]``."""
    known = [world.posterior(world.drawn(keyword)) for keyword in world.letters]
    return torch.stack([torch.stack([h.after(prefix) for prefix in world.prefixes]) for h in known]).log()


def loss_on(auxiliary, data):
    weights, targets, prefix_ids, keyword_ids = data
    return weights @ auxiliary_loss(lm_table[prefix_ids], auxiliary(prefix_ids, keyword_ids), targets)


def says(table):
    """An auxiliary that reads its logits from a table ``[C, P, V]``."""
    return lambda prefix_ids, keyword_ids: table[keyword_ids[:, None], prefix_ids]


lm_table = torch.stack([world.next_log_probs(prefix) for prefix in world.prefixes])  # [P, V], frozen
exact_logits = exact_auxiliary(world)
exact, silent = says(exact_logits), says(torch.zeros_like(exact_logits))


# %% tags=["nbval-check-output"]
ceiling = world.mutual_information([world.drawn(keyword) for keyword in world.letters])
best, noise = loss_on(exact, population), torch.Generator().manual_seed(SEED)
rivals = [exact_logits + 0.1 * torch.randn(3, 40, 3, generator=noise) for _ in range(200)]
entropy = world.T * world.entropy_rate
print(f"silent auxiliary {loss_on(silent, population):.3f} nats per text   H(X)          {entropy:.3f}")
print(f"exact auxiliary  {best:.3f} nats per text   H(X) − I(X;C) {entropy - ceiling:.3f}   I(X;C) {ceiling:.3f}")
better = sum(bool(loss_on(says(rival), population) < best) for rival in rivals)
print(f"rivals that are better: {better} of {len(rivals)}")

# %% [markdown]
# None. And note how little there is to gain: 0.296<!-- I(X;C) … I(X;C) --> nats in 3.780<!-- H(X) -->, although the
# keyword decides what the text must contain. Perfect control hardly shows in the loss. This will follow us all the
# way to real models.
#
# ## The learner
#
# Now somebody who does not know $h$ has to get there. The simplest auxiliary is a table: one row of three numbers for
# each keyword and prefix, all zero at first. `rows` says which row belongs to which keyword and prefix; for now each
# has its own, and later we shall let some share. `forward` looks up, nothing more.
#
# The loop is the whole of Auxiliary Tuning. Look for the place where the language model's parameters are updated.


# %%
class TableAuxiliary(nn.Module):
    """Auxiliary logits from a table; ``rows [C, P]`` gives the row of each keyword and prefix."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        self.logits = nn.Parameter(torch.zeros(int(rows.max()) + 1, world.V, dtype=torch.float64))

    def forward(self, prefix_ids, keyword_ids):
        return self.logits[self.rows[keyword_ids[:, None], prefix_ids]]  # [M, T, V]


def train(auxiliary, data, steps=300, rate=0.1):
    optimizer, losses = torch.optim.Adam(auxiliary.parameters(), lr=rate), []
    for _ in range(steps):
        loss = loss_on(auxiliary, data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# There is none: `lm_table` is only read. The optimiser does not even know it.
#
# **Before you run**: where does the curve begin, and which line can it not cross?

# %% tags=["figure", "nbval-check-output"]
own_rows = torch.arange(3 * 40).view(3, 40)  # a row of its own for each keyword and prefix
table = TableAuxiliary(own_rows)
losses = train(table, population)
levels = {"language model alone, H(X)": losses[0], "floor, H(X|C)": entropy - ceiling}
title = "The table falls from the language model's loss to the floor"
plot.curves({"product": (range(60), losses[:60])}, "step", "nats per text", title, levels)

# %% [markdown]
# ## A referee
#
# The curve touches the floor. But losses look alike near their end, and in real life nobody draws the floor. Here we
# can ask more: how far is what was learned from the truth? The distance between the two ways of writing is a KL at
# every prefix. A prefix that no text ever reaches does not matter, so each is weighted by its **reach**
# $p(x_{<t}, c)$, the share of examples that pass through it. The weighted sum is the KL between whole texts: this is
# the chain rule.
#
# `referee` lists truth and reach for all keywords and prefixes, 120 rows in all. The reaches of all rows together sum
# to four, one for each letter of a text.


# %%
def referee(world):
    """p(v | prefix, c) as ``[R, V]`` and p(prefix, c) as ``[R]``, R = keywords × prefixes."""
    truth = (torch.stack([world.next_log_probs(prefix) for prefix in world.prefixes]) + exact_auxiliary(world)).softmax(
        -1
    )
    known = [world.posterior(world.drawn(keyword)) for keyword in world.letters]
    h = torch.tensor([[posterior(prefix) for prefix in world.prefixes] for posterior in known], dtype=torch.float64)
    return truth.flatten(0, 1), (h * world.log_prob(world.prefixes).exp()).flatten()


truth, reach = referee(world)
print(f"truth {tuple(truth.shape)}  (keyword and prefix, vocabulary)   reach sums to {reach.sum():.3f}")

# %% [markdown] tags=["task:3.2"]
# > **Exercise 3.2 · grade a policy**
# >
# > Write `exact_kl(truth, joint_logits, reach)`: `truth [R, V]` are probabilities, `joint_logits [R, V]` are the
# > policy's logits, **not normalised**, and `reach [R]` says how often each row is met. Return one number: the KL from
# > truth to policy in nats **per text**. Some true probabilities are 0; those letters cost nothing.
#
# *What if* you averaged all rows alike instead? Which rows would decide the grade?


# %% tags=["exercise:3.2"]
def exact_kl(truth, joint_logits, reach):
    """KL from truth to policy, weighted by reach: ``[R, V]``, ``[R, V]`` and ``[R]`` to nats per text."""
    # SOLUTION
    return (reach * kl(truth.log(), joint_logits.log_softmax(-1))).sum()
    # END


# %% tags=["check:3.2", "nbval-check-output"]
check("3.2", exact_kl)
exact_kl = use("3.2", exact_kl)

# %% [markdown]
# Now the grade. A loss minus the floor is a KL too, by the formula above, so we have it in two ways which know nothing
# of each other: one from the examples' losses, one from $h$.
#
# **Before you run**: what is the grade of the silent auxiliary, before any training? You know the number already.


# %% tags=["nbval-check-output"]
def table_of(auxiliary):
    """All that an auxiliary says, ``[C, P, V]``."""
    with torch.no_grad():
        return auxiliary(torch.arange(40).expand(3, -1), torch.arange(3))


def grade(auxiliary):
    return float(exact_kl(truth, (lm_table + table_of(auxiliary)).flatten(0, 1), reach))


floor = entropy - ceiling
print(f"silent:  KL {grade(silent):.3f}   loss − floor {loss_on(silent, population) - floor:.3f}")
agree = abs(grade(table) - (loss_on(table, population) - floor)) < 1e-9
print(f"learned: KL below 1e-3 nats: {grade(table) < 1e-3}   agrees with loss − floor: {bool(agree)}")

# %% [markdown]
# The silent auxiliary misses exactly $I(X;C)$; the learned one is within a thousandth of a nat of the closed form.
# The learner never saw $h$, never looked into the future, and was shown complete texts only. That last point is why
# it works: a letter early in a text is paid for by how the text *went on*, so looking ahead is learned from looking
# back.
#
# ## What exactly has been learned?
#
# Let us look at the numbers themselves. For the keyword `k` and three prefixes we print learned minus exact logits.
#
# **Before you run**: the grade says that they agree. Will the differences be zero?

# %% tags=["nbval-check-output"]
shown = ["", "a", "ab"]
ids = [world.prefixes.index(prefix) for prefix in shown]
learned, wanted = table_of(table)[2, ids], exact_logits[2, ids]  # keyword 2 is k
for prefix, difference in zip(shown, learned - wanted, strict=True):
    row = "  ".join(f"{v} {d:.2f}" for v, d in zip("abk", difference, strict=True))
    print(f"after {prefix!r:5} learned − exact:  {row}")

# %% [markdown]
# One constant per row, and another in each row. Softmax cannot see it, so the loss cannot, so no amount of data will
# ever settle it. This is what *identifiable up to a constant per prefix* means, and why two auxiliaries, or two
# training runs, must be **centred** before they are compared.
#
# **Before you run**: after centring, in which of the three rows should the letter `k` stand out most?

# %% tags=["figure", "nbval-check-output"]
labels = [f"{prefix}·{v}" for prefix in shown for v in "abk"]
groups = {"exact": center(wanted).flatten(), "learned": center(learned).flatten()}
title = "Centred, the learned logits are the exact ones"
plot.bars(groups, labels, title, "logit, centred", "prefix · next letter, for keyword k")

# %% [markdown]
# After `ab` time is running out, so the `k` stands out most.
#
# The plain mean is one way to centre; it treats all letters alike. If you want the size of a difference to mean
# something, weight by the truth: near the optimum the KL of a row is half the **variance** of the difference under
# $p(\cdot \mid x_{<t}, c)$, and a constant has no variance.
#
# ## What can never be learned
#
# The gradient of a row's loss with respect to its logits is as simple as can be: the product's probabilities $q$ minus
# the share $y$ with which the letters came, $q - y$. That tells us three things. It sums to zero, which is the
# constant again. Where the language model says $p(v) = 0$, both $q_v$ and $y_v$ are 0, and the auxiliary is never
# told anything. And a row that no example passes through has no gradient at all.
#
# For the last case we use two conditions that exclude each other: "contains a `k`" (number 0) and "contains none"
# (number 1). After the prefix `k` the second is impossible.
#
# **Before you run**: which of the rows below will be exactly zero?

# %% tags=["nbval-check-output"]
never_k = torch.tensor([[[0.6, 0.4, 0.0]]], dtype=torch.float64).log()  # this model never says k
aux_logits = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
auxiliary_loss(never_k, aux_logits, torch.tensor([[1]])).sum().backward()  # b came
print(
    "gradient where p(k) = 0:  ", "  ".join(f"{v} {g:.2f}" for v, g in zip("abk", aux_logits.grad[0, 0], strict=True))
)

# "a" and "b" serve as names of conditions 0 and 1
yes_or_no = {(x, "a" if "k" in x else "b"): p for x, p in zip(world.texts, world.probs.tolist(), strict=True)}
excluded = TableAuxiliary(own_rows)
train(excluded, encode(yes_or_no))
for condition, name in enumerate(("contains a k", "contains no k")):
    row = table_of(excluded)[condition, world.prefixes.index("k")]
    print(f"after 'k', {name:13}:  learned something: {bool((row != 0).any())}")

# %% [markdown]
# Text after `k` on the condition "no `k`" does not exist, so the row stays where it began. Whatever stands there is
# an accident of the start; do not read meaning into it. With zero as the start the accident is harmless: the language
# model speaks alone.
#
# A relative of this: where $p(v)$ is tiny but not zero, the auxiliary must say about $\log 1/p(v)$ to bring $v$ up,
# and has seen few examples to learn it from. If the texts use a letter that the model forbids outright, the loss is
# infinite, and no auxiliary can help.
#
# ## The first step is a residual
#
# What does the loop do first? At zero, $q$ is the language model, so the first step of gradient descent moves the
# logits by $y - p$: **what came, minus what the model expected**. In statistics a model fitted to what another has
# left over is called *boosting*. The auxiliary is one round of boosting on the language model, with logits as the
# scale (gradient boosting libraries take the same offset under names such as `base_margin`).
#
# **Before you run**: for the prefix `a` and keyword `k`, will the residual have the same sign for each letter as the
# final logits? And the same *size*?

# %% tags=["nbval-check-output"]
fresh, a = TableAuxiliary(own_rows), world.prefixes.index("a")
loss_on(fresh, population).backward()
row = own_rows[2, a]  # keyword k, prefix a
final = exact_logits[2, a] - torch.log(torch.tensor(world.posterior(world.drawn("k"))("a")))
moves = {"first step": -fresh.logits.grad[row] / reach[row], "residual y − p": truth[row] - lm_table[a].exp()}
for name, values in {**moves, "final, log h/h": final}.items():
    print(f"{name:15}", "  ".join(f"{v} {x:6.3f}" for v, x in zip("abk", values, strict=True)))

# %% [markdown]
# The same signs, other sizes. The residual is $p(v)\,\big(h(x_{<t}v)/h(x_{<t}) - 1\big)$, and for a ratio near 1,
# $\log (h/h)$ is close to $h/h - 1$: the first step is roughly the final answer *times the language model's
# probability*. Letters which the model thinks unlikely are learned last. In a real vocabulary that is nearly every
# word.
#
# ## A small network
#
# A table cannot be used for real prefixes; there are too many, and each is new. A network reads the prefix and the
# condition instead. Ours sees which letter stands at which of the first three places (nine numbers, 0 or 1) and which
# keyword was asked for (three more), has one hidden layer, the *trunk*, and one output layer.
#
# How should it begin? The table began at zero, and so the product began as the language model. A network begins with
# random numbers, so the product would begin as the language model *disturbed*: multiplied by an expert who talks
# nonsense. We want the network to say zero at first, and yet be able to learn. That is the exercise after the next
# cell.


# %%
marks = [[prefix[i : i + 1] == letter for i in range(3) for letter in "abk"] for prefix in world.prefixes]
spelled = torch.tensor(marks, dtype=torch.float64)  # [P, 9]


class NetworkAuxiliary(nn.Module):
    """Auxiliary logits from a network that reads prefix and keyword."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, prefix_ids, keyword_ids):
        told = torch.eye(3, dtype=torch.float64)[keyword_ids][:, None].expand(-1, prefix_ids.shape[1], -1)
        return self.layers(torch.cat([spelled[prefix_ids], told], -1))  # [M, T, 12] to [M, T, V]


def new_layers(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 3)).double()


# %% [markdown] tags=["task:3.3"]
# > **Exercise 3.3 · a start that changes nothing**
# >
# > Write `zero_start(layers)`: `layers` is an `nn.Sequential` like the one above. Change it in place so that its output
# > is exactly 0 for every input, but so that two steps of training make the output depend on the input. Return it.
#
# *What if* you multiplied the output of a random network by one learned number that starts at 0? Who would get a
# gradient at the first step?


# %% tags=["exercise:3.3"]
def zero_start(layers):
    """Make a network begin as the zero auxiliary without making it deaf; returns the same network."""
    # SOLUTION
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers
    # END


# %% tags=["check:3.3", "nbval-check-output"]
check("3.3", zero_start)
zero_start = use("3.3", zero_start)

# %% [markdown]
# Three networks with the same trunk: yours; one as it comes from the library; and one whose last layer is random with
# spread 1, so that it speaks up.
#
# **Before you run**: at step 0, which of the three has the language model's loss? Which are better, which worse? And
# who is ahead after 300 steps?

# %% tags=["figure"]
loud = new_layers(SEED)
nn.init.normal_(loud[-1].weight)
starts = {"zero": zero_start(new_layers(SEED)), "library's default": new_layers(SEED), "spread 1": loud}
networks = {name: NetworkAuxiliary(layers) for name, layers in starts.items()}
said = lm_table + table_of(networks["zero"])
print("the zero start is the language model bit for bit:", torch.equal(said, lm_table.expand(3, -1, -1)))
runs = {name: train(network, population, rate=0.01) for name, network in networks.items()}
print("random starts begin worse than the language model:", all(run[0] > losses[0] for run in list(runs.values())[1:]))
lines = {f"{name} start": (range(0, 300, 5), (torch.tensor(run[::5]) - floor).log10()) for name, run in runs.items()}
silence = {"silent auxiliary": float(torch.tensor(ceiling).log10())}
plot.curves(lines, "step", "log₁₀ of KL in nats", "A random expert first has to be silenced", silence)

# %% [markdown]
# Both random starts begin above the silent line. A random expert is never free: a quiet one costs about half the
# variance of its logits at every letter. The zero start pays nothing, and its first step already goes towards the
# data, not away from nonsense. The loud network quickly learns to keep quiet, is then slow to learn anything else,
# and after 300 steps is still last. With a real language model the same happens at a larger scale: a random start
# shows as a spike in the loss, and as gibberish in the samples.
#
# ## Why it can learn at all
#
# Zero is a famous trap: a network that is zero everywhere never learns to listen. Look at the gradients. With
# `aux_logits` $= W u$, where $u$ is what the trunk says and $W$ the last layer,
#
# $$\frac{\partial \ell}{\partial W} = (q - y)\,u^\top, \qquad \frac{\partial \ell}{\partial u} = W^\top (q - y).$$
#
# **Before you run**: for $W = 0$, who gets a gradient at the first step, the last layer or the trunk? And if the layer
# before the last were zero as well, so that $u = 0$?


# %%
def who_learns(layers, steps=3):
    """For each step, whether trunk weight, last weight and last bias get a gradient."""
    auxiliary, optimizer = NetworkAuxiliary(layers), torch.optim.SGD(layers.parameters(), lr=0.5)
    for step in range(steps):
        optimizer.zero_grad()
        loss_on(auxiliary, population).backward()
        parts = {"trunk": layers[0].weight, "last weight": layers[2].weight, "last bias": layers[2].bias}
        moves = [f"{name} {'yes' if bool((part.grad != 0).any()) else 'no':3}" for name, part in parts.items()]
        print(f"  step {step}: gradient for  ", "   ".join(moves))
        optimizer.step()


# %% tags=["nbval-check-output"]
print("last layer zero")
who_learns(zero_start(new_layers(SEED)))
two_zeros = zero_start(new_layers(SEED))
for parameter in two_zeros[0].parameters():
    nn.init.zeros_(parameter)
print("both layers zero")
who_learns(two_zeros)
spread = table_of(NetworkAuxiliary(two_zeros)).std((0, 1)).max()
print(f"  does its output depend on prefix or keyword? {bool(spread > 1e-9)}")

# %% [markdown]
# With one zero layer the trunk waits one step: $W$ moves first, and from then on passes gradient down. (LoRA starts
# in the same way, with one of its two factors at zero.) With two, only the bias ever moves: such a network can learn
# which letters are common, but it stays deaf to prefix and keyword for ever. One zero, at the very end.
#
# Now let the zero start run on.
#
# **Before you run**: the table needed 360<!-- numbers to learn, table --> numbers; the network has
# 515<!-- numbers to learn, network -->. Does it reach the closed form as well?

# %% tags=["nbval-check-output"]
network = NetworkAuxiliary(zero_start(new_layers(SEED)))
train(network, population, steps=1000, rate=0.01)
for name, model in {"table": table, "network": network}.items():
    print(f"numbers to learn, {name}: {sum(part.numel() for part in model.parameters())}")
print(f"network: KL below 1e-3 nats: {grade(network) < 1e-3}")

# %% [markdown]
# It does. Any auxiliary that *can* say $\log h$, up to a constant, will do.
#
# ## How many examples?
#
# The population is a luxury. With $N$ examples the weights are counts, and the learned auxiliary is off by what chance
# did. A classical rule says by how much: with $d$ free parameters and enough examples, the expected KL of maximum
# likelihood is about $d / 2N$, whatever the parameters mean. Our table has 120 rows with two free numbers each (the
# third is the constant).
#
# But does it need 120 rows? In this world, what a prefix means for the future depends on three things: how long it is,
# its last letter, and how often the keyword has come. Prefixes that agree in these can **share** a row.
#
# **Before you run**: the rows drop from 120 to 57<!-- rows: own … shared -->. How much lower will the second
# curve lie? And with very few examples, is a learned auxiliary better than none?

# %% tags=["figure"]
meanings = [
    (keyword, len(prefix), prefix[-1:], prefix.count(keyword)) for keyword in "abk" for prefix in world.prefixes
]
place = {meaning: i for i, meaning in enumerate(dict.fromkeys(meanings))}
shared_rows = torch.tensor([place[meaning] for meaning in meanings]).view(3, 40)
print(f"rows: own {own_rows.max() + 1}, shared {shared_rows.max() + 1}")

# %% tags=["figure"]
sizes, lines = torch.tensor([100, 300, 1000, 3000, 10_000, 30_000]), {}
for name, rows in {"own rows": own_rows, "shared rows": shared_rows}.items():
    grades = []
    for n in sizes.tolist():
        pupils = [TableAuxiliary(rows) for _ in range(3)]
        for seed, pupil in enumerate(pupils):
            train(pupil, encode(Counter(draw(world, n, torch.Generator().manual_seed(seed)))), steps=200)
        grades.append(sum(map(grade, pupils)) / len(pupils))
    free = 2 * (int(rows.max()) + 1)
    lines |= {f"{name}, learned": (sizes, torch.tensor(grades).log10())}
    lines |= {f"{name}, {free} / 2N": (sizes, (free / (2 * sizes)).log10())}
title = "Ten times the examples, a tenth of the error"
plot.curves(lines, "examples", "log₁₀ of KL in nats", title, silence, log_x=True)

# %% [markdown]
# On these axes $d/2N$ is a straight line, and both curves come down to theirs. (They may end a little below it: where
# the truth is a veto, a row costs less than two numbers.) Sharing rows about halves the error, as doubling
# the data would. **Telling the auxiliary what matters** is worth examples; for keywords that will be "how much of
# the word is written already".
#
# At the left end both lie above the silent auxiliary. With a few hundred examples the table has learned the luck of
# the draw, and does more harm than good. Pure maximum likelihood would even veto every letter it has not seen, and
# its KL would be infinite; we were saved by stopping after 200 steps.
#
# ## When the texts are from elsewhere
#
# So far the examples were written by the frozen model itself. In practice it never saw your texts. Let them come from
# a *dialect*: the same letters, other habits. The derivation above goes through unchanged, with the dialect's
# $p_{\text{data}}$ in place of $p$, so the optimum is now
#
# $$\texttt{aux\_logits}[v] = \underbrace{\log h_{\text{data}}(x_{<t}\,v)}_{\text{control}} \;+\;
#   \underbrace{\log p_{\text{data}}(v \mid x_{<t}) - \log p(v \mid x_{<t})}_{\text{domain residual}}
#   \;+\; \text{constant}$$
#
# and the gain over the language model splits into $\mathrm{KL}(p_{\text{data}} \| p)$, the **adaptation**, and
# $I(X;C)$, the **conditioning**. An auxiliary that is never told the keyword can learn the first and nothing of the
# second. Ours is a table in which all keywords share their rows.
#
# **Before you run**: a model that learned on the dialect improves by far more than our earlier ceiling. Is it better
# controlled?

# %% tags=["nbval-check-output"]
dialect_start = torch.tensor([0.45, 0.35, 0.20], dtype=torch.float64)
dialect_after = torch.tensor([[0.45, 0.35, 0.20], [0.40, 0.40, 0.20], [0.30, 0.30, 0.40]], dtype=torch.float64)
dialect = LetterWorld.markov("abk", 4, dialect_start, dialect_after)
adaptation = float(kl(dialect.probs.log(), world.probs.log()))
conditioning = dialect.mutual_information([dialect.drawn(keyword) for keyword in "abk"])

untold_rows = torch.arange(40).expand(3, -1)  # one row for all keywords: it is never told
there, gains = encode(population_of(dialect)), {}
for name, rows in {"never told": untold_rows, "told": own_rows}.items():
    run = train(TableAuxiliary(rows), there)
    gains[name] = run[0] - run[-1]
print(f"never told: gain {gains['never told']:.2f}   KL(data‖model)          {adaptation:.2f}")
print(f"told:       gain {gains['told']:.2f}   KL(data‖model) + I(X;C) {adaptation + conditioning:.2f}")

# %% [markdown]
# Nearly half of the gain has nothing to do with control. Whoever reports "the loss fell by so much, hence the
# condition is obeyed" has counted adaptation as control. The honest report has two numbers, and since they come from a
# finite set of unseen texts, each needs an error bar.

# %% [markdown] tags=["task:3.4"]
# > **Exercise 3.4 · split the gain**
# >
# > Write `split_gain(lm_nll, plain_nll, told_nll)`. Each is `[N]`: the loss in nats of the *same* N unseen texts under
# > the language model, with an auxiliary that is never told the condition, and with one that is. Return `[2, 2]`: first
# > row adaptation, second row conditioning; first column the mean, second column its standard error.
#
# *What if* the told auxiliary is handed the condition of another text? Which of the two rows should change, and to
# what?


# %% tags=["exercise:3.4"]
def split_gain(lm_nll, plain_nll, told_nll):
    """Adaptation and conditioning in nats per text: three ``[N]`` to ``[2, 2]`` (part; mean, standard error)."""
    # SOLUTION
    gains = torch.stack([lm_nll - plain_nll, plain_nll - told_nll])
    return torch.stack([gains.mean(-1), gains.std(-1) / gains.shape[-1] ** 0.5], -1)
    # END


# %% tags=["check:3.4", "nbval-check-output"]
check("3.4", split_gain)
split_gain = use("3.4", split_gain)

# %% [markdown]
# And now as in real life: 20,000 examples to learn from, 2,000 others to report on, and nobody who knows the truth.
# Then we peek at it.
#
# **Before you run**: will the exact values lie within two standard errors of the report?


# %%
def each_loss(auxiliary, examples):
    """Loss of every single example in nats, ``[N]``, equal ones side by side."""
    counts = Counter(examples)
    _, targets, prefix_ids, keyword_ids = encode(counts)
    with torch.no_grad():
        losses = auxiliary_loss(lm_table[prefix_ids], auxiliary(prefix_ids, keyword_ids), targets)
    return losses.repeat_interleave(torch.tensor(list(counts.values())))


generator = torch.Generator().manual_seed(SEED)
seen, unseen = draw(dialect, 20_000, generator), draw(dialect, 2000, generator)
plain, told = TableAuxiliary(untold_rows), TableAuxiliary(shared_rows)
for auxiliary in (plain, told):
    train(auxiliary, encode(Counter(seen)))
(mean_a, error_a), (mean_c, error_c) = split_gain(*(each_loss(who, unseen) for who in (silent, plain, told))).tolist()
print(f"adaptation:   {mean_a:.3f} ± {error_a:.3f}   exact {adaptation:.3f}")
print(f"conditioning: {mean_c:.3f} ± {error_c:.3f}   exact {conditioning:.3f}")

# %% [markdown]
# Both do. The untold auxiliary is the yardstick for every claim of control in this course.
#
# ## The null test
#
# One more control, the cheapest and the most neglected. Take the condition's meaning away and see what remains. If the
# condition says nothing about the text, then $p(v \mid x_{<t}, c) = p(v \mid x_{<t})$ and the optimum is a constant per
# row: silence. Whatever a learner gains then is memory of the examples.
#
# Three learners get the same 1,000 texts of our first world: with their keywords; with the keywords **shuffled** among
# the texts; and with a letter thrown by a die. "Unseen" here is the whole population, each text with its true keyword,
# for the die with any keyword: no error bar is needed.
#
# **Before you run**: which of the six numbers are above zero?

# %% tags=["figure"]
generator = torch.Generator().manual_seed(SEED)
examples = draw(world, 1000, generator)
texts, keywords = zip(*examples, strict=True)
shuffled = [keywords[i] for i in torch.randperm(1000, generator=generator).tolist()]
thrown = ["abk"[i] for i in torch.randint(3, (1000,), generator=generator).tolist()]
by_die = {(x, c): p / 3 for x, p in zip(world.texts, world.probs.tolist(), strict=True) for c in "abk"}

gains = {"on seen texts": [], "on unseen texts": []}
for told_keywords, unseen in ((keywords, population), (shuffled, population), (thrown, encode(by_die))):
    pupil, seen = TableAuxiliary(shared_rows), encode(Counter(zip(texts, told_keywords, strict=True)))
    train(pupil, seen, steps=200)
    for where, data in zip(gains, (seen, unseen), strict=True):
        gains[where].append((loss_on(silent, data) - loss_on(pupil, data)).item())
title = "A condition without meaning gains on seen texts only"
plot.bars(gains, ["true", "shuffled", "by a die"], title, "gain in nats per text", "keywords")

# %% [markdown]
# All three look like progress on the texts they have seen. Only one helps on texts they have not. A gain on seen texts,
# or one that survives shuffling, is not control; the loss curve of a training run cannot tell you which you have.
#
# ## What you take with you
#
# - Maximum likelihood with the language model's logits as a fixed **offset** finds $\log h$: the loss is entropy plus a
#   KL, and the KL is zero only at the expert that Bayes' rule prescribes. No $h$ is shown, only texts and conditions.
# - It is found up to one **constant per prefix**. Centre before you compare; grade by a KL weighted by reach.
# - **Zero at the end, and only there**: at step 0 the product is the language model, the last layer learns at once, the
#   trunk one step later. The first step is the residual $y - p$.
# - The error falls like **parameters / 2N**. Few examples and many parameters are worse than silence.
# - Gain = **adaptation + conditioning**. An auxiliary that is never told measures the first; shuffled conditions must
#   gain nothing on unseen texts.
#
# ## Quiz
#
# **1.** A colleague trains the auxiliary alone, without the language model's logits, until it predicts the examples
# perfectly, and adds the two only for generation. What comes out?
# <details><summary>Answer</summary>The auxiliary has learned log p(v | prefix, c) instead of log h. Adding the language
# model counts its opinion twice: the product is p(v | prefix)² h, up to the normaliser. Likely letters become too
# likely. Without the offset in the loss the auxiliary does not know what need not be said again.</details>
#
# **2.** Two training runs from different seeds end with the same loss but with logits that differ by up to 6. Is one of
# them wrong?
# <details><summary>Answer</summary>Not necessarily. Centre both first: constants per prefix are free. If differences
# remain, look where: at letters which the truth forbids or hardly ever uses, and at prefixes that no example reaches,
# the loss does not care, and weighted by reach and truth they vanish.</details>
#
# **3.** On unseen texts your auxiliary gains half a nat per text over the language model. With shuffled keywords at
# *training* time it gains half a nat as well. What have you built?
# <details><summary>Answer</summary>A domain adaptation. The shuffled keywords carry no information, so what the second
# run gained can be had without being told, and the first gained no more than that. Conditioning is
# about 0.</details>
#
# ## Onward
#
# Here every probability was a sum over 81 texts. Next comes a language with hundreds of words and readable sentences,
# built so that $h$ and the ceiling $I(X;C)$ are still known exactly:
# [Storyland: a language whose truth we know](04_storyland.ipynb).
