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
from auxlib.product import center, kl
from course.exercises import check, use
from course.letters import LetterWorld
from course.sliders import Sliders

torch.set_default_dtype(torch.float64)  # so that what should be 0 prints as 0
print(f"profile: {PROFILE}")

# %% [markdown]
# ## A score for each letter
#
# Our alphabet has five letters: `a`, `e`, `n`, `s` and `t`. A language model has read `tea` and is asked for the next
# letter. It answers with five numbers, one for each letter, any size, any sign. They are called **logits**, and every
# language model speaks this way, only with fifty thousand numbers in the place of five.
#
# To act on them we need probabilities: numbers that are not negative and sum to one. **Softmax** makes them in two
# steps. It takes `exp` of every logit, and divides by the sum of all:
#
# $$q_v = \frac{e^{l_v}}{Z}, \qquad Z = \sum_w e^{l_w}, \qquad \texttt{log\_z} = \log Z .$$
#
# **Before you run**: `n` has the logit 2 and `s` has the logit 1. Is `n` twice as probable as `s`? And will `a`, whose
# logit is negative, get anything?


# %% tags=["figure", "nbval-check-output"]
def softmax(logits):
    return logits.exp() / logits.exp().sum(-1, keepdim=True)


letters = "aenst"
lm_logits = torch.tensor([-1.0, 0.0, 2.0, 1.0, 0.5])  # over a, e, n, s, t
plot.bars(
    {"language model": softmax(lm_logits)},
    letters,
    "Every letter gets something, n the most",
    xlabel="letter after “tea”",
)

# %% [markdown]
# `n` is not twice as probable, but $e \approx 2.718$ times. Divide two of the formulas above, and $Z$ falls out:
#
# $$\log \frac{q_v}{q_w} = l_v - l_w .$$
#
# So a *difference* of two logits has a plain meaning: it is the **log-odds** of one letter against the other. One more
# means $e$ times as probable; zero means alike; minus one, $e$ times less. A single logit has no such meaning: 2 says
# nothing until you know what the others got. And since `exp` is never zero, every letter with a finite logit keeps a
# chance.
#
# **Before you run**: we add 5 to all logits, take away 100, and multiply by 2. Which of these does the model's
# opinion survive?


# %% tags=["nbval-check-output"]
def row(values):
    return "  ".join(f"{letter} {float(value):6.3f}" for letter, value in zip(letters, values, strict=True))


changes = {"as they were": lm_logits, "plus 5": lm_logits + 5, "minus 100": lm_logits - 100, "times 2": 2 * lm_logits}
for name, changed in changes.items():
    print(f"{name:12}  {row(softmax(changed))}")

# %% [markdown]
# ## The constant nobody can see
#
# Adding a constant changes nothing: $e^{l_v + c} = e^c e^{l_v}$, and $e^c$ stands above and below the line. Multiplying
# does change the opinion, since it multiplies the log-odds; we come back to that.
#
# Physicists call such a freedom a *gauge*: sea level is zero by agreement, and only differences in height make water
# flow. Of five logits only four numbers are opinion; the fifth is agreement. This is the one idea of this notebook:
# **a logit means something only up to a constant**.
#
# One can agree. `center` subtracts the mean; then above 0 reads "rather this letter". `log_softmax` subtracts `log_z`;
# then every logit *is* a log-probability. Same opinion, two ways to write it down.
#
# **Before you run**: five quantities, before and after adding 5. Which of them move?


# %% tags=["nbval-check-output"]
def quantities(logits):
    log_z, n, s = logits.logsumexp(-1), logits[2], logits[3]
    return {"logit of n": n, "log_z": log_z, "n minus s": n - s, "log q(n)": n - log_z, "centred n": center(logits)[2]}


before, moved = quantities(lm_logits), quantities(lm_logits + 5)
for name in before:
    print(f"{name:11} {before[name]:6.3f} → {moved[name]:6.3f}")

# %% [markdown]
# The first two move, by exactly 5; they hold the constant. The other three are differences, so it cancels. Make it a
# habit to ask of any number that somebody computes from logits: *does it move when I add 5?* If so, it is not about the
# model's opinion.
#
# ## Exponentials that explode
#
# A freedom can be of use. `exp` grows fast, and a computer's numbers end somewhere: for `float32`, in which models
# compute, shortly after $e^{88}$; for the `float64` of this notebook after $e^{709}$.
#
# **Before you run**: we hand the same opinion to our own softmax with larger and larger constants. What do you expect
# instead of probabilities, once `exp` overflows? What if it *under*flows, all five to zero?

# %% tags=["nbval-check-output"]
for constant in (0, 80, 100, -80, -200):
    print(f"constant {constant:4d}   {row(softmax(lm_logits.float() + constant))}")

# %% [markdown]
# Infinity divided by infinity is `nan`, "not a number", and so is zero by zero. The cure is the freedom itself:
# *choose* the constant so that the largest logit is 0. Then no `exp` exceeds 1, and one of them equals 1, so the sum is
# neither infinite nor zero. For the logarithm this is the **log-sum-exp** trick, with $m$ the largest logit:
#
# $$\log \sum_w e^{l_w} = m + \log \sum_w e^{l_w - m} .$$

# %% [markdown] tags=["task:1.1"]
# > **Exercise 1.1 · a log-softmax that survives**
# >
# > Write `stable_log_softmax(logits)`: `logits [B, V]` to log-probabilities `[B, V]`, one opinion for each row,
# > $\log q_v = l_v - \texttt{log\_z}$. Use `exp`, `log`, `max` and `sum`, and none of torch's ready-made softmaxes.
# > Logits may be near 1,000, lie 1,000 apart, or be $-\infty$. Leave the input as it is.
#
# *What if* you took the logarithm of a softmax that is itself stable? For which letters would the answer still be
# wrong, and why do just these matter when a model is surprised?


# %% tags=["exercise:1.1"]
def stable_log_softmax(logits):
    """Logits ``[B, V]`` to log-probabilities ``[B, V]``, for logits of any size."""
    # SOLUTION
    shifted = logits - logits.max(-1, keepdim=True).values
    return shifted - shifted.exp().sum(-1, keepdim=True).log()
    # END


# %% tags=["check:1.1", "nbval-check-output"]
check("1.1", stable_log_softmax)
stable_log_softmax = use("1.1", stable_log_softmax)

# %% [markdown]
# ## Temperature
#
# Back to multiplication. By custom one divides, by a **temperature** $T > 0$: the opinion becomes
# $\mathrm{softmax}(l / T)$, and every log-odds is divided by $T$. The order of the letters cannot change. What changes
# is how much the order matters.
#
# **Before you run**: where do the five curves go when it gets very cold, $T \to 0$? Where when it gets very hot? And
# can a curve turn on its way, first up and then down?

# %% tags=["figure", "nbval-check-output"]
temperatures = torch.logspace(-1, 1, 25)
heated = stable_log_softmax(lm_logits / temperatures[:, None]).exp()  # [temperatures, V]
lines = {letter: (temperatures, heated[:, v]) for v, letter in enumerate(letters)}
title = "Cold: the favourite takes all. Hot: nobody is heard"
plot.curves(lines, "temperature T", "probability", title, log_x=True)

# %% [markdown]
# Cold gives everything to the favourite, heat gives everybody a fifth. In between a curve may turn: `s`, the second,
# has its best time when `n` no longer takes all and the others do not yet count. Temperature does not make a model know
# more or less. It says how strictly its ranking is to be followed.
#
# ## Drawing a letter
#
# A model that writes has to choose. Lay the five probabilities end to end and they cover the line from 0 to 1, like
# steps of a stair seen from above. Throw a uniform number $u$ at the line: the step that it hits is the letter. Each is
# hit as often as its step is wide, and nothing else is needed. The ends of the steps are the running sums
# (`cumsum`), and the method has a long name: sampling by the *inverse CDF*.
#
# **Before you run**: the steps come in the order `a e n s t`, and `n` holds more than half. Which letter does
# `u = 0.5` hit? Which does `u = 0.99`?

# %% tags=["nbval-check-output"]
stairs = softmax(lm_logits).cumsum(-1)
print(f"the steps end at  {row(stairs)}")
for u in (0.01, 0.1, 0.5, 0.7, 0.99):
    print(f"u = {u:.2f} hits {letters[int((stairs <= u).sum())]}")

# %% [markdown] tags=["task:1.2"]
# > **Exercise 1.2 · draw, at a temperature**
# >
# > Write `draw_letters(logits, u, temperature)`: `logits [B, V]`, `u [B]` with one uniform number in $[0, 1)$ for each
# > row, `temperature` a number above 0. Return the index of each row's letter, `[B]`. All the chance is in `u`: the
# > same `u` must give the same letters. A letter of probability 0 is never drawn, and no index lies beyond the last
# > letter, however close to 1 `u` may come.
#
# *What if* two models are given the same `u`, and nearly the same logits? How often will they write the same letter?
# And if each had a `u` of its own?


# %% tags=["exercise:1.2"]
def draw_letters(logits, u, temperature):
    """Sample by the inverse CDF: logits ``[B, V]`` and ``u [B]`` in [0, 1) to indices ``[B]``."""
    # SOLUTION
    stairs = (logits / temperature).softmax(-1).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)
    # END


# %% tags=["check:1.2", "nbval-check-output"]
check("1.2", draw_letters)
draw_letters = use("1.2", draw_letters)

# %% [markdown]
# ## How many draws until you believe it?
#
# Draw often, and the share of each letter approaches its probability. How fast? Each draw is a coin for "was it an
# `n`?", and the share of $n$ coins scatters around the truth by $\sqrt{q(1-q)/n}$.
#
# **Before you run**: a hundred times as many draws. Is the error a hundred times smaller, fifty times, or ten?

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(SEED)
for n in (10, 100, 1_000, 10_000):
    u = torch.rand(40 * n, generator=generator)  # forty people draw n letters each
    drawn = draw_letters(lm_logits.expand(40 * n, -1), u, temperature=1.0).reshape(40, n)
    shares = torch.stack([(drawn == v).double().mean(-1) for v in range(5)], -1)
    error = (shares - softmax(lm_logits)).square().mean().sqrt()
    print(f"{n:6d} draws   typical error {error:.3f}   error · √n {error * math.sqrt(n):.1f}")

# %% [markdown]
# Ten times: each further digit costs a hundred times the work. The last column hardly moves, which is what $1/\sqrt n$
# means. Remember it when a table compares two methods on a hundred samples and they differ by three in a hundred. In
# this world of letters we shall mostly *list* all that can happen, and have no error at all.
#
# ## What an opinion costs
#
# Here is such a world. Its texts have four letters, and each letter depends on the one before: after a vowel most often
# a consonant, after `s` often a `t`. There are $5^4 = 625$ texts, and we know the probability of each. That is the
# truth; a model's opinion $q$ is one thing, the world's $p$ another.
#
# How good is an opinion? Wait for the letter $y$ that really comes, and charge $-\log q_y$, the **negative log
# likelihood**, counted in *nats*. Whoever was sure and right pays nothing; 1 in 5 costs $\log 5$, which is
# 1.609<!-- no opinion … loss -->; what was called impossible costs infinity. On average over the world the charge is
# the **cross entropy** $-\sum_v p_v \log q_v$.
#
# **Before you run**: five opinions about the letter after `tea`. One of them is the truth itself. Does it pay nothing?

# %% tags=["nbval-check-output"]
start = torch.tensor([0.10, 0.10, 0.20, 0.35, 0.25])
after = torch.tensor(
    [
        [0.02, 0.03, 0.40, 0.25, 0.30],  # after a come a, e, n, s, t
        [0.10, 0.05, 0.35, 0.25, 0.25],
        [0.25, 0.40, 0.02, 0.13, 0.20],
        [0.25, 0.25, 0.02, 0.03, 0.45],
        [0.30, 0.45, 0.01, 0.22, 0.02],
    ]
)
world = LetterWorld.markov(letters, 4, start, after)
print(
    f"{len(world.texts)} texts from {world.texts[0]} to {world.texts[-1]}, probabilities sum to {world.probs.sum():.3f}"
)

# %% tags=["nbval-check-output"]
log_p = world.next_log_probs("tea")
entropy = -(log_p.exp() * log_p).sum()
opinions = {"the truth": log_p, "our model": lm_logits, "no opinion": torch.zeros(5)}
opinions |= {"twice as sure": 2 * log_p, "half as sure": log_p / 2}
for name, logits in opinions.items():
    log_q = logits.log_softmax(-1)
    loss = -(log_p.exp() * log_q).sum()
    print(f"{name:13}  loss {loss:.3f} = entropy {entropy:.3f} + KL(p‖q) {kl(log_p, log_q):.3f} nats")

# %% [markdown]
# Even the truth pays. What it pays is the **entropy** of the world: what nobody can know beforehand. Everything above
# is the model's own fault, and has a name as well, the Kullback-Leibler divergence:
#
# $$\underbrace{-\sum_v p_v \log q_v}_{\text{loss}} \;=\; \underbrace{-\sum_v p_v \log p_v}_{\text{entropy}}
#   \;+\; \underbrace{\sum_v p_v \log \frac{p_v}{q_v}}_{\mathrm{KL}(p \| q)\; \ge\; 0} .$$
#
# KL is zero only where $q = p$. So a loss of 0 is not the aim: the aim is a number that for real text nobody knows. For
# this world we have just computed it.
#
# **Before you run**: we heat and cool *the truth*. Where is the lowest point of its loss, and how low? Of 10,000 random
# opinions, how many will lie below the entropy?

# %% tags=["figure", "nbval-check-output"]
rivals = torch.rand(10_000, 5, generator=generator)
rivals = (rivals / rivals.sum(-1, keepdim=True)).log()
print("random opinions below the entropy:", int((-(rivals @ log_p.exp()) < entropy).sum()))
temperatures = torch.logspace(-0.5, 1, 31)
losses = -(log_p / temperatures[:, None]).log_softmax(-1) @ log_p.exp()
title = "The loss touches the entropy where the model is the truth, T = 1"
plot.curves({"loss": (temperatures, losses)}, "temperature T", "loss (nats)", title, {"entropy": entropy}, log_x=True)

# %% [markdown]
# Too cautious costs at most $\log 5$, too sure has no limit. The cheapest thing to say is what one believes to be true:
# this loss rewards honesty, and that is why a trained model's probabilities mean something. A model that is already the
# truth becomes a *worse predictor* at any temperature but 1, though perhaps a writer whom people prefer.
#
# ## What a learner can feel
#
# A model learns by following the slope of its loss. Write the loss as $\texttt{log\_z} - l_y$, where $y$ is the letter
# that came. Its gradient and its curvature (the Hessian, all second derivatives) are short:
#
# $$\frac{\partial\, \text{loss}}{\partial l} = q - y, \qquad
#   \frac{\partial^2 \text{loss}}{\partial l^2} = \mathrm{diag}(q) - q\,q^{\mathsf T},$$
#
# with $y$ as a row of zeros and a single 1. The gradient is *what you said minus what came*.
#
# **Before you run**: the model reads `tea`, and a `t` comes. Which logits are pushed up, which down (learning walks
# *against* the gradient)? What is the sum of the five pushes? One of the five curvatures is special. Which value is it?

# %% tags=["nbval-check-output"]
came = letters.index("t")
logits = lm_logits.clone().requires_grad_()
(-logits.log_softmax(-1)[came]).backward()
q, y = softmax(lm_logits), torch.eye(5)[came]
print(f"gradient  {row(logits.grad)}   sum {logits.grad.sum().abs():.6f}")
print(f"q − y     {row(q - y)}")
hessian = torch.autograd.functional.hessian(lambda x: -x.log_softmax(-1)[came], lm_logits)
print("Hessian is diag q − q qᵀ:", torch.allclose(hessian, q.diag() - q.outer(q)))
print(f"Hessian times (1, 1, 1, 1, 1): {(hessian @ torch.ones(5)).abs().max():.6f}")
print("curvatures:", "  ".join(f"{value.abs():.3f}" for value in torch.linalg.eigvalsh(hessian)))

# %% [markdown]
# Only `t` is pushed up; the others are pushed down in proportion to what they had claimed. The pushes sum to zero, and
# the curvature along $(1, 1, 1, 1, 1)$ is zero: in this direction the loss is perfectly flat. A learner **cannot feel
# the constant**. Plain gradient descent leaves it where the first random numbers had put it, so two equally good models
# may differ in it as they like. Whenever this course compares two sets of logits it centres both first.
#
# ## A text is a sum
#
# Texts are written letter by letter, so their probability is a product of steps, and the logarithm makes it a sum:
#
# $$\log p(x) = \sum_{t=1}^{T} \log p(x_t \mid x_{<t}) .$$
#
# **Before you run**: which letter of `neat` will be the most expensive, and which of `sten`? Which text costs more?

# %% tags=["nbval-check-output"]
for text in ("neat", "sten", "aaaa"):
    steps = [-float(world.next_log_probs(text[:t])[letters.index(text[t])]) for t in range(4)]
    costs = "  ".join(f"{letter} {nats:.2f}" for letter, nats in zip(text, steps, strict=True))
    total = -float(world.log_prob([text]))
    print(f"{text}   {costs}   sum {sum(steps):.3f}   −log p(text) {total:.3f}   p {math.exp(-total):.6f}")

# %% [markdown]
# The steps add up to the text's own log-probability, and each cost points at a place where the model was surprised.
# Writing goes the same way: ask for logits, draw a letter, append it, ask again. Your function does the drawing.
#
# **Before you run**: we let the truth write 200 texts at each of three temperatures, and charge them at the world's
# prices. Which group is the cheapest? Is the cheapest also the best imitation of the world?


# %% tags=["nbval-check-output"]
def write(n, temperature):
    texts = [""] * n
    for _ in range(world.T):
        logits = torch.stack([world.next_log_probs(text) for text in texts])
        drawn = draw_letters(logits, torch.rand(n, generator=generator), temperature)
        texts = [text + letters[int(v)] for text, v in zip(texts, drawn, strict=True)]
    return texts


for temperature in (0.3, 1.0, 3.0):
    texts = write(200, temperature)
    price = -float(world.log_prob(texts).mean()) / world.T
    print(f"T {temperature}   {price:.2f} nats per letter   {len(set(texts)):3d} different   e.g.", *texts[:6])

# %% [markdown]
# Cold texts are cheap, and the same ones come again and again. The world's own texts are dearer, because a world says
# unlikely things too, each seldom but many in all. *Most probable* and *typical* are different virtues.
#
# A real model reads a whole batch at once and returns `logits [B, T, V]`: one row of logits after *each* letter.
# Position $t$ has read the letter at $t$. So it cannot be asked about it any more; it speaks about the letter which
# comes next, at $t + 1$. Holding the wrong two against each other is a common and costly mistake: nothing crashes, and
# the losses look plausible.

# %% [markdown] tags=["task:1.3"]
# > **Exercise 1.3 · the loss of a batch of texts**
# >
# > Write `text_losses(logits, ids)`: `logits [B, T, V]`, where `logits[:, t]` was computed after reading
# > `ids[:, : t + 1]`, and `ids [B, T]`, the letters as numbers. Return `[B]`: for each text the nats of all its letters
# > after the first, added up. (Nobody was asked about the first letter.)
#
# *What if* you forgot the shift, and then *trained* on this loss? What would the model learn to do, how low would the
# loss fall, and what would it write?


# %% tags=["exercise:1.3"]
def text_losses(logits, ids):
    """Nats of each text after its first letter: logits ``[B, T, V]`` and ids ``[B, T]`` to losses ``[B]``."""
    # SOLUTION
    log_probs = logits[:, :-1].log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1).sum(-1)
    # END


# %% tags=["check:1.3", "nbval-check-output"]
check("1.3", text_losses)
text_losses = use("1.3", text_losses)

# %% [markdown]
# Our world remembers only one letter, so the logits of a whole batch are one look into its table: `after.log()[ids]`
# holds, at each position, what comes after the letter that stands there.
#
# **Before you run**: the same three texts as above. By how much do your losses fall short of the sums in that table?

# %% tags=["nbval-check-output"]
texts = ["neat", "sten", "aaaa"]
ids = torch.tensor([[letters.index(letter) for letter in text] for text in texts])  # [B, T]
logits = after.log()[ids]
print(f"ids {tuple(ids.shape)}  (texts, letters)   logits {tuple(logits.shape)}  (texts, positions, alphabet)")
for text, first, rest in zip(texts, -start.log()[ids[:, 0]], text_losses(logits, ids), strict=True):
    print(f"{text}   first letter {first:.3f} + the others {rest:.3f} = {first + rest:.3f} nats")

# %% [markdown]
# By the price of the first letter, for which the batch holds no logits.
#
# ## Per letter
#
# Long texts cost more than short ones, so one divides by the number of letters: nats per letter. If the model is the
# truth, this is the world's **entropy rate**. Its `exp` has a name of its own, **perplexity**, and a picture: a model
# with perplexity 3 is as unsure as someone who picks one of 3 letters fairly.
#
# Texts seldom have equal lengths, and then it matters over what one averages. Suppose that a text of one letter cost
# 3 nats and a text of forty letters cost 40. Is the loss per letter near 1, or near 2?

# %% [markdown] tags=["task:1.4"]
# > **Exercise 1.4 · perplexity of unequal texts**
# >
# > Write `perplexity(losses, lengths)`: `losses [N]`, the nats of each text in all; `lengths [N]`, its number of
# > letters. Return one number. Every *letter* counts the same: cutting a text into two pieces must not change the
# > result.
#
# *What if* one model counts words and another counts letters? Both report nats per token. Which of the numbers
# *losses*, *lengths* and *perplexity* may you still compare?


# %% tags=["exercise:1.4"]
def perplexity(losses, lengths):
    """Perplexity of a set of texts: total nats ``losses [N]`` and ``lengths [N]`` in letters to one number."""
    # SOLUTION
    return (losses.sum() / lengths.sum()).exp()
    # END


# %% tags=["check:1.4", "nbval-check-output"]
check("1.4", perplexity)
perplexity = use("1.4", perplexity)

# %% [markdown]
# The answer to the question above is near 1: 43 nats in 41 letters. Averaging over the two texts would have said 2,
# because one unlucky letter spoke as loudly as forty.
#
# Now three models of our world, each on all 625 texts, weighted by how often they come: the truth, a model that only
# counts how frequent each letter is, and one without opinion. No sampling, so no error bars.
#
# **Before you run**: the last model's perplexity needs no computer. How far below it will the others come? And if we
# draw 200 texts and let the truth predict them, can its loss come out *below* the entropy rate?

# %% tags=["nbval-check-output"]
counts = torch.tensor([[text.count(letter) for letter in letters] for text in world.texts]).double()
frequent = (world.probs @ counts / world.T).log()
models = {
    "the truth": world.next_log_probs,
    "letter counts": lambda prefix: frequent,
    "no opinion": lambda prefix: 0 * frequent,
}
for name, policy in models.items():
    expected = -(world.probs @ world.distribution_of(policy).log()) / world.T
    print(f"{name:14} {expected:.3f} nats per letter   perplexity {expected.exp():.3f}")
print(f"entropy rate   {world.entropy_rate:.3f}")
lengths = torch.full((200,), world.T)
sets = [float(perplexity(-world.log_prob(write(200, temperature=1.0)), lengths)) for _ in range(10)]
print("perplexity of the truth on ten sets of 200 texts:", *(f"{value:.2f}" for value in sets))

# %% [markdown]
# Knowing the frequencies helps a little, knowing the previous letter helps more, and below the truth there is nothing.
# On a *sample* the truth comes out on either side of its 3.823<!-- the truth … perplexity -->: some samples are easier
# than others. "No model beats the entropy" is a law about averages over the world. A model that seems to beat it has
# been lucky, or has seen the test.
#
# ## Two opinions, two dials
#
# Our model of the first section is back, with its five logits after `tea`. Beside it stands somebody else, who has been
# told that the text is a plural. Of that opinion, too, only differences count: three more for `s` than for a vowel, two
# more than for `n` or `t`. The two opinions are added, with a weight λ, and the sum is heated:
# $\mathrm{softmax}\big((\texttt{lm\_logits} + \lambda\, \texttt{aux\_logits}) / T\big)$.
#
# In JupyterLab you can turn both dials: Tab goes to a slider, arrow keys move it. Elsewhere you see nine settings.
#
# **Before you run**: at λ = 0 `n` leads. Which dial can make another letter lead: λ, T, or both? At which setting are
# `n` and `s` equal?


# %% tags=["figure", "nbval-check-output"]
aux_logits = torch.tensor([-1.0, -1.0, 0.0, 2.0, 0.0])  # "it is a plural"


def both(weight, temperature):
    joint_logits = lm_logits + weight * aux_logits
    return {"next letter": (joint_logits / temperature).softmax(-1)}


title = "λ decides whose opinion counts, T how strictly it is followed"
Sliders(both, letters, title, weights=(0.0, 0.25, 0.5, 1.0, 1.5, 2.0), temperatures=(0.5, 0.7, 1.0, 1.4, 2.0))

# %% [markdown]
# Only λ. As it grows (in the frames: from left to right) `s` overtakes `n`: one behind in the first opinion, two ahead
# in the second, it draws level at λ = ½. As T grows (from top to bottom) the bars lose their differences, never their
# order. T asks *how strictly*, λ asks *whose opinion*.
#
# Two things should bother you. Why *add*? Averaging the two sets of probabilities would have been an answer too. And
# where do the numbers of the second opinion come from: is there a right value for "it is a plural"? Both wait in
# notebook 02.
#
# ## What you take with you
#
# - **A logit means something only up to a constant.** Differences are log-odds. Ask of every number: does it move when
#   I add 5? Centre before you compare.
# - The same freedom makes softmax safe: bring the largest logit to 0 first.
# - **Temperature** divides all log-odds. The order stays.
# - **Loss = entropy + KL.** The first part belongs to the world, and no model goes below it; only the second can be
#   learned away.
# - The gradient is *said minus came*. It sums to zero, so nobody learns the constant.
# - A text's log-probability is a sum over steps, each about the *next* letter. Average over letters, then `exp`:
#   perplexity.
# - Samples approach the truth like $1/\sqrt n$.
#
# ## Quiz
#
# **1.** Two models are trained on the same data. For the same prefix the first gives `n` a logit of 9, the second of 2.
# Which is more sure of `n`?
# <details><summary>Answer</summary>Nobody can say. A single logit holds an arbitrary constant which training cannot
# feel. Compare the probabilities, or the logits after centring both.</details>
#
# **2.** After training, the loss on new text stands still at 2 nats per letter. Is the model bad?
# <details><summary>Answer</summary>Not necessarily: the loss is the entropy of the world plus the model's KL, and only
# the sum is seen. If the world's entropy is 2 nats the model is perfect. One needs a world whose entropy is known, or a
# better model, to tell.</details>
#
# **3.** A friend wants livelier text and divides the *probabilities* by 2, then normalises. What has changed?
# <details><summary>Answer</summary>Nothing: a common factor cancels in normalising. Dividing probabilities by a number
# is adding a constant to the logits. To flatten an opinion, divide the logits.</details>
#
# ## Onward
#
# Two opinions about the next letter, one answer: [A product of experts](02_product_of_experts.ipynb) shows why logits
# are added, and what the second opinion should say.
