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
SAMPLES = 12

# %%
from dataclasses import replace
from itertools import combinations

import torch

from auxlib import plot
from auxlib.data.assets import data_dir
from auxlib.errors import ExpertMismatch
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.recipes import load_pretrained
from auxlib.worlds.storyland import Storyland
from course.exercises import check, use
from course.sliders import Sliders
from experiments.control.joint_conditions import JointConditions
from experiments.control.pictures import composition, frontier, places
from experiments.control.table import real_rows, storyland_rows
from experiments.records import read_record

print(f"profile: {PROFILE}")

# %% [markdown]
# ## What does a user want?
#
# A pair of models that writes around a word was the task of the last notebooks. People who use such a pair soon ask for
# more. *Can I turn it up? Two words at once? A word and a length? Must the word really come? And my model was updated
# yesterday: may I keep the auxiliary?*
#
# Each of these has a tempting answer of one line, and each of those lines is wrong somewhere. The long
# runs were recorded by `python -m auxlib run --experiment control`; what is quick you run yourself.

# %%
found = read_record("control", data_dir().parent)
print("recorded parts that failed:", len(found["failed"]))
model = load_pretrained()
tokenizer = model.expert_info.tokenizer


def show(rows, *columns):
    """Some columns of some rows, one row a line."""
    for row in rows:
        print(f"{next(iter(row.values())):49}" + "   ".join(f"{name} {row[name]}" for name in columns))


# %% [markdown]
# ## One dial, and where it must be applied
#
# The dial is λ: `joint_logits = lm_logits + weight * aux_logits`. Beside it people turn two more, the **temperature**
# $T$ and the **nucleus** (top-p: only the most probable tokens that together hold a mass of p may be said). All three
# act on the same numbers, and they do not commute.
#
# Three tokens will do. The expert likes the first, the auxiliary argues against it and likes the last.
#
# **Before you run**: temperature one half sharpens. Does it matter whether the sum is sharpened, or only the expert?
# And which token does a nucleus of $0.8$ lose, if it is taken before the auxiliary has spoken?

# %% tags=["nbval-check-output"]
lm_logits = torch.tensor([[2.0, 1.0, 0.0]])
aux_logits = torch.tensor([[-2.0, 0.0, 2.0]])


def said(name, logits):
    print(f"{name:34} {'  '.join(f'{p:.2f}' for p in logits.softmax(-1)[0].tolist())}")


said("the sum at temperature 1/2", (lm_logits + aux_logits) / 0.5)
said("expert at 1/2, then the auxiliary", lm_logits / 0.5 + aux_logits)
early = lm_logits.masked_fill(torch.tensor([[False, False, True]]), -torch.inf)
said("nucleus of the expert, then the sum", early + aux_logits)

# %% [markdown]
# Three orders, three distributions; in the last, the token that the auxiliary wanted has been thrown away before it
# could say so. None of the orders is false, but one has to be chosen and written down. Ours:
#
# > **add**, then logits processors (code that edits logits before sampling; the guarantee below is one), then
# > **temperature**, then top-k and **top-p** of the sum.
#
# Whoever wants the nucleus of the *frozen model*, so that nothing is said that it finds absurd, asks for it by name:
# `expert_top_p`. The pieces of the keyword stay allowed there.

# %% [markdown] tags=["task:8.1"]
# > **Exercise 8.1 · one step, in a fixed order**
# >
# > Write `steered(lm_logits, aux_logits, weight, temperature, top_p)`. Both logits are `[B, V]`; `weight` is one number
# > or `[B]`, one a row. Return `[B, V]` probabilities, in this order: add `weight * aux_logits`, divide the **sum** by
# > the temperature, softmax, keep the *nucleus*, renormalise. The nucleus is the smallest set of most probable tokens
# > whose mass reaches `top_p`: the token that crosses the threshold stays in, so there is always at least one. An
# > expert's logit may be $-\infty$. Leave the inputs as they are.
#
# *What if* the nucleus were cut from the expert alone, before anything is added, as DExperts does? Which words could
# the auxiliary then never bring in, and when would you want exactly that?


# %% tags=["exercise:8.1"]
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    """Add, divide by the temperature, softmax, cut to the nucleus: ``[B, V]`` twice to ``[B, V]`` probabilities."""
    # SOLUTION
    weight = torch.as_tensor(weight).to(lm_logits).view(-1, 1)
    probs = ((lm_logits + weight * aux_logits) / temperature).softmax(-1)
    ranked, order = probs.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    kept = torch.zeros_like(probs).scatter(-1, order, ranked * (before < top_p))
    return kept / kept.sum(-1, keepdim=True)
    # END


# %% tags=["check:8.1", "nbval-check-output"]
check("8.1", steered)
steered = use("8.1", steered)

# %% [markdown]
# With your function both dials can be turned. (Without a running kernel you see nine settings of them.)
#
# **Before you look**: at which temperature do the two orders agree, whatever λ is? And in which row does λ do more, if
# only the expert is divided by T?


# %% tags=["figure", "nbval-check-output"]
def both_orders(weight, temperature):
    late = steered(lm_logits, aux_logits, weight, temperature, 1.0)[0]
    early = (lm_logits / temperature + weight * aux_logits).softmax(-1)[0]
    return {"add, then T": late, "T, then add": early}


Sliders(both_orders, ["first", "second", "third"], "Unless T is 1, the order counts", (0.0, 1.0, 2.0), (0.5, 1.0, 2.0))

# %% [markdown]
# They agree at $T = 1$, and at $\lambda = 0$, where there is nothing to add. If only the expert is divided, then $T$
# also turns the other dial: at $T = 1/2$ the expert is louder and λ counts for half of what it says, at $T = 2$ for
# twice. In our order λ means the same at every temperature.
#
# ## Many rows, one batch
#
# The users of a server want different things, and all stand in one batch: the expert runs once for all rows, and the
# condition and λ belong to the **row**.
#
# **Before you run** (some seconds): λ is 0, 1 and 3 for the same word, then 1 for another. Which rows will hold their
# word? And must a row come out the same if it were alone? (It is greedy decoding: no dice.)

# %%
asked = ["lantern", "lantern", "lantern", "tax"]
weights = torch.tensor([0.0, 1.0, 3.0, 1.0])
greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
batch = write_sentences(model, asked, weight=weights, **greedy)
for word, weight, text in zip(asked, weights.tolist(), batch, strict=True):
    print(f"λ = {weight:g}  {word:8} {text}")
alone = [write_sentences(model, [word], weight=w, **greedy)[0] for word, w in zip(asked, weights.tolist(), strict=True)]
print("each row alone:", alone == batch)

# %% [markdown]
# All but the first hold their word. At λ = 3 the word comes at once and the sentence breaks; we return to that. Nothing
# passes between rows.
#
# What is the right λ? It was trained at 1, and there the product is meant to be the posterior. Below, the recorded dial
# in Storyland. The word is drawn from a sentence that nobody has read, accuracy is the share of sentences that hold it,
# **drift** is $\mathrm{KL}(q \,\|\, p)$ from the frozen model, and the uppermost line is the least drift at which
# *anybody* can have that accuracy ([From scratch, fine-tuned, or
# auxiliary?](06_from_scratch_fine_tuned_or_auxiliary.ipynb), exercise 6.5). The third line does not learn: it adds a
# constant b to the keyword's logit until the word is there.
#
# (The exact answer and the push stand beside the world itself, the auxiliary beside an expert that has learned it; its
# efficiency is right up to that expert's own errors.)
#
# **Before you look**: that push needs no training and no cache. What will it pay, and why?

# %% tags=["figure", "nbval-check-output"]
frontier(found, "The auxiliary stays near the bound; a push on the word stalls")

# %% tags=["nbval-check-output"]
for name, label in {"exact": "exact answer, λ", "learned": "auxiliary, λ", "myopic": "push, b"}.items():
    for row in found[name]:
        if row["weight"] in (0.5, 1, 1.25, 1.5, 2, 8):
            setting = f"{label} = {row['weight']:g}"
            figures = (f"{what} {row[what]:.3f}" for what in ("accuracy", "grammatical", "efficiency"))
            print(f"{setting:22} {'   '.join(figures)}")


# %% [markdown]
# At λ = 1 the exact answer lies on the bound, with efficiency 0.998<!-- exact answer, λ = 1 … efficiency -->, and the
# auxiliary comes near it: 0.954<!-- auxiliary, λ = 1 … efficiency --> at accuracy 0.969<!-- auxiliary, λ = 1 … accuracy
# -->. The push stalls below one half, at least up to 8 nats. Beside the world it can say the word only where the word
# may follow; it does not *go* there. At a farm it waits in vain for a lighthouse. Looking ahead is what the auxiliary
# has learned.
#
# The exact rows hold a surprise: accuracy 1 at every λ, even at one half. The exact answer knows what is
# *impossible*, and $\log 0 = -\infty$ stays a veto, times whatever. There λ decides only how the rest is written, and
# anything but 1 pays more than it must. The learned one has no vetoes, so its λ buys accuracy. A little above 1 it even
# gains: at $1.25$ it misses less than half as often, at the same efficiency. That repairs its leaking vetoes; it is no
# better posterior.
#
# ## Two words
#
# Now the request that everybody makes next. Two auxiliaries, or one asked twice, and add:
#
# $$\ell + a_1 + a_2.$$
#
# Is that right? Bayes gives what must be added, $\log p(c_1, c_2 \mid x, v)$ up to a constant over the next word $v$.
# Adding gives $\log p(c_1 \mid x, v) + \log p(c_2 \mid x, v)$. The difference is the **pointwise mutual information**
# of the two requests, given what has been written and the next word:
#
# $$\mathrm{PMI}(v) = \log \frac{p(c_1, c_2 \mid x, v)}{p(c_1 \mid x, v)\; p(c_2 \mid x, v)}.$$
#
# A constant drops out of a softmax. So adding is exact at this place if and only if the PMI is **the same for every
# next word**, and its spread is the largest error that the log-odds of any two words can have.

# %% [markdown] tags=["task:8.2"]
# > **Exercise 8.2 · what adding gets wrong**
# >
# > Write `pmi_spread(joint_aux, aux_1, aux_2)`. At each of T places and for each next token v the three, all `[T, V]`,
# > hold $\log p(c_1, c_2 \mid x_{<t}, v)$, $\log p(c_1 \mid x_{<t}, v)$ and $\log p(c_2 \mid x_{<t}, v)$. Return `[T]`,
# > in nats: the largest error of a *difference* between two tokens' logits if `aux_1 + aux_2` stands in for
# > `joint_aux`. Only tokens at which all three are finite count; where none is left, say 0. Change no input.
#
# *What if* $c_1$ and $c_2$ are one and the same condition? Write down the spread. Adding the auxiliary to itself is a
# setting of a dial that you know: which?


# %% tags=["exercise:8.2"]
def pmi_spread(joint_aux, aux_1, aux_2):
    """Largest error of a logit difference when two auxiliaries are added: ``[T, V]`` three times to ``[T]`` nats."""
    # SOLUTION
    pmi = joint_aux - (aux_1 + aux_2)
    finite = pmi.isfinite()
    highest = torch.where(finite, pmi, -torch.inf).amax(-1)
    lowest = torch.where(finite, pmi, torch.inf).amin(-1)
    return torch.where(finite.any(-1), highest - lowest, 0.0)
    # END


# %% tags=["check:8.2", "nbval-check-output"]
check("8.2", pmi_spread)
pmi_spread = use("8.2", pmi_spread)

# %% [markdown]
# A sentence of Storyland, and two of its words at a time. `Several` knows the exact answer about any requests together.
#
# **Before you run** (some seconds): heroes, animals and spots belong to a place; what somebody does at the end, such as
# snoring, belongs to an hour. For which pairs should adding be exact? And at which word of the sentence will it not be?

# %% tags=["nbval-check-output"]
world = Storyland.load()
draw = torch.Generator().manual_seed(SEED)
sentence = world.sample(1, draw)
words = [world.vocabulary[i] for i in sentence[0].tolist()]
print(" ".join(word for word in words if word != "<s>"))


def spread_along(first, second):
    pair = torch.tensor([[world.ids[first], world.ids[second]]])
    joint = JointConditions.keywords(world, pair).exact_aux_logits(sentence)[0]
    single = [JointConditions.keywords(world, pair[:, [k]]).exact_aux_logits(sentence)[0] for k in (0, 1)]
    return pmi_spread(joint, *single)


content = [word for word, holds in zip(words, world.is_content(sentence)[0].tolist(), strict=True) if holds]
spreads = {pair: spread_along(*pair) for pair in combinations(content, 2)}
for (first, second), spread in spreads.items():
    if spread.max() > 1e-6:
        print(f"{first:9}{second:9}  {float(spread.max()):.2f} nats, where {words[spread.argmax()]!r} is chosen")
print(f"the other {sum(bool(spread.max() < 1e-6) for spread in spreads.values())} pairs: exact at every word")

# %% [markdown]
# Eight pairs are exact at every word. Of the other seven, six are worst at the **same** word: where the hero is chosen.
# "Pelicans" wants a harbour, and says so by raising every hero of a harbour; "pier" wants the same harbour and raises
# them again. Added up, the harbour counts twice, by 1.61<!-- pelicans pier --> nats. Both words have a common cause,
# and it is not yet decided. As soon as it is, they have nothing to do with one another any more, and adding is exact
# again. "Counts" and "snores" share another cause: both want *one* hero, not several. "Snores" and "pier" share none,
# so they are exact all along. (One pair, "tiny" and "snores", is worst at the very first word; the quiz comes back to
# it.)
#
# The spread leaves out a worse case: a next word after which each request is still possible, but not both.
#
# Over many sentences: how many nats is a sentence written by the sum away from one that is written for both words? The
# map below shows it for the kinds of the two words.

# %% tags=["figure", "nbval-check-output"]
composition(found, "Adding costs where two words share a cause that is not yet decided")

# %% [markdown]
# Most kinds are exact: not nearly, but to the last digit. What costs shares a memory: hero, object and spot the
# *place*; hero, task and idle verbs *who* it is, one or several; and an idle verb a trace of the *hour*. The costliest
# kinds lose some 0.15<!-- idle 0, spot --> nats on average, of the seven or so that two words cost together. In
# Storyland, where causes are decided early, adding is a good approximation.
#
# ## Does it matter?
#
# The table has the exact answers, then auxiliaries that have learned: the sum, and one that reads all its keywords
# **together**. It was trained on sentences that were asked for one, two or three of their words at once.
#
# **Before you look**: the sum of *exact* answers is nearly exact, as you have seen. Must then the sum of *learned* ones
# be good as well?

# %% tags=["nbval-check-output"]
show(storyland_rows(found)[2:10], "fulfilled", "grammatical", "drift", "efficiency")
print(f"one word, read together: fulfilled {found['together_1']['accuracy']:.3f}")

# %% [markdown]
# The sum of exact answers misses a word here and there: it may walk to a place from which each word could still be
# reached, but not both. The sum of learned ones does worse, and worse still with three: every auxiliary has errors of
# its own, and errors are added like anything else. The one that reads all words together fulfils as many requests of
# three words as of two, and of one. Its sentences are no more grammatical than the sum's. Its price is a training, and
# a limit: it was never asked for four.
#
# ## Two words and a real model
#
# SmolLM2 has no table of truth, and another trouble comes in. Ask the shipped auxiliary for **nothing**, and it still
# speaks: it has learned how a dictionary's examples look, how long they are, how they end. It says so beside *every*
# keyword, so in a sum of two it says so twice.

# %% [markdown] tags=["task:8.3"]
# > **Exercise 8.3 · the style, once**
# >
# > Write `style_once(each_aux, none_aux)`: row n of `each_aux [N, V]` is what the auxiliary says when asked for keyword
# > n alone, `none_aux [V]` what it says when asked for nothing. The style and the length of the texts that it learned
# > from are in `none_aux`, and in every one of the N rows again. Return `[V]`: all keywords whole, the style once. For
# > one keyword that is the keyword's own row.
#
# *What if* two keywords want the same place in a sentence? The style is then counted once, and the sum is still wrong.
# Which function of this notebook measures by how much?


# %% tags=["exercise:8.3"]
def style_once(each_aux, none_aux):
    """The sum of N keywords' auxiliary logits with the style counted once: ``[N, V]`` and ``[V]`` to ``[V]``."""
    # SOLUTION
    return each_aux.sum(0) - (len(each_aux) - 1) * none_aux
    # END


# %% tags=["check:8.3", "nbval-check-output"]
check("8.3", style_once)
style_once = use("8.3", style_once)

# %% [markdown]
# In the library this needs no new code: "nothing" is a keyword too, `None`, and may be asked for with a weight of its
# own. The cell writes for pairs of words in three ways: the plain sum, the sum with the style counted once, and the
# auxiliary that was trained to read several words, `load_pretrained(multi_keyword=True)`. (Temperature $0.8$, nucleus
# $0.95$, at most 24 tokens, here and below.)
#
# **Before you run** (half a minute): which of the three will write the shortest sentences?

# %%
pairs = [
    ("lantern", "harbour"),
    ("violin", "snow"),
    ("tax", "dog"),
    ("bread", "jealous"),
    ("storm", "letter"),
    ("king", "rust"),
]
pairs = pairs[: max(1, SAMPLES // 2)]
both = load_pretrained(model.expert_info, multi_keyword=True)
once = torch.tensor([[1.0, 1.0, -1.0]]).expand(len(pairs), -1)  # λ of each row's three terms
ways = {
    "sum": write_sentences(model, pairs, seed=SEED),
    "sum, style once": write_sentences(model, [(*pair, None) for pair in pairs], weight=once, seed=SEED),
    "read together": write_sentences(both, pairs, seed=SEED),
}
for name, texts in ways.items():
    print(f"\n{name}")
    for pair, text in zip(pairs, texts, strict=True):
        print(f"  {'✓' if all(contains_keyword(text, word) for word in pair) else '✗'} {' + '.join(pair):18} {text}")

# %% [markdown]
# A handful of sentences proves nothing; here are hundreds. The words were never asked for in training. "Of one
# sentence" are two that a person has put into one; "unconnected" were thrown together by lot. SLOR is judged by the
# frozen model itself.

# %% tags=["nbval-check-output"]
rows = {row["asked for"]: row for row in real_rows(found)}
two = [row for name, row in rows.items() if "two" in name and "guaranteed" not in name]
show([rows["one word"], rows["one word, read together"], *two], "fulfilled", "SLOR", "words")

# %% [markdown]
# The plain sum loses a word in every eighth pair, connected or not, and its sentences are the longest: with two voices
# for one style, the balance of when to end is lost. Counting the style once brings back half of the misses, or two
# thirds where the words belong together, without any training. Reading both together brings back most of them, and
# writes the shortest sentences; the judge likes the sum with the style once better.
#
# Accuracy does not ask whether the sentence makes sense; the gallery below will.
#
# ## Another kind of control
#
# A request need not be a word. In Storyland, ask for the **hour**: an auxiliary learns from sentences labelled *day*,
# *night*, *winter* or *storm*, and is added to the keyword's. The exact answer for both together is known again.
#
# Beside SmolLM2, a **length**. The same recipe, with a label in the place of the word and without the parts that watch
# a word being spelled: `python -m auxlib train wordnet-length`. It is put beside the expert **by name**, and each term
# of a request says who speaks for it. Both auxiliaries have learned from the same sentences, so both know their style;
# the third term takes it off once.
#
# **Before you run** (some seconds): will a long sentence be a better one?

# %%
model.add("length", data_dir() / "checkpoints" / "wordnet-length")
auxiliaries, once = ("keyword", "length", "length"), torch.tensor([[1.0, 1.0, -1.0]]).expand(4, -1)
for label in ("short", "long"):
    requests = [(word, label, None) for word in ("lantern", "tax", "violin", "bread")]
    texts = write_sentences(model, requests, weight=once, auxiliaries=auxiliaries, seed=SEED)
    for (word, *_), text in zip(requests, texts, strict=True):
        print(f"{label:6} {word:8} {len(text.split()):2} words  {text}")
model.remove("length")

# %% [markdown]
# Hundreds of them, recorded, and Storyland's table for word and hour. "Short" is up to five words, "long" nine or more.
#
# **Before you look**: the plain sum counts the style of short examples twice. Which of the labels will it fail?

# %% tags=["nbval-check-output"]
show(storyland_rows(found)[10:], "fulfilled", "grammatical", "efficiency")
print(f"\nby people: {'  '.join(f'{label} {share:.2f}' for label, share in found['human_lengths'].items())}")
for asked_for in ("short", "medium", "long"):
    for how in ("sum", "once"):
        row = found[f"length_{asked_for}_{how}"]
        shares = "  ".join(f"{label} {share:.2f}" for label, share in row["lengths"].items())
        print(f"asked for {asked_for:6} {how:5} word {row['accuracy']:.2f}   {shares}")

# %% [markdown]
# In Storyland word and hour go together nearly as well as they can. Beside SmolLM2, short and long *both* suffer in
# the plain sum: a style counted twice does not simply make sentences short. With the style taken off once, 0.78<!--
# asked for short … once … short --> are short and 0.58<!-- asked for long … once … long --> long when asked. "Medium"
# loses by it, and is hardly more frequent than by people. The word is kept.
#
# Are the long ones better? Not here. They carry on past what they had to say. A length is a soft request: it is true
# of a sentence only when it is over, and until then each step can be a little late.
#
# ## It must come
#
# For some uses "nearly always" is not enough. A **guarantee** can be had without any training: forbid the end of the
# text until the word is there, and when only the room for it is left, write it. A simple constrained decoder does just
# that, and its sentences show it: the word hangs at the very end, wherever the sentence was going.
#
# So the word should be taken *earlier*, where it fits. But decoding goes from left to right. At each place we see how
# well the word would fit there, its log-probability; the next places are not known yet, and a place that has gone by is
# gone. This is the **secretary problem**, and its rule is old: look at the first third, take none of them, then take
# the first that beats all before it.

# %% [markdown] tags=["task:8.4"]
# > **Exercise 8.4 · look, then leap**
# >
# > Write `place(fits)`: a list of n numbers, how well a word would fit at each of n places. They are seen one after
# > another, and a place that has gone by is gone. Return the index of the place that the *secretary rule* takes: let
# > the first third go by, `n // 3` places, and then take the first one that is better than **all** before it. If none
# > comes, the last place is taken, since the word must stand somewhere. With one or two places nobody looks, and the
# > first is taken. The numbers are log-probabilities, so all of them are below 0.
#
# *What if* the fits only ever fell? Where does the rule put the word, and where would the best place have been? What
# would somebody have to know in advance to do better?


# %% tags=["exercise:8.4"]
def place(fits):
    """The place that the secretary rule takes: n numbers, seen one after another, to an index."""
    # SOLUTION
    for index in range(len(fits) // 3, len(fits)):
        if all(fits[index] > fit for fit in fits[:index]):
            return index
    return len(fits) - 1
    # END


# %% tags=["check:8.4", "nbval-check-output"]
check("8.4", place)
place = use("8.4", place)

# %% [markdown]
# How good is a rule that may not look ahead? Let the fits of eighteen places be in random order.
#
# **Before you run**: chance takes the best of eighteen in one case of eighteen. The rule?

# %% tags=["nbval-check-output"]
draw = torch.Generator().manual_seed(SEED)
orders = [torch.rand(18, generator=draw).tolist() for _ in range(4000)]
taken = [sorted(fits, reverse=True).index(fits[place(fits)]) for fits in orders]
print(f"takes the best place      {sum(rank == 0 for rank in taken) / len(taken):.2f}")
print(f"takes one of the best three {sum(rank < 3 for rank in taken) / len(taken):.2f}")
print(f"is left with the last     {sum(place(fits) == 17 for fits in orders) / len(orders):.2f}")

# %% [markdown]
# In four cases of ten the best place of all, without having seen it beforehand. The price is that in about a third
# nothing better comes, and the last place has to do. (For many places the best share to look at is $1/e$, Ferguson
# 1989.)
#
# In the library this is a logits processor, `KeywordConstraint`, and stands beside any model of `transformers`. It
# knows words of several pieces, keeps a finished word from growing ("lantern" into "lanternfish"), and serves several
# words, several beams and every row of a batch by itself. `guarantee=True` puts it in place.
#
# **Before you run** (some seconds): the frozen model alone, forced, against the pair. Both will hold
# every word. Where in its sentence will each have it?

# %%
unusual = ["thimble", "tax", "glacier", "jealous", "orchestra", "zebra"][: max(1, SAMPLES // 2)]
for name, weight in {"frozen model, forced": 0.0, "pair, guaranteed": 1.0}.items():
    texts = write_sentences(model, unusual, weight=weight, guarantee=True, seed=SEED)
    print(f"{name}: {sum(map(contains_keyword, texts, unusual))} of {len(unusual)}")
    for word, text in zip(unusual, texts, strict=True):
        print(f"  {word:10} {text}")

# %% tags=["nbval-check-output"]
sure = [row for name, row in rows.items() if "guaranteed" in name or name.endswith(("humans", "one word", "together"))]
show(sure, "fulfilled", "SLOR", "words")
print(f"SLOR lost to the guarantee  {found['guarantee_slor_loss']:.2f}")

# %% [markdown]
# For one word the guarantee is needed in about one sentence of fifty, and SLOR loses 0.05<!-- SLOR lost to the
# guarantee -->. For two words it loses more, although only two or three sentences in a hundred had a miss. The rule
# does not know that the auxiliary will bring the word by itself: it takes the first place that looks good, and so it
# also changes sentences that needed no help.
#
# And the forced model? By SLOR it is the best of all, above people. Do not believe it. The judge is the frozen model,
# and most of such a sentence is the frozen model's own babble, two and a half times as long as what people write. A
# judge who is a party praises its own.
#
# ## Where does the word stand?
#
# Accuracy does not see it, and a reader sees it at once. Below: in which fifth of its sentence a word begins.
#
# **Before you look**: people put the word of an example sentence where it belongs. Where is that, mostly?

# %% tags=["figure", "nbval-check-output"]
for name, row in {"λ = 1 throughout": found["dial"][1], "λ opens late": found["late"]}.items():
    print(f"{name:17} accuracy {row['accuracy']:.3f}   words {row['tokens']:.1f}")
who = {"human": "people", "one": "pair", "one_forced": "forced, no auxiliary", "late": "pair, λ opens late"}
places(found, who, "The pair hurries to its word, and force puts it last")

# %% [markdown]
# People have the word in the first fifth in somewhat more than one sentence of three, the pair in more than three of
# five: it is in a hurry. Why, no run here decides. The auxiliary may have learned to expect the word at once; and we
# sample at temperature $0.8$, which makes a likely word likelier at every step. Force alone puts it last, after
# everything else has been said; looking for a good place did not help much where nobody leads up to it.
#
# The fourth group has the same auxiliary and a **schedule**: λ is 0 for three tokens, and grows to 1 over four more.
# The word moves to the back; what that costs is printed above the figure. It is no cure for hurry.
#
# ## Too loud
#
# What lies beyond λ = 1? A blind push, one that does not look whether its word has come, would say it again and again.
#
# **Before you look**: will the auxiliary do so, at λ = 5? What has it been told that a blind push has not?

# %% tags=["figure", "nbval-check-output"]
dial = found["dial"]
series = {"accuracy": [row["accuracy"] for row in dial], "said twice": [row["twice"] for row in dial]}
series["in the first fifth"] = [row["places"][0] / sum(row["places"]) for row in dial]
ended = [[text.rstrip()[-1:] in ".!?" for _, text in row["examples"]] for row in dial]
series["ends with a mark"] = [sum(marks) / len(marks) for marks in ended]
for word, text in dial[-1]["examples"][:5]:
    print(f"λ = 5  {word:14} {text}")
plot.weight_sweep([row["weight"] for row in dial], series, "Too loud, the word comes first and the sentence never ends")

# %% [markdown]
# It does not repeat its *word*: the automaton says that the word is done, and from there on no boost pushes. Everything
# else breaks. At $\lambda = 1.5$ nearly every word stands in the first fifth of its sentence. At 5 most sentences never
# end: they fall into a loop until the room is used up. Whatever else the auxiliary has learned is shouted five times as
# loud as it was meant.
#
# Below 1 control is gone at once. At one half hardly any word comes, though in Storyland four of five did: a word that
# the expert thinks all but impossible needs all of its boost, not half of it. Only at 1, where it was trained, is a λ
# meant to carry over; anything else must be looked at.
#
# ## A new expert
#
# The expert has been updated. Its vocabulary is the same. May the old auxiliary stay?
#
# A checkpoint keeps the **fingerprint** of the expert that it was trained beside. Let us say that the expert has
# another one now.
#
# **Before you run**: will the pair load? Should it?

# %%
updated = replace(model.expert_info, fingerprint="an-update")
try:
    load_pretrained(updated)
except ExpertMismatch as error:
    print("refused:", str(error).split(" was made for ")[1])
swapped = AuxiliaryTunedLM.from_pretrained(data_dir() / "checkpoints" / "wordnet-keyword", updated, swap=True)
print("as a choice:", sorted(set(swapped.receipt) & {"trained_beside"}), "is kept in its receipt")

# %% [markdown]
# It is refused unless you insist, with `swap=True`; then the auxiliary reads the new expert's states. Is that pedantry?
#
# In Storyland there are two experts: one has read 60,000 sentences, the other 600,000. An auxiliary learned beside the
# first, and is then put beside the second. There are two ways to do so. It may go on reading **its own** expert's
# states, so that both experts must run; or it is given the **new** expert's states, which have the same shape.
#
# **Before you look**: which of the two would you trust?

# %% tags=["nbval-check-output"]
labels = {
    "at_home": "at home",
    "reads_the_old": "new expert, reads the old",
    "reads_the_new": "new expert, reads the new",
}
for name, label in labels.items():
    row = found["swapped"][name]
    grammar = f"grammatical {row['grammatical']:.3f}"
    print(f"{label:26} accuracy {row['accuracy']:.3f}   {grammar}   efficiency {row['efficiency']:.2f}")

# %% [markdown]
# With its own expert's states the auxiliary keeps its control, and the pair takes over the new expert's grammar. The
# price is that the old expert runs along.
#
# Given the new expert's states, which is what `swap=True` does, it loses control, though no grammar. That it loses no
# more is probably luck: both experts began as the same random network, so their states may still resemble one another.
# The fingerprint turns a silent loss into a question that somebody has to answer.
#
# ## A gallery, failures included
#
# The first requests of the recorded run for two unconnected words, unsorted, as they came.

# %% tags=["nbval-check-output"]
for first, second, text in found["strangers_joint"]["examples"][:12]:
    print(f"{'✓' if all(contains_keyword(text, word) for word in (first, second)) else '✗'} {first} + {second}: {text}")

# %% [markdown]
# All twelve are ticked, and half of these sentences are worth little. "An unsolvable joy" is a find; "Consistency is a
# virtue in a initiatory" has its words and no sense. In the second line "dispassion" was begun, and the expert made
# "dispassionately" of it. The automaton says rightly that the word is still missing, the auxiliary tries again, and the
# two go round until the room is used up. The tick is an accident: the text was cut off in the middle of a word. And
# look again at "rust" further up: the expert wanted "rusting", the auxiliary *rust* with nothing after it, and the two
# have agreed on "rust ing". It counts as a hit.
#
# ## What you take with you
#
# - **One order**: add, processors, temperature, nucleus. In another order λ means something else.
# - A condition, a strength and a speaker belong to the **row**, and the expert runs once for all of them.
# - **Adding is exact** where the PMI of two requests is the same for every next word: where they share no cause that is
# still open. What two auxiliaries both know, such as a style, is counted twice, and can be taken off once.
# - An auxiliary that reads all words **together** knows their conflicts. It costs a training of its own.
# - A **guarantee** needs no training. Beside an auxiliary it is cheap for one word, less so for two, because it also
# acts where nothing was missing.
# - Accuracy alone sees neither the place of a word, nor that it comes twice, nor what was paid. Look at all of them.
#
# ## Quiz
#
# **1.** A colleague adds the auxiliary's logits to those of an expert whose logits have already been divided by the
# temperature $0.7$, and finds that control has become weaker. What has happened?
# <details><summary>Answer</summary>The expert's opinion was sharpened and the auxiliary's was not: its logits count
# for $0.7$ of what they did. λ = 1 there is $\lambda = 0.7$ in our order, at the same temperature. Had the sum been
# divided by the temperature, the balance of the two would have stayed.</details>
#
# **2.** "Tiny" has nothing to do with the night in Storyland: of the sentences with a tiny animal, as many are of the
# night as of all others. May the two auxiliaries be added?
# <details><summary>Answer</summary>Not quite. Independence over whole sentences is not enough; it must hold after every
# <em>prefix</em>. A sentence that begins with "under" may go on with the full moon, and then it is night and an animal
# can still be tiny; or with an oak, and then the hour is open and no animal will be tiny. That one word makes them
# depend. (It is the row of "tiny" and "snores" in the list above.)</details>
#
# **3.** Somebody guarantees a word by raising its logits at every step, by 20 nats, and calls it the same as our
# guarantee. Name two things that are not the same.
# <details><summary>Answer</summary>The place: the word comes at once, wherever that is, and again later, since nothing
# tells a push that it is done with. And the certainty: a push makes the end of the text unlikely, it does not forbid
# it; and of a word of several pieces it may write the first and go on with another word.</details>
#
# ## Onward
#
# What all this costs to train and to decode, and how near to the frozen model's own speed one can come, is the subject
# of [To the GPU](09_to_the_gpu.ipynb). If a steered model of your own does what it should not, [Debug
# me](12_debug_me.ipynb) has the instruments.
