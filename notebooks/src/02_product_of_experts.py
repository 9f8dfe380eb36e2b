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
import math

import torch

from auxlib import plot
from auxlib.product import center, combine, kl, mixture
from course.exercises import check, use
from course.letters import LetterWorld, Posterior, noisy

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Two opinions about the next letter
#
# Our alphabet has three letters: `a`, `b` and `k`. A language model says that the next letter is probably `a`. A
# second expert has been told a secret, "the text will contain a `k`", and says something else. Both speak in
# *logits*: numbers that mean something only up to a constant. We want one answer. There are two natural ways to get
# it:
#
# - **add the logits**, then softmax. Since a logit is a log-probability plus a constant, this multiplies the two
#   distributions and renormalises. It is called a *product of experts*.
# - **average the probabilities**. This is a *mixture*: toss a coin, and let the winner choose the letter.
#
# **Before you run**: the model says `[2, 1, -3]`, the expert says `[0, 0, 3]`. Which letter wins in the product? And
# in the mixture?


# %% tags=["figure", "nbval-check-output"]
def product_of_experts(lm_logits, aux_logits):
    joint_logits = lm_logits + aux_logits
    return joint_logits.softmax(-1)


lm_logits = torch.tensor([2.0, 1.0, -3.0])  # over a, b, k
aux_logits = torch.tensor([0.0, 0.0, 3.0])
lm_probs, aux_probs = lm_logits.softmax(-1), aux_logits.softmax(-1)
opinions = {"language model": lm_probs, "second expert": aux_probs}
opinions["product"] = product_of_experts(lm_logits, aux_logits)
opinions["mixture"] = (lm_probs + aux_probs) / 2
plot.bars(
    opinions, ["a", "b", "k"], "The mixture follows whoever is loud; the product needs both", xlabel="next letter"
)

# %% [markdown]
# In the mixture `k` wins although the model finds it absurd: one expert is enough. In the product `a` wins although
# the second expert shouts for `k`, because the model objected just as loudly, and `a` is the letter with which both
# can live. A mixture is an **OR**: it likes what *any* expert likes. A product is an **AND**: it likes what *all*
# like.
#
# The difference is sharpest at zero. Suppose that the second expert does not merely dislike `a` but knows it to be
# impossible: its logit is $-\infty$, its probability 0.
#
# **Before you run**: what is the probability of `a` in the product, what in the mixture? Can the language model,
# however sure it is, bring `a` back?

# %%
veto = torch.tensor([-math.inf, 0.0, 3.0])
for confidence in (2.0, 10.0):
    lm_logits = torch.tensor([confidence, 1.0, -3.0])
    both = torch.stack([lm_logits.softmax(-1), veto.softmax(-1)])
    p, m = product_of_experts(lm_logits, veto)[0], both.mean(0)[0]
    print(f"model gives `a` a logit of {confidence:4.1f}:   p(a) in the product {p:.3f}   in the mixture {m:.3f}")

# %% [markdown]
# A zero in a product stays zero. That is a **veto**, and it is what control needs: "never this word", "no letter but
# `k` can save this text now". An even mixture can at most *halve* an unwanted letter's probability.
#
# Neither rule is more correct in itself. Each is the best compromise $q$ between experts $p_1, p_2$. The two measure
# disagreement by $\mathrm{KL}(q\,\|\,p) = \sum_v q_v \log (q_v / p_v)$, but in opposite directions. The product (here
# with weights ½ and ½, so a geometric mean) minimises
# $\sum_i \tfrac12 \mathrm{KL}(q\,\|\,p_i)$, which is infinite if $q$ says what some $p_i$ forbids; the mixture
# minimises $\sum_i \tfrac12 \mathrm{KL}(p_i\,\|\,q)$, infinite if $q$ is silent about what some $p_i$ might say.
#
# **Before you run**: we try 10,000 random compromises. How many beat each rule at its own game?

# %%
pair = torch.stack([lm_probs, aux_probs]).log()  # [2, V]
geometric, arithmetic = pair.mean(0).log_softmax(-1), pair.exp().mean(0).log()
rivals = torch.randn(10_000, 1, 3, generator=torch.Generator().manual_seed(SEED)).mul(2).log_softmax(-1)


def outward(log_q):
    return kl(log_q, pair).mean(-1)


def inward(log_q):
    return kl(pair, log_q).mean(-1)


for name, rule in {"product": geometric, "mixture": arithmetic}.items():
    scores = [f"{int((game(rivals) < game(rule) - 1e-6).sum()):5d}" for game in (outward, inward)]
    print(f"rivals that beat the {name}:  in KL(q‖p) {scores[0]}   in KL(p‖q) {scores[1]}")

# %% [markdown]
# Each rule is unbeaten in its own game and beaten often in the other's. From here on we stay with the product.

# %% [markdown] tags=["task:2.1"]
# > **Exercise 2.1 · two experts, many rows**
# >
# > Write `combine_two(lm_logits, aux_logits)`. Both are `[B, V]`; return the product's probabilities, `[B, V]`, each
# > row summing to one. Logits may be as large as 1,000 or be $-\infty$. Leave the inputs as they are.
#
# *What if* one expert's logits were its probabilities, by mistake? Nothing crashes. What would the sum of the two
# mean?


# %% tags=["exercise:2.1"]
def combine_two(lm_logits, aux_logits):
    """Product of two experts: ``[B, V]`` and ``[B, V]`` logits to ``[B, V]`` probabilities."""
    # SOLUTION
    return (lm_logits + aux_logits).softmax(-1)
    # END


# %% tags=["check:2.1", "nbval-check-output"]
check("2.1", combine_two)
combine_two = use("2.1", combine_two)

# %% [markdown]
# ## A world whose truth we know
#
# So far the second expert's numbers fell from the sky. Which numbers *should* it say? To answer that we need a world
# in which every probability can be computed. Here is one: texts of four letters over `a`, `b`, `k`, written by a
# language model that remembers one letter. There are $3^4 = 81$ texts, so anything can be found by listing them all.
#
# The letter `k` plays the keyword: it is rare. Our **condition** $c$ is "the text contains a `k`".
#
# **Before you run**: on average one letter in six or seven is a `k`. What is your guess for $p(c)$, the share of
# texts that contain at least one?

# %%
start = torch.tensor([0.60, 0.30, 0.10], dtype=torch.float64)
after = torch.tensor([[0.30, 0.50, 0.20], [0.60, 0.35, 0.05], [0.30, 0.30, 0.40]], dtype=torch.float64)
world = LetterWorld.markov("abk", 4, start, after)  # row of `after`: what follows a, b, k

with_k = torch.tensor(["k" in text for text in world.texts])
print(f"texts {len(world.texts)}: {', '.join(world.texts[:4])}, …   probabilities sum to {world.probs.sum():.3f}")
print(f"p(c), the share of texts with a k: {world.probs[with_k].sum():.3f}")

# %% [markdown]
# ## What is known so far
#
# Four chances add up: far more texts than letters. While a text is being written, its end is unknown. What can be
# known after a prefix is the *probability* that the condition will come true, $h(x_{\le t}) = p(c \mid x_{\le t})$.
# It starts at $h(\text{""}) = p(c)$. At the end it is 0 or 1. In between the language model's own habits decide: how
# many letters are left, and is `k` likely after this one?
#
# `world.posterior` computes $h$ for every prefix, backwards: $h$ of a prefix is the average of $h$ over its next
# letters, weighted by the model. In other words, on average $h$ does not move; only surprises move it.
#
# **Before you run**: we follow `baba`, `abak` and `kaba` letter by letter. `a` is often followed by `k`, `b` hardly
# ever. Which letter costs more hope, an `a` or a `b`? Can writing a letter that is not `k` ever *raise* hope?

# %% tags=["figure", "nbval-check-output"]
h = world.posterior(world.contains("k"))
steps = range(world.T + 1)
walks = {text: (steps, [h(text[:t]) for t in steps]) for text in ("baba", "abak", "kaba")}
title = "Knowledge jumps to 1 with the k; before it, every b costs hope"
plot.curves(walks, "letters written", "h = p(c | prefix)", title)

# %% [markdown]
# `baba` fades to 0 in jumps: each `b` is expensive, the `a` between them costs almost nothing, and the last letter
# ends all hope. `abak` even gains a little at its second `a`, because `k` likes to follow `a`, and is rescued by its
# last letter. `kaba` is settled after one.
#
# ## Bayes, one letter at a time
#
# Now the question from above. We want the next letter *given* the condition. One line of Bayes' rule:
#
# $$p(x_t \mid x_{<t}, c) \;=\; \frac{p(x_t \mid x_{<t})\;\, p(c \mid x_{<t}, x_t)}{p(c \mid x_{<t})}
#   \;=\; p(x_t \mid x_{<t}) \, \frac{h(x_{\le t})}{h(x_{<t})}$$
#
# Take logs. The first factor is the language model's logit. The second, $\log h(x_{\le t})$, depends on the next
# letter. The denominator does not, so softmax will supply it. Hence the second expert's perfect logits are
# `aux_logits[v]` $= \log h(x_{<t}\,v)$, and adding logits is not a trick: **it is Bayes' rule**.
#
# **Before you run**: the cell also computes the answer the slow way, by listing all texts that contain a `k`. After
# `aba`, one letter is left. What will the sum say about `a` and `b`?

# %% tags=["nbval-check-output"]
truth = world.conditional(world.contains("k"))  # p(x | c) for all 81 texts, no steps involved
for prefix in ("", "ab", "aba", "ka"):
    lm_logits, aux_logits = world.next_log_probs(prefix), h.after(prefix).log()
    by_sum = (lm_logits + aux_logits).softmax(-1)
    by_list = world.next_from(truth, prefix)
    row = "  ".join(f"{letter} {p:.3f}" for letter, p in zip("abk", by_sum, strict=True))
    print(f"after {prefix!r:6} {row}   agrees with the list: {torch.allclose(by_sum, by_list, atol=1e-10)}")

# %% [markdown]
# After `aba` the auxiliary vetoes `a` and `b`: only `k` can still make the condition true. After `ka` it says the
# same about every letter, and the answer is the language model's own row for `a`. An expert whose wish is granted
# falls silent.
#
# ## The constant nobody can see
#
# We left out the denominator $h(x_{<t})$ and softmax put it back. The number that it divides by is
#
# $$Z = \sum_v p(v \mid x_{<t})\, h(x_{<t}\,v) = h(x_{<t}), \qquad \texttt{log\_z} = \log h(x_{<t}).$$
#
# The normaliser of the step *is* what was known before the step. And any other constant, the same for all letters of
# a row, disappears too. What an expert does to the text tells us its logits only up to one constant per row.
#
# **Before you run**: we add 5 to all auxiliary logits. What happens to `log_z`, to the probabilities, and to the
# logits after `center`, which subtracts their mean?

# %%
prefix = "ab"
lm_logits, aux_logits = world.next_log_probs(prefix), h.after(prefix).log()
print(f"h({prefix!r}) = {h(prefix):.3f}")
for constant in (0.0, 5.0, -math.log(h(prefix))):
    joint_logits = lm_logits + aux_logits + constant
    probs, centred = joint_logits.softmax(-1), center(aux_logits + constant)
    z = joint_logits.logsumexp(-1).exp()
    print(f"constant {constant:5.2f}   exp(log_z) {z:6.3f}   p(k) {probs[2]:.3f}   centred k {centred[2]:.3f}")

# %% [markdown]
# Only `log_z` moved. With the constant $-\log h(x_{<t})$ the sum is already normalised, `exp(log_z)` is 1: this is
# the version of the auxiliary that *is* Bayes' rule, denominator included. When you compare a learned auxiliary with
# the exact one, centre both first; otherwise you compare constants that mean nothing.
#
# ## A small erratum
#
# You may meet the step formula in print with $p(c)$ in the denominator instead of $p(c \mid x_{<t})$; a well-known
# survey has it so. It is an easy slip, since $p(c)$ is right for *whole* texts: $p(x \mid c) = p(x)\,p(c \mid
# x)/p(c)$. For one step it is right at the first letter only.
#
# **Before you run**: with $p(c)$ below the line, will the "probabilities" after `aba` sum to more than one, or less?
# And after `k`?

# %% tags=["figure", "nbval-check-output"]
shown = ["", "a", "b", "k", "ab", "aa", "aba", "abk"]
sums = {"divided by p(c)": [], "divided by p(c | prefix)": []}
for prefix in shown:
    numerator = world.next_log_probs(prefix).exp() * h.after(prefix)
    sums["divided by p(c)"].append(float(numerator.sum()) / h(""))
    sums["divided by p(c | prefix)"].append(float(numerator.sum()) / h(prefix))
labels = ["(start)", *shown[1:]]
title = "Only the denominator that knows the prefix gives probabilities"
plot.bars(sums, labels, title, ylabel="sum over next letters", xlabel="prefix")

# %% [markdown]
# After `aba` hope is low, so dividing by the old, higher $p(c)$ leaves too little; after `k` all is settled and the
# division leaves too much. The row sums to $h(x_{<t})/p(c)$: exactly how far the prefix has moved our knowledge. A
# softmax would repair it silently, which is why nobody notices.

# %% [markdown] tags=["task:2.2"]
# > **Exercise 2.2 · per-step Bayes**
# >
# > Write `step_posterior(prior, h_next, h_now)`: `prior [V]` is $p(v \mid x_{<t})$, `h_next [V]` is $h(x_{<t}\,v)$
# > for each letter, `h_now` is the number $h(x_{<t})$. Return $p(v \mid x_{<t}, c)$, `[V]`. It must sum to one
# > *without* being normalised.
#
# *What if* `h_now` is 0? No continuation can make the condition true, and "given c" has no meaning after this prefix.
# What should a program do then: return zeros, fall back to the prior, or refuse?


# %% tags=["exercise:2.2"]
def step_posterior(prior, h_next, h_now):
    """Next-letter distribution given the condition: ``[V]``, ``[V]`` and a number to ``[V]``."""
    # SOLUTION
    return prior * h_next / h_now
    # END


# %% tags=["check:2.2", "nbval-check-output"]
check("2.2", step_posterior)
step_posterior = use("2.2", step_posterior)

# %% [markdown]
# ## The telescoping product
#
# One letter at a time is how texts are written. But what we want is about *whole texts*: draw from $p(x \mid c)$. Do
# many correct steps make a correct text? Multiply the steps of one text:
#
# $$\prod_t p(x_t \mid x_{<t}) \frac{h(x_{\le t})}{h(x_{<t})}
#   = p(x)\;\frac{h(x_{\le 1})}{h(\text{""})} \cdot \frac{h(x_{\le 2})}{h(x_{\le 1})} \cdots \frac{h(x)}{h(x_{<T})}
#   = p(x)\,\frac{p(c \mid x)}{p(c)}$$
#
# Each numerator is the next denominator. The chain folds up like a telescope, and only its two ends remain: this is
# where $p(c)$ has its place.
#
# **Before you run**: the table follows `aakb`. Which steps have a ratio below 1, and what is the ratio once `k` is
# there?

# %% tags=["nbval-check-output"]
text, running = "aakb", 1.0
for t in range(1, world.T + 1):
    ratio = h(text[:t]) / h(text[: t - 1])
    running *= ratio
    print(
        f"{text[:t]:4}  h {h(text[: t - 1]):.3f} → {h(text[:t]):.3f}   ratio {ratio:.3f}   product so far {running:.3f}"
    )
print(f"p(c | x) / p(c) = {h(text):.0f} / {h(''):.3f} = {h(text) / h(''):.3f}")

# %% [markdown]
# Both `a`s cost a little, since places for a `k` run out; the `k` more than makes up for it, and afterwards nothing
# changes: ratio 1. The product of all is $1/p(c)$: every text with a `k` becomes more likely by the same factor, and
# every text without becomes impossible.
#
# Now for all 81 texts at once. `world.distribution_of(policy)` asks a policy, any function from prefix to logits, for
# all its steps and multiplies them out. This is our referee: a hand-made or learned policy goes in, the exact
# probability of every text comes out.
#
# **Before you run**: what will be the share of texts with a `k`? And how far, at most, will any text's probability be
# from $p(x \mid c)$?


# %% tags=["nbval-check-output"]
def exact_policy(prefix):
    return world.next_log_probs(prefix) + world.exact_aux_logits(prefix, h)


by_steps = world.distribution_of(exact_policy)
print(f"share of texts with a k: language model {world.probs[with_k].sum():.3f}, product {by_steps[with_k].sum():.3f}")
print(f"largest difference from p(x | c) over {len(by_steps)} texts: {(by_steps - truth).abs().max():.6f}")

# %% [markdown]
# Exact, with no search, no rejected samples and no training of the language model. Everything rests on $h$ looking
# ahead.
#
# ## What if the expert does not look ahead?
#
# Some published methods press the keyword's logit up by a fixed amount until it appears. Nothing is asked about the
# rest of the text: the shift is *myopic*. To be fair to it, we give both methods the same aim. A witness says "it
# contains a `k`" and is wrong one time in ten; so texts with a `k` should become $0.9/0.1 = 9$ times more likely,
# relative to those without. The myopic method adds $\log 9$ to the logit of `k` until a `k` is there.
#
# **Before you run**: at each step the myopic odds are multiplied by 9. Where in the text will it put its first `k`,
# compared with the exact posterior: earlier, later, or the same?

# %% tags=["figure", "nbval-check-output"]
witness = noisy(world.contains("k"), error=0.1)
push = math.log(9) * torch.tensor([0.0, 0.0, 1.0])  # on k only


def myopic_policy(prefix):
    return world.next_log_probs(prefix) + (0.0 if "k" in prefix else 1.0) * push


wanted, myopic = world.conditional(witness), world.distribution_of(myopic_policy)
first = torch.tensor([text.find("k") % 5 for text in world.texts])  # 0 to 3, and 4 for "nowhere"
groups = {"language model": world.probs, "exact posterior": wanted, "myopic shift": myopic}
places = {name: [float(p[first == i].sum()) for i in range(5)] for name, p in groups.items()}
title = "The myopic shift blurts out the k at once; the posterior waits its turn"
plot.bars(places, ["1st", "2nd", "3rd", "4th", "nowhere"], title, xlabel="place of the first k")

# %% [markdown]
# The myopic shift does write the `k`, more often than was asked, and far too often at once. The exact posterior keeps
# the proportions of the language model: its first four bars are the model's, all raised by the same factor.
#
# Why do they differ, when both add logits? Multiply the myopic steps: each was divided by its own normaliser, so the
# chain is $p(x)\,9^{[k \in x]}$ divided by $\prod_t Z_t(x_{<t})$, and *those normalisers differ from prefix to
# prefix*. No telescope folds them up. The cure is to replace the push by what it will come to, on average over the
# text's future: $h(x_{\le t}) = \mathbb{E}\,[\,9^{[k \in x]} \mid x_{\le t}\,]$, up to a constant. That is the
# witness's posterior.
#
# **Before you run**: which of the three rows below ends at distance 0 from the wanted distribution?

# %% tags=["nbval-check-output"]
w = world.posterior(witness)
ahead = world.distribution_of(lambda prefix: world.next_log_probs(prefix) + w.after(prefix).log())
for name, q in {"language model": world.probs, "myopic shift": myopic, "looking ahead": ahead}.items():
    distance = 0.5 * (q - wanted).abs().sum()
    drift = kl(q.log(), world.probs.log())
    print(f"{name:15} texts with k {q[with_k].sum():.3f}   drift KL(q‖p) {drift:.3f} nats   distance {distance:.3f}")

# %% [markdown]
# Looking ahead hits the target exactly. The myopic shift overshoots and drifts further from the language model than
# anybody wanted: a push is not a condition.
#
# ## λ, the dial
#
# A real auxiliary model will be neither perfect nor sure. So we keep one dial, the **weight** λ:
# `joint_logits = lm_logits + λ * aux_logits`. At $\lambda = 0$ the language model is alone, at 1 it is Bayes' rule,
# above 1 we press harder than the evidence allows. Below 0 we push *away*. In probabilities each step is the
# geometric path $q_\lambda \propto p(v \mid x_{<t})^{1-\lambda}\; p(v \mid x_{<t}, c)^{\lambda}$.
#
# We use the noisy witness: with a hard rule, whose logits may be $-\infty$, any λ above 0 would already put a `k`
# into every text.
#
# **Before you run**: which curve flattens as λ grows, the share of texts with a `k` or the drift from the language
# model?

# %% tags=["figure", "nbval-check-output"]
weights = torch.linspace(-1, 4, 21).tolist()
share, drift = [], []
for weight in weights:
    q = world.distribution_of(lambda x, lam=weight: world.next_log_probs(x) + lam * w.after(x).log())
    share.append(float(q[with_k].sum()))
    drift.append(float(kl(q.log(), world.probs.log())))
panels = {"texts with k": share, "drift (nats)": drift}
plot.weight_sweep(weights, panels, "More λ, more keyword, until only the drift still grows")

# %% [markdown]
# Control rises all the way but soon has little left to win, while drift, zero only at $\lambda = 0$, keeps growing.
# That the dial never turns backwards is a law, at least within one step. Write $a$ for the auxiliary logits and
# $\mathbb{E}_\lambda$ for the average under $q_\lambda$. Then
#
# $$\frac{d}{d\lambda}\, \mathbb{E}_\lambda[a]
#   = \mathbb{E}_\lambda[a^2] - \mathbb{E}_\lambda[a]^2 = \mathrm{Var}_\lambda(a) \ge 0 .$$
#
# The expected score rises at the rate at which letters still *differ* in score; when one letter has taken everything
# there is nothing left to gain.
#
# A caution: only $\lambda = 0$ and $\lambda = 1$ telescope. The steps of $\lambda = 2$ do **not** multiply to
# $p(x)\,p(c \mid x)^2$ renormalised; doubling a look-ahead is not looking ahead for the double.
#
# **Before you run**: two columns of the table should agree. And in the last lines, which distance will not be zero?

# %%
lm_logits, a = world.next_log_probs("ab"), w.after("ab").log()


def score(lam):
    return ((lm_logits + lam * a).softmax(-1) * a).sum()


for lam in (0.0, 1.0, 2.0):
    spread = ((lm_logits + lam * a).softmax(-1) * (a - score(lam)) ** 2).sum()
    slope = (score(lam + 1e-4) - score(lam - 1e-4)) / 2e-4
    print(f"λ {lam:.0f}   expected score {score(lam):.4f}   slope {slope:.4f}   variance {spread:.4f}")
for lam in (0.0, 1.0, 2.0):
    by_step = world.distribution_of(lambda x, lam=lam: world.next_log_probs(x) + lam * w.after(x).log())
    by_text = (world.probs.log() + lam * w.levels[-1].log()).softmax(-1)
    print(f"λ {lam:.0f}   distance between steps and whole texts {0.5 * (by_step - by_text).abs().sum():.3f}")

# %% [markdown]
# Slope and variance agree, and the dial at 2 does something to whole texts that no formula for whole texts announced.

# %% [markdown] tags=["task:2.3"]
# > **Exercise 2.3 · the λ family**
# >
# > Write `turn_dial(lm_logits, aux_logits, weights)`: `lm_logits [V]`, `aux_logits [V]` and `weights [L]`, all λ ≥ 0.
# > Return `[L, V]`: one distribution for each λ. The row for $\lambda = 0$ must be the language model's *exactly*,
# > even where the auxiliary vetoes a letter. A silent expert has no veto.
#
# *What if* λ were negative and met a veto? The product would be $+\infty$: insist on the impossible. The library
# refuses; would you?


# %% tags=["exercise:2.3"]
def turn_dial(lm_logits, aux_logits, weights):
    """The λ family of products: ``[V]``, ``[V]`` and ``[L]`` to ``[L, V]`` probabilities."""
    # SOLUTION
    scaled = torch.where(weights[:, None] == 0, 0.0, weights[:, None] * aux_logits)
    return (lm_logits + scaled).softmax(-1)
    # END


# %% tags=["check:2.3", "nbval-check-output"]
check("2.3", turn_dial)
turn_dial = use("2.3", turn_dial)

# %% [markdown] tags=["task:2.4"]
# One debt is left from above: what *would* make every text $p(c \mid x)^2$ times as likely? An expert who looks ahead
# for the square. Give each whole text the score $p(c \mid x)^2$, and let $h$ of a prefix be the score to be expected
# from there, averaged backwards as `world.posterior` did for us. It is time to write that yourself. In `world.tables`,
# `tables[t]` is `[V**t, V]`: a row for every prefix of $t$ letters, in alphabetical order, with the model's
# probabilities of the next letter.
#
# > **Exercise 2.4 · look ahead**
# >
# > Write `look_ahead(tables, score)`: `tables` are T such tables, `score [V**T]` is a number for every text, in the
# > same order. Return T + 1 levels, from the empty prefix to whole texts: level t, `[V**t]`, is the score to be
# > expected after each prefix of t letters. The last level is `score` itself.
#
# *What if* there were 49,152 letters and 30 places? Which line of your function could still be run, and what would you
# put in the place of the others?


# %% tags=["exercise:2.4"]
def look_ahead(tables, score):
    """Expected score after every prefix: T tables ``[V**t, V]`` and ``[V**T]`` to T + 1 levels, ``[V**t]`` each."""
    # SOLUTION
    levels = [score]
    for table in reversed(tables):
        levels.insert(0, (table * levels[0].view_as(table)).sum(-1))
    return levels
    # END


# %% tags=["check:2.4", "nbval-check-output"]
check("2.4", look_ahead)
look_ahead = use("2.4", look_ahead)

# %% [markdown]
# Now the debt can be paid. For each λ the cell raises the witness's word on whole texts, $p(c \mid x)$, to the power of
# λ, looks ahead with your function, and lets the library's `Posterior` find the rows.
#
# **Before you run**: the last column held a large distance for $\lambda = 2$ before. What will it hold now?

# %% tags=["nbval-check-output"]
for lam in (0.0, 1.0, 2.0):
    ahead = Posterior("abk", tuple(look_ahead(world.tables, w.levels[-1] ** lam)))
    by_step = world.distribution_of(lambda x, ahead=ahead: world.next_log_probs(x) + ahead.after(x).log())
    by_text = (world.probs.log() + lam * w.levels[-1].log()).softmax(-1)
    print(f"λ {lam:.0f}   distance between steps and whole texts {0.5 * (by_step - by_text).abs().sum():.3f}")

# %% [markdown]
# Zero everywhere: whatever is asked of whole texts, an expert who looks ahead *for that* delivers it step by step. The
# dial is the cheap way, one number and no new $h$, and this is what it costs.
#
# ## The same in the library
#
# You have now built all of `auxlib.product`. The library's `combine` takes logits of many rows, `[B, V]`, and a list
# of terms, each a weight and an auxiliary's logits; a weight is one number or one per row. It adds them out of place
# and in at least 32 bits, treats a veto as you did, and leaves the softmax to the caller. From the next notebook on
# we import it.
#
# Below, four rows of one batch: the same prefix under four weights. All four of your functions have a part in it.
#
# **Before you run**: which row should equal the language model, and which should equal `step_posterior`?

# %% tags=["nbval-check-output"]
prefix, lams = "ab", torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)
lm_logits = world.next_log_probs(prefix).expand(4, -1)
aux_logits = w.after(prefix).log().expand(4, -1)
joint_logits = combine(lm_logits, [(lams, aux_logits)])
probs = joint_logits.softmax(-1)
print(f"joint logits {tuple(joint_logits.shape)}  (batch, vocabulary)")
print("p(k) for each λ:             ", [round(p, 3) for p in probs[:, 2].tolist()])
print("row 0 is the language model: ", torch.allclose(probs[0], lm_logits[0].exp()))
posterior = step_posterior(lm_logits[1].exp(), w.after(prefix), w(prefix))
print("row 1 is step_posterior:     ", torch.allclose(probs[1], posterior))
print("row 3 is combine_two:        ", torch.allclose(probs[3:], combine_two(lm_logits[3:], 4 * aux_logits[3:])))
print("all rows are turn_dial:      ", torch.allclose(probs, turn_dial(lm_logits[0], aux_logits[0], lams)))
print("w is what look_ahead finds:  ", torch.allclose(look_ahead(world.tables, w.levels[-1])[2], w.levels[2]))
print("mixture agrees with the mean:", torch.allclose(mixture(pair.exp()), (lm_probs + aux_probs) / 2))

# %% [markdown]
# Rows 0 and 1 are the two ends that you know; the others press harder. The ten lines of this notebook and the library
# agree.
#
# ## What you take with you
#
# - Adding logits multiplies distributions: a **product** of experts, an AND with a veto. Averaging probabilities is
#   an OR.
# - The perfect second expert says `aux_logits[v]` $= \log p(c \mid x_{<t}, v)$, plus any constant per row. Then the
#   sum is Bayes' rule, with `log_z` $= \log p(c \mid x_{<t})$: what is known **so far**.
# - Correct steps telescope to the correct text: $\prod_t h(x_{\le t})/h(x_{<t}) = p(c \mid x)/p(c)$.
# - That needs looking ahead. A myopic push is not a condition: it overshoots, and puts the keyword in the wrong
#   places.
# - λ is a dial: 0 the model, 1 the posterior, more is more; within a step it never turns backwards.
#
# ## Quiz
#
# **1.** An auxiliary gives every letter the logit 3. What does it change?
# <details><summary>Answer</summary>Nothing. It is one constant for the whole row, and softmax divides it away. The
# zero auxiliary and this one are the same expert; centred, both are 0.</details>
#
# **2.** Somebody normalises the auxiliary's logits with a log-softmax before adding them "so that both experts are
# proper distributions". What changes in the text that comes out?
# <details><summary>Answer</summary>Nothing again, and for the same reason: log-softmax subtracts one number per row.
# What changes is <code>log_z</code>, which then no longer tells you p(c | prefix).</details>
#
# **3.** A colleague reports that a fixed push on the keyword reaches 95 %<!-- myopic shift … texts with k --> of texts,
# and your exact auxiliary only 86 %<!-- looking ahead … texts with k -->, as asked of it. Is theirs the better
# controller?
# <details><summary>Answer</summary>Not by that figure alone: control can be bought with drift. Ask for the KL from
# the language model at equal success: give your witness a smaller error until both reach 95 %. Among all
# distributions with the same success rate the smallest drift belongs to the one that keeps the model's proportions
# among the texts with the keyword, and among those without. That is your exact auxiliary, whatever the witness's
# error.</details>
#
# ## Onward
#
# We could compute $h$ because the world was tiny. In a real language there are too many futures to list. The next
# notebook, [Learning the missing expert](03_learning_the_missing_expert.ipynb), shows that plain maximum likelihood
# finds the very same auxiliary from examples alone, and uses this notebook's exact answer to grade it.
