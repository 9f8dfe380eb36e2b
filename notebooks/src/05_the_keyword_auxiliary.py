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
SENTENCES = 20_000
STEPS = 600
HELD_OUT = 1000
SAMPLES = 400

# %%
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import trange

from auxlib import plot
from auxlib.frozen import fingerprint
from auxlib.product import kl
from auxlib.worlds.story_lm import lm_inputs, load_story_lm
from auxlib.worlds.storyland import Storyland
from course.exercises import check, use
from experiments.metrics import wilson

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Three things on the table
#
# In [Storyland](04_storyland.ipynb) we know everything: the true process, the posterior $h$ of every keyword, and with
# it the perfect auxiliary. In [Learning the missing expert](03_learning_the_missing_expert.ipynb) a table of numbers
# learned such an auxiliary from examples, but it needed a row for every prefix. Sentences have too many prefixes. This
# notebook trains a **network** that reads the keyword and the expert's thoughts, and then does what nobody can do with
# a real language: it compares every word that was learned with the exact answer.
#
# On the table lie the world, which nobody may look into during training; the expert, a small language model that has
# read sentences of it and comes with the repository; and its fingerprint, for the end.
#
# **Before you run**: of all the expert's parameters, how many may learn?

# %% tags=["nbval-check-output"]
world, expert = Storyland.load(), load_story_lm()
W = expert.unembedding  # [V, D]
generator = torch.Generator().manual_seed(SEED)
token_ids, test_ids = world.sample(SENTENCES, generator), world.sample(HELD_OUT, generator)
print(f"vocabulary {len(W)}   width {W.shape[1]}   fingerprint {expert.fingerprint}")
print(f"to learn from: {tuple(token_ids.shape)} (sentences, tokens)   to report on: {len(test_ids)} others")
print(f"parameters of the expert that can learn: {sum(p.requires_grad for p in expert.model.parameters())}")

# %% [markdown]
# ## What the expert thought, kept as a dataset
#
# The expert is frozen. For the same sentence it computes the same thing in every epoch, so it needs to read each
# sentence only **once**. What we keep is its last hidden state at each place: 96 numbers from which its logits are one
# matrix product away, `lm_logits = hidden @ W.T`.
#
# `lm_inputs` puts `<s>` in front of a sentence. After `<s>` and t words the expert predicts the next token, so row t of
# what we keep belongs to `token_ids[:, t]`. **The shift by one is made here, once**, and nowhere else. The very last
# state, after the full stop, predicts nothing and is dropped.
#
# **Before you run** (some ten seconds): 20,000 sentences of up to 17 tokens. How many megabytes of states? And how many
# if we kept logits instead?


# %%
@torch.no_grad()
def read_states(token_ids):
    """The expert's state before each token: ``[B, T]`` to ``[B, T, D]``."""
    states = []
    for rows in token_ids.split(1000):
        inputs = lm_inputs(rows)
        read, mask = inputs["input_ids"][:, :-1], inputs["attention_mask"][:, :-1]
        states.append(expert.model.model(read, attention_mask=mask, use_cache=False).last_hidden_state)
    return torch.cat(states)


hidden, test_hidden = read_states(token_ids), read_states(test_ids)
print(f"hidden {tuple(hidden.shape)} (sentences, tokens, width)   {hidden.nbytes / 1e6:.0f} MB")
print(f"as logits it would be {hidden.nbytes / 1e6 * len(W) / W.shape[1]:.0f} MB")

# %% [markdown]
# Even here logits cost four times as much; with a vocabulary of 49,152 the factor is larger by far.
#
# ## What stands in a training row
#
# One row is a sentence, a **keyword** drawn evenly from its six content words, and a state for each token. Here is one,
# turned on its side. Rows are as long as the longest sentence; blanks, token 0, fill them up.
#
# **Before you run**: what is read in the line in which the full stop must be said?

# %% tags=["nbval-check-output"]
row = 3
words = [world.vocabulary[token] for token in token_ids[row].tolist()]
for t, word in enumerate(words):
    print(f"hidden[{t:2}]  {'has read … ' + words[t - 1] if t else 'has read nothing':22}  must say {word}")

# %% [markdown]
# The lines at the end are blanks and teach nothing; they will have to be kept out of the loss.
#
# ## Which keyword?
#
# Any of the six will do, so it would be a waste to choose one for good. We **draw afresh** every time a sentence comes
# by. In four epochs a sentence then answers about four questions, and it becomes hard to learn answers by heart.
#
# One more habit: in one row out of ten the condition is **dropped**. Such a row is asked for nothing, which we write as
# keyword 0. For nothing the best answer is silence, up to what the expert got wrong. So the same network learns what an
# auxiliary does that is *never told*, and brings its own control experiment along. (Diffusion models are trained in
# this way too, for guidance without a classifier.)
#
# **Before you run**: one sentence, twelve draws. Will each of its content words come twice?


# %%
def draw_conditions(token_ids, generator, drop=0.1):
    """A keyword for each sentence, ``[B]``: one of its content words, or 0, for nothing, in a share of the rows."""
    keyword_ids = world.draw_keywords(token_ids, generator)
    return keyword_ids.masked_fill(torch.rand(len(keyword_ids), generator=generator) < drop, 0)


def name(keyword):
    return world.vocabulary[keyword] if keyword else "(nothing)"


print(world.decode(token_ids[row : row + 1])[0])
draws = draw_conditions(token_ids[row : row + 1].expand(12, -1), generator)
print("twelve draws:", ", ".join(map(name, draws.tolist())))
print(f"share of nothing over all sentences: {(draw_conditions(token_ids, generator) == 0).double().mean():.2f}")

# %% [markdown]
# Chance is uneven, in twelve draws and in four epochs. That does no harm: the word that one sentence was not asked for,
# another was.
#
# ## What must it be told?
#
# Theory first. The perfect auxiliary says $\log h(x_{<t}\,v)$. In a world made of states, what comes next depends on
# the past through the **state** only, and the expert's hidden vector is our picture of that state. The **keyword**
# must be known, of course. Is that all? What if the word has already been said?
#
# Then $h$ is 1, whatever comes; before, it is less. Two prefixes may leave the *same state* and differ in just this.
# The word `under` shows it: it may stand in the opening and again near the end.
#
# **Before you run**: after both prefixes below the grammar continues alike. For the keyword `under`, does the perfect
# auxiliary say the same after both?

# %% tags=["nbval-check-output"]
for prefix in ("after midnight the weary sailors", "under the full moon the weary sailors"):
    ids, under = world.encode([prefix]), world.keyword_ids(["under"])
    state, h = int(world.states(ids)[0, -1]), float(world.posterior(ids, under)[0, -1])
    print(f"{prefix:38} state {state}   h {h:.3f}")

# %% [markdown]
# One state, two values of $h$. An auxiliary that reads state and keyword only must give *one* answer to both, and the
# best it can do is the average. **The exact optimum cannot even be written down without one bit more: has the word been
# seen?**
#
# What is that bit worth? For sentences with the keyword, take the exact answers, pool those that share a state, and
# measure the KL from each answer to the pooled one. `lighthouse` is a content word and is never said twice.
#
# **Before you run**: `under` is worth 2.06<!-- under: … of --> nats in all. How much of it is lost? And for
# `lighthouse`?


# %% tags=["nbval-check-output"]
def lost_without_the_flag(word, n=1500):
    """Nats per sentence that the best auxiliary loses if it knows state and keyword, but not whether it was said."""
    keyword_ids = world.keyword_ids([word]).expand(n)
    texts = world.sample(n, torch.Generator().manual_seed(SEED), keyword_ids)
    log_probs = world.next_log_probs(texts) + world.exact_aux_logits(texts, keyword_ids)
    answers, states = log_probs[:, :-1][texts != 0].softmax(-1), world.states(texts)[:, :-1][texts != 0]
    count = torch.bincount(states).clamp(min=1)[:, None]
    pooled = torch.zeros(len(count), len(W), dtype=torch.float64).index_add(0, states, answers) / count
    return abs(float(kl(answers.log(), pooled[states].log()).sum() / n))  # a KL of 0 may come out as −1e-16


for word in ("under", "lighthouse"):
    worth = -world.future_keyword_prob[0, world.ids[word]].log()
    print(f"{word}: {lost_without_the_flag(word):.2f} of {worth:.2f} nats are lost without the flag")

# %% [markdown] tags=["task:5.1"]
# For `under` an eighth is lost, and no amount of training brings it back. For `lighthouse` nothing: Storyland is kind.
# A content word is never said twice, so from the state one can tell whether it has been. That is a gift of this
# grammar, and it holds for a reader who knows the state exactly; our expert only has a picture of it. In a real
# language every word may come again. So we tell: the flag costs nothing. (With keywords of several pieces the bit
# becomes an automaton; notebook 07 has one.)
#
# > **Exercise 5.1 · seen?**
# >
# > Write `already_seen(token_ids, keyword_ids)`: `[B, T]` and `[B]` to `[B, T]`, True or False. Entry t says whether
# > the keyword is among the tokens that have been *read* when token t is to be said. A row with keyword 0 is asked for
# > nothing; there nothing is missing, so answer True everywhere.
#
# *What if* the flag were one place too early? The training loss would look splendid. Why, and what would happen when
# the pair writes?


# %% tags=["exercise:5.1"]
def already_seen(token_ids, keyword_ids):
    """Whether the keyword stands before each token: ``[B, T]`` and ``[B]`` to ``[B, T]``, True and False."""
    # SOLUTION
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return F.pad(hits, (1, 0))[:, :-1] | (keyword_ids == 0)[:, None]
    # END


# %% tags=["check:5.1", "nbval-check-output"]
check("5.1", already_seen)
already_seen = use("5.1", already_seen)

# %% [markdown]
# ## A gate
#
# Now the network, piece by piece. First it must bring state and keyword together. Think of `apples`: the question "is
# this a farm?" matters a great deal, "is it night?" not at all. For `sleeps` it is the other way round. So the keyword
# should choose *which* features of the state count. Adding two vectors cannot choose; **multiplying** can. Each
# keyword holds a number for every feature, which turns it up, off or over: a gate.
#
# Keywords begin with the expert's own word vectors, the rows of $W$, which already know that apples and eggs are alike.
#
# **Before you run**: shapes only. The gate of a keyword is the same at every token. Where does the axis T come in?


# %%
class Gate(nn.Module):
    """Features of state, keyword and flag; the keyword decides how much each of them counts."""

    def __init__(self, W, width):
        super().__init__()
        D = W.shape[1]
        self.keyword = nn.Embedding.from_pretrained(W.detach().clone(), freeze=False)
        self.read_state, self.read_keyword = nn.Linear(D, width), nn.Linear(D, width)
        self.flag, self.gate = nn.Embedding(2, width), nn.Linear(D, width)

    def forward(self, hidden, keyword_ids, seen):
        keyword = self.keyword(keyword_ids)[:, None]  # [B, 1, D]
        features = self.read_state(hidden) + self.read_keyword(keyword) + self.flag(seen.long())
        return F.gelu(features) * self.gate(keyword)


few, keys = token_ids[:4], draw_conditions(token_ids[:4], generator)
print(f"gated features {tuple(Gate(W, 256)(hidden[:4], keys, already_seen(few, keys)).shape)}  (batch, tokens, width)")

# %% [markdown] tags=["task:5.2"]
# ## A step in the expert's own space
#
# What should it say? One logit for each word of the vocabulary, as the paper has it, would need a large output matrix
# that learns from nothing what words are. But the expert has one. If the auxiliary writes a vector $u$ of the expert's
# width, and the expert's $W$ turns it into logits, then
#
# $$\texttt{lm\_logits} + \texttt{aux\_logits} = W h + W u = W (h + u):$$
#
# the auxiliary is a **step in the space of the expert's thoughts**, and similar words are moved together at once. The
# layer that writes $u$ starts at zero, for the reason that you know from notebook 03.
#
# ## A boost for one word
#
# Steps are good at *kinds* of words. They are bad at a single one: to lift `lighthouse` above its neighbours `pier` and
# `cliff` by five nats takes a vector that points at it and away from all others. So one number more, added to the logit
# of the keyword itself, and **only while it is missing**. This is called a copy head, and it is the smallest part.
#
# > **Exercise 5.2 · the boost**
# >
# > Write `boost_keyword(aux_logits, boost, keyword_ids, seen)`: `aux_logits [B, T, V]`, `boost [B, T]`, `keyword_ids
# > [B]`, `seen [B, T]` of True and False. Return new logits `[B, T, V]`, in which each sentence's own keyword has
# > gained its boost wherever it is not yet seen. Leave the input as it is.
#
# *What if* somebody adds the boost to all words instead? Nothing crashes and the shapes are right. What does the pair
# say then?


# %% tags=["exercise:5.2"]
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    """Add ``boost [B, T]`` to each sentence's keyword while it is missing; ``[B, T, V]`` to ``[B, T, V]``."""
    # SOLUTION
    index = keyword_ids[:, None, None].expand(-1, aux_logits.shape[1], 1)
    return aux_logits.scatter_add(-1, index, (boost * ~seen)[..., None])
    # END


# %% tags=["check:5.2", "nbval-check-output"]
check("5.2", boost_keyword)
boost_keyword = use("5.2", boost_keyword)

# %% [markdown]
# ## The auxiliary
#
# All together: gate, one more layer, step and boost.
#
# **Before you run**: both outputs start at zero. What is the product at step 0, and how exactly?


# %%
class KeywordAuxiliary(nn.Module):
    """Auxiliary logits ``[B, T, V]`` from the expert's states, the keyword and the flag."""

    def __init__(self, W, width=256):
        super().__init__()
        self.W, self.gate, self.mix = W, Gate(W, width), nn.Linear(width, width)
        self.step, self.boost = nn.Linear(width, W.shape[1]), nn.Linear(width, 1)
        for parameter in (*self.step.parameters(), *self.boost.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, hidden, keyword_ids, seen):
        u = self.gate(hidden, keyword_ids, seen)
        u = u + F.gelu(self.mix(u))
        return boost_keyword(self.step(u) @ self.W.T, self.boost(u)[..., 0], keyword_ids, seen)


def joint_of(auxiliary, hidden, token_ids, keyword_ids, weight=1.0):
    """Joint logits ``[B, T, V]`` of sentences whose states are known."""
    return hidden @ W.T + weight * auxiliary(hidden, keyword_ids, already_seen(token_ids, keyword_ids))


# %% tags=["nbval-check-output"]
torch.manual_seed(SEED)
auxiliary = KeywordAuxiliary(W)
with torch.no_grad():
    newborn = joint_of(auxiliary, hidden[:4], few, keys)
print(f"joint logits {tuple(newborn.shape)}  (batch, tokens, vocabulary)")
print(f"bit for bit the expert's: {torch.equal(newborn, hidden[:4] @ W.T)}")
print(f"numbers to learn {sum(p.numel() for p in auxiliary.parameters()):,}")
print(f"the expert has   {sum(p.numel() for p in expert.model.parameters()):,}")

# %% [markdown] tags=["task:5.3"]
# Not similar to the expert: the expert. (The auxiliary is even a little larger than it. Both are tiny; beside a real
# model the proportion is another.)
#
# The loss is maximum likelihood of the product, and you have written it before. New are the blanks: with rows of
# different lengths it must be said *what* is averaged.
#
# > **Exercise 5.3 · words only**
# >
# > Write `loss_on_words(joint_logits, token_ids)`: `[B, T, V]` and `[B, T]` to one number, the mean of $-\log p$ in
# > nats over all real tokens of the batch, the full stop included. Token 0 is a blank. Row t of the logits predicts
# > token t.
#
# *What if* one divided by $B \cdot T$? The gradient would have the same direction. What would still be wrong?


# %% tags=["exercise:5.3"]
def loss_on_words(joint_logits, token_ids):
    """Mean loss in nats over the real tokens: ``[B, T, V]`` and ``[B, T]`` to one number."""
    # SOLUTION
    return F.cross_entropy(joint_logits.flatten(0, 1), token_ids.flatten(), ignore_index=0)
    # END


# %% tags=["check:5.3", "nbval-check-output"]
check("5.3", loss_on_words)
loss_on_words = use("5.3", loss_on_words)

# %% [markdown]
# ## Two levels, before any training
#
# On the held-out sentences we compute two numbers, in nats *per sentence*. The **start**: the expert alone. The
# **end**: the exact posterior, below which no auxiliary can get on average, with this or any other expert. Its loss is
# $-\log p(x) + \log h(\text{""})$, since $p(x \mid c) = p(x) / h(\text{""})$ for a sentence that holds its keyword.
#
# **Before you run**: between truth and truth with keyword must lie the ceiling, 3.72<!-- I(X;C) --> nats. What else
# lies between the two levels?

# %% tags=["nbval-check-output"]
test_keys = world.draw_keywords(test_ids, generator)
base_rate = world.future_keyword_prob[0, test_keys]  # h before the first word, [B]


def nats_of(joint_logits, token_ids):
    """Loss of each token, 0 for blanks: ``[B, T]``."""
    return F.cross_entropy(joint_logits.transpose(1, 2), token_ids, ignore_index=0, reduction="none")


lm_nats, truth = nats_of(test_hidden @ W.T, test_ids), -world.log_prob(test_ids)
start, end = float(lm_nats.sum(1).mean()), float((truth + base_rate.log()).mean())
print(f"expert alone {start:.2f}   truth {truth.mean():.2f}   truth with keyword {end:.2f} nats per sentence")
print(f"their mean ceiling {-base_rate.log().mean():.2f}   I(X;C) {world.mutual_information:.2f}")

# %% [markdown]
# Two gaps, then: the ceiling $I(X;C)$, and the small one that the expert itself has left,
# $\mathrm{KL}(p \,\|\, p_{\text{expert}})$. The second is *adaptation*: a good auxiliary may close part of it without
# being told anything.
#
# ## Training
#
# The loop is that of notebook 03. Batches of 128 sentences, a fresh draw of keywords in each, the flag computed from
# both. `who` lets us hand the keywords to the wrong sentences later, for a control. Now and then we note the loss on
# the held-out sentences.
#
# **Before you run** (half a minute or so): the expert is nowhere in this loop. What takes its place?


# %% tags=["figure"]
def train(auxiliary, steps, who=lambda keyword_ids: keyword_ids, rate=3e-3):
    """Maximum likelihood of the product; returns held-out nats per sentence after some of the steps."""
    optimizer, noted = torch.optim.AdamW(auxiliary.parameters(), lr=rate), {}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1)
    for step in trange(1, steps + 1, disable=PROFILE == "quick"):
        rows = torch.randint(len(token_ids), (128,), generator=generator)
        keyword_ids = who(draw_conditions(token_ids[rows], generator))
        loss = loss_on_words(joint_of(auxiliary, hidden[rows], token_ids[rows], keyword_ids), token_ids[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step & (step - 1) == 0 or step == steps:  # 1, 2, 4, 8, …
            noted[step] = float(held_out(auxiliary, test_keys).sum(1).mean())
    return noted


@torch.no_grad()
def held_out(auxiliary, keyword_ids):
    """Loss of every held-out token under the product, ``[B, T]``."""
    return nats_of(joint_of(auxiliary, test_hidden, test_ids, keyword_ids), test_ids)


noted = train(auxiliary, STEPS)
levels = {"expert alone": start, "exact posterior": end}
title = "Nearly all of the way from the expert to the exact posterior"
lines = {"product, held-out": (list(noted), list(noted.values()))}
plot.curves(lines, "step (128 sentences each)", "nats per sentence", title, levels, log_x=True)

# %% [markdown]
# At first nothing seems to happen: the output starts at zero, and the learning rate is still rising. Then a few dozen
# steps win most of what there is, and the last hundreds still win something.
#
# How good is it? Losses are one number. We have the exact answer to every single step, so let us look.
#
# ## One prefix under the lens
#
# Logits have a free constant, so we compare what cannot have one: by how much did each word's *log-probability* move,
# $\log q(v) - \log p_{\text{expert}}(v)$, and by how much should it, $\log h(x_{<t}\,v) - \log h(x_{<t})$?
#
# The prefix is `late at night the weary`, the keyword `lighthouse`. The next word is the hero. `captain` and `sailors`
# live at the harbour, `children` also do, among other places; `farmer` and `queen` never do.
#
# **Before you run**: which bars point down? The exact auxiliary says $-\infty$ for some words; the picture cuts off at
# −8. How would a network say $-\infty$?


# %% tags=["figure"]
@torch.no_grad()
def shifts_after(prefix, keyword, shown):
    """Exact and learned shift of log-probability for the words ``shown``, after a prefix."""
    ids, key, words = world.encode([prefix]), world.keyword_ids([keyword]), world.keyword_ids(shown)
    with_blank = F.pad(ids, (0, 1))  # one place more, for the word that is to be said
    states = read_states(with_blank)
    learned = joint_of(auxiliary, states, with_blank, key).log_softmax(-1) - (states @ W.T).log_softmax(-1)
    exact = world.exact_aux_logits(ids, key) - world.posterior(ids, key)[..., None].log()
    return {"exact": exact[0, -1, words].clamp(min=-8), "learned": learned[0, -1, words].clamp(min=-8)}


heroes = ["captain", "sailors", "pirates", "children", "farmer", "queen", "lighthouse"]
moved = shifts_after("late at night the weary", "lighthouse", heroes)
title = "It knows who lives by the sea, long before the lighthouse can be said"
plot.bars(moved, heroes, title, "shift of log p (nats)", "next word")

# %% [markdown]
# Nobody told it about harbours. It was shown sentences and one of their words, and looking back at how they had gone on
# was enough: it raises `captain` and `sailors` by the right amount, `children` by less, and does *not* raise
# `lighthouse` now, where it cannot stand. That is the difference between a condition and a push. (How far down it puts
# `lighthouse` is anybody's guess. The expert finds the word impossible here, so no loss depends on it.)
#
# And it never says $-\infty$. It says about −5<!-- learned: … farmer ±3.5 --> to a farmer, who should never be said.
# Keep that in mind.
#
# ## Word by word
#
# Now every step of every held-out sentence. The referee is $\mathrm{KL}(\text{truth} \,\|\, q)$, truth being the exact
# posterior. Beside it stands the best that could be had from this expert if its auxiliary were exact: its KL is not
# zero, because the expert is not the truth.
#
# **Before you run**: at which places will the learned one be worst: at the beginning, where everything is open, or
# late?

# %% tags=["figure"]
with torch.no_grad():
    lm_logits = test_hidden @ W.T
    log_q = joint_of(auxiliary, test_hidden, test_ids, test_keys).log_softmax(-1)
prior, ahead = world.next_log_probs(test_ids)[:, :-1], world.exact_aux_logits(test_ids, test_keys)[:, :-1]
posterior, real = (prior + ahead).log_softmax(-1), test_ids != 0
kls = {"learned auxiliary": kl(posterior, log_q)}
kls["exact auxiliary, same expert"] = kl(posterior, (lm_logits + ahead).log_softmax(-1))
places = range(1, test_ids.shape[1])  # the last place is too rare
lines = {name: (places, [table[:, t - 1][real[:, t - 1]].mean() for t in places]) for name, table in kls.items()}
print({name: round(float(table[real].mean()), 4) for name, table in kls.items()})
plot.curves(lines, "place in the sentence", "KL to the exact posterior (nats)", "Worst where most is decided")

# %% [markdown]
# About a hundredth of a nat per word, where being told is worth a quarter of a nat. The peaks are where
# content words are chosen; function words follow from the grammar and there is little to get wrong.
#
# Where does the difference come from? We sort the steps into two kinds. At some the exact auxiliary **forbids** a word
# that the grammar allows. At all others it forbids nothing, and mostly says nothing at all.
#
# **Before you run**: forbidding happens at one step in six. What share of the learned auxiliary's KL arises there?

# %%
allowed = prior > -torch.inf
forbidden = allowed & (ahead == -torch.inf)
veto, kl_learned = forbidden.any(-1) & real, kls["learned auxiliary"]
share = kl_learned[veto].sum() / kl_learned[real].sum()
print(f"steps with a veto {veto.sum() / real.sum():.2f}   share of the KL {share:.2f}")
pair, alone = log_q.exp(), lm_logits.softmax(-1)
for what, probs, words in (("veto", pair, forbidden), ("grammar", pair, ~allowed), ("grammar, alone", alone, ~allowed)):
    print(f"said against the {what:15} {(probs * words).sum(-1)[real].mean():.4f} of all words")

# %% [markdown]
# Nearly half of the error sits where a veto is due. A softmax has no zero: a step in 96 dimensions can push the wrong
# words down a long way, never all the way, and maximum likelihood pays less and less for the rest. So a small share
# leaks through at every step. A few words in a thousand sound harmless, but a sentence has fifteen.
#
# The last lines hold a surprise: told a keyword, the pair is *more* grammatical than the expert alone. It has read good
# sentences too, and pushes down what never occurs in them.
#
# ## It also mends the expert
#
# Look at the opposite corner: the moment when the keyword itself is said. Here the learned shift often *differs* from
# $\log h$. An error? Notebook 03 has shown the optimum of an expert that is not quite right: the control **plus** the
# expert's residual, $\log p(v \mid x_{<t}) - \log p_{\text{expert}}(v \mid x_{<t})$. Where the expert finds the word
# less likely than it is, the auxiliary should press harder than Bayes.
#
# **Before you run**: for each held-out keyword we plot learned minus exact shift against the expert's residual. If the
# auxiliary ignored the residual the line would be flat. If the theory is right, what is its slope?

# %% tags=["figure"]
b, t = (test_ids == test_keys[:, None]).nonzero(as_tuple=True)
said = b, t, test_keys[b]
lm_log_probs = lm_logits.log_softmax(-1)
residual = (prior - lm_log_probs)[said]
excess = (log_q - lm_log_probs)[said] - (posterior - prior)[said]
groups = residual.argsort().chunk(12)  # as many keywords in each
x = torch.stack([residual[group].mean() for group in groups])
y = torch.stack([excess[group].mean() for group in groups])
title = "What the expert gives the keyword too little, the auxiliary gives more"
lines = {"learned − exact": (x, y), "all of the residual": (x, x)}
plot.curves(lines, "expert's residual, log p − log p of the expert", "nats", title)

# %% [markdown]
# The whole of it. At the keyword the auxiliary presses the word to where the *data* want it, no matter what the
# expert thinks. That is good for the loss, and a warning: this shift belongs to *this* expert. Put the auxiliary beside
# another one, and it mends errors that are not there.
#
# There is a limit to it. If an expert gave the keyword one chance in a million, the boost would have to say some
# fourteen nats at the right moment and none before. This is called a **support failure**: a product can lift only what
# its first factor holds up a little.
#
# ## Adaptation or control?
#
# Now the honest account. The loss fell; how much of it is control? Three controls, all on the same held-out sentences:
#
# - **nothing asked**: the same network with keyword 0, our dropped conditions. It measures adaptation.
# - **foreign word**: the network is told another sentence's keyword.
# - **trained on shuffled words**: a second auxiliary, trained as the first, but each sentence was shown its
#   neighbour's keyword. There was nothing to learn from it.
#
# **Before you run** (ten seconds): the bars show what each gains on the expert alone. Which are near zero? Can one be
# below?

# %% tags=["figure"]
torch.manual_seed(SEED)
shuffled = KeywordAuxiliary(W)
train(shuffled, max(STEPS // 3, 5), who=lambda keyword_ids: keyword_ids.roll(1))
nothing = torch.zeros_like(test_keys)
nats = {"expert alone": lm_nats, "shuffled": held_out(shuffled, test_keys)}
nats |= {"nothing asked": held_out(auxiliary, nothing), "own word": held_out(auxiliary, test_keys)}
nats["foreign word"] = held_out(auxiliary, test_keys.roll(1))
per_sentence = {name: table.sum(1) for name, table in nats.items()}
gains = {who: start - float(values.mean()) for who, values in per_sentence.items() if who != "expert alone"}
gains["exact"] = start - end
title = "Only a sentence's own word helps; a foreign one does great harm"
plot.bars({"gain": list(gains.values())}, list(gains), title, "gain on the expert (nats per sentence)")

# %% [markdown] tags=["task:5.4"]
# Asked for nothing, the network is the expert, a little mended. Trained on shuffled words it is the expert too: the
# null test is passed. And a foreign word costs several nats, since the pair waits for what never comes. A condition
# that is really *used* looks like this.
#
# One figure is still missing, and only a world with a known truth can give it: what share of the possible gain is that?
# On one sentence the exact auxiliary gains exactly $-\log h(\text{""})$, the keyword's own ceiling; its mean over
# sentences is $I(X;C)$.
#
# > **Exercise 5.4 · share of the ceiling**
# >
# > Write `share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate)`. The first three are `[B]`, the losses of the same
# > sentences in nats: expert alone, asked for nothing, told their keyword. `base_rate [B]` is $h(\text{""})$ of each
# > keyword. Return one number: the mean gain *by conditioning*, as a share of the mean that could be gained. One of the
# > arguments is not needed.
#
# *What if* the share came out as 110 %? Name two innocent explanations and a guilty one.


# %% tags=["exercise:5.4"]
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    """What part of the possible gain by conditioning was reached: four ``[B]`` to one number."""
    # SOLUTION
    return (untold_nll - told_nll).mean() / -base_rate.log().mean()
    # END


# %% tags=["check:5.4", "nbval-check-output"]
check("5.4", share_of_ceiling)
share_of_ceiling = use("5.4", share_of_ceiling)

# %% [markdown]
# **Before you run**: a guess at the share? The second line is a harder mark: of *all* that lies between the expert
# alone and the exact posterior, what the expert left included.

# %%
lm_nll, untold, told = (per_sentence[name] for name in ("expert alone", "nothing asked", "own word"))
print(f"adaptation   {(lm_nll - untold).mean():.2f} nats per sentence")
print(f"conditioning {(untold - told).mean():.2f} nats per sentence")
print(f"share of the ceiling           {share_of_ceiling(lm_nll, untold, told, base_rate):.3f}")
print(f"share of all that can be had   {(start - float(told.mean())) / (start - end):.3f}")
fake = share_of_ceiling(lm_nll, untold, per_sentence["shuffled"], base_rate)
print(f"trained on shuffled words      {fake:.3f}")

# %% [markdown]
# In half a minute a network has found nearly all of what a keyword can tell. Compare 03: there, a table needed every
# prefix; here most sentences are new, and what was learned is *kinds*: farms, nights, whoever is `she`.
#
# When in a sentence is it gained? By the chain rule the gain of step t is $\log h(x_{\le t}) - \log h(x_{<t})$ on
# average.
#
# **Before you run**: the exact curve you have seen in notebook 04. Where will the learned one fall short of it?

# %% tags=["figure"]
gain = nats["nothing asked"] - nats["own word"]
exact_gain = world.posterior(test_ids, test_keys).log().diff(dim=1)
places = range(1, gain.shape[1] + 1)
lines = {"exact": (places, exact_gain.mean(0)), "learned": (places, gain.mean(0))}
title = "The gain comes early, and the learned one follows the exact"
plot.curves(lines, "place in the sentence", "gain by being told (nats)", title)

# %% [markdown]
# The two lie almost on each other. What is missing is missing in front, where one has to look furthest ahead and $h$ is
# small.
#
# ## Writing
#
# Enough of reading; the pair is there to write. Twelve lines do it: read what has been written, add the logits, draw,
# and stop at the full stop. (We read the whole prefix again at each word. Sentences are short; beside a real model
# the library keeps a cache.)
#
# Three writers get the same keywords, drawn as often as they come: the expert alone, the pair, and the **oracle**,
# which draws from the exact posterior. Two marks: does the sentence hold its word, and is it grammatical? The exact
# base rate is the mean of $h(\text{""})$: what one gets for nothing.
#
# **Before you run** (a few seconds): guess the pair's two marks. Will the keyword cost grammar?


# %%
@torch.no_grad()
def write(keyword_ids, weight=1.0, longest=20):
    """A sentence for each keyword, ``[B, T]``, drawn from the product; asked for nothing where the keyword is 0."""
    written = torch.zeros(len(keyword_ids), longest, dtype=torch.long)
    ended = torch.zeros(len(keyword_ids), dtype=torch.bool)
    for t in range(longest):
        read, states = written[:, : t + 1], read_states(written[:, : t + 1])
        joint_logits = joint_of(auxiliary, states, read, keyword_ids, weight)[:, -1]
        joint_logits[:, 0] = -torch.inf  # a blank is no word
        drawn = torch.multinomial(joint_logits.softmax(-1), 1, generator=generator)[:, 0]
        written[:, t] = drawn.masked_fill(ended, 0)
        ended |= drawn == world.ids["."]
    return written


def marks(written, keyword_ids):
    """For each sentence, whether it holds its keyword and whether it is grammatical."""
    return (written == keyword_ids[:, None]).any(1), world.is_grammatical(written)


# %%
asked = world.draw_keywords(world.sample(SAMPLES, generator), generator)
sentences = {"expert alone": write(asked, weight=0.0), "pair": write(asked)}
sentences["oracle"] = world.sample(SAMPLES, generator, asked)
for who, written in sentences.items():
    holds, good = marks(written, asked)
    low, high = wilson(int(holds.sum()), len(asked))
    interval = f"[{low:.3f}, {high:.3f}]"
    print(f"{who:13} hold their word {holds.float().mean():.3f} {interval}   grammatical {good.float().mean():.3f}")
print(f"exact base rate for these {len(asked)} keywords {world.future_keyword_prob[0, asked].mean():.3f}")

# %% [markdown]
# From a base rate of one in forty to nearly all, and the grammar is about the expert's own. That is what notebook 04
# announced: perfect control hardly shows in the loss and is plain in the count.
#
# Nearly all, not all. Let us see who fails, and how.
#
# **Before you run**: some sentences below carry a mark. ✓ and ✗ say whether the word is held, `*` that the grammar is
# broken. Do the two kinds of failure go together?

# %%
holds, good = marks(sentences["pair"], asked)
order = torch.cat([torch.arange(len(asked))[:7], (~holds).nonzero()[:3, 0], (holds & ~good).nonzero()[:3, 0]])
for i, text in zip(order.tolist(), world.decode(sentences["pair"][order]), strict=True):
    print(f"{'✓' if holds[i] else '✗'} {name(int(asked[i])):12} {text}{'' if good[i] else ' *'}")
print(f"word and grammar {(holds & good).sum()}   word only {(holds & ~good).sum()}", end="   ")
print(f"grammar only {(~holds & good).sum()}   neither {(~holds & ~good).sum()}")

# %% [markdown]
# They do not. A **miss** is a veto that has leaked: say a keyword of the storm after an opening by night. From that
# slip on no grammatical sentence holds the word. The pair must give up the word or the grammar, and mostly it gives up
# the word. The **starred** ones keep their word nearly always. Their slips are the expert's own, such as a hero who
# lives elsewhere, and the expert alone makes them about as often. A product inherits the faults of its first factor.
#
# There is a name for what makes both worse, **exposure**. In training every prefix was a good one. A prefix with a slip
# neither expert nor auxiliary has ever read, and what they say about it nobody has taught them.
#
# ## The dial
#
# λ = 1 is Bayes, for an auxiliary that is exact. Ours leaks. A λ above 1 makes a weak veto stronger: at 2 it counts
# double.
#
# **Before you run** (ten seconds): accuracy should rise. What will grammar do between 1 and 2, and what beyond?

# %% tags=["figure"]
known = {0.0: sentences["expert alone"], 1.0: sentences["pair"]}
weights = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
held = {lam: marks(known[lam] if lam in known else write(asked, lam), asked) for lam in weights}
panels = {"hold their word": [holds.float().mean() for holds, _ in held.values()]}
panels["grammatical"] = [good.float().mean() for _, good in held.values()]
plot.weight_sweep(weights, panels, "Accuracy saturates soon after λ = 1; far beyond it the grammar pays")

# %% [markdown]
# A little above 1 both marks may even be better than at 1: vetoes leak less, and what the grammar never says is pushed
# down harder. That is a repair for the faults of *this* pair, not a better posterior: sentences at λ = 2 are no longer
# distributed as the grammar's sentences with the word are. Further out the auxiliary outshouts the expert, and it has
# never learned grammar on its own; it did not have to.
#
# ## The seal
#
# **Before you run**: two trainings, thousands of words written. What must the fingerprint say?

# %% tags=["nbval-check-output"]
reached = share_of_ceiling(lm_nll, untold, told, base_rate)
print("expert unchanged:                    ", fingerprint(expert.model) == expert.fingerprint)
print("some parameter of it has a gradient: ", any(p.grad is not None for p in expert.model.parameters()))
if PROFILE != "brief":
    print("more than 0.9 of the ceiling:        ", bool(reached > 0.9))
    print("shuffled words, less than 0.1:       ", bool(fake < 0.1))
    print("more than nine in ten hold their word:", bool(marks(sentences["pair"], asked)[0].float().mean() > 0.9))

# %% [markdown]
# ## What you take with you
#
# - A frozen expert reads **once**; its states are the dataset. Sentence, drawn keyword, shift by one, blanks masked.
# - Draw the keyword **afresh**, and **drop** it now and then: one network, told and untold.
# - The optimum depends on state, keyword and whether the keyword was **seen**. Without that bit it cannot be written
#   down, except where the language is so kind as to tell.
# - Three parts: a **gate** in which the keyword chooses among features, a **step** in the expert's space that starts at
#   zero, a **boost** for one word while it is missing.
# - Graded against the truth: the shifts are those of $\log h$, looking ahead included. It errs where a veto is due,
#   since a softmax has no zero, and it mends the expert's errors at the keyword.
# - Gain = adaptation + conditioning; only a known world tells the **share of the ceiling**. Count keywords beside their
#   base rate, and sentences beside their grammar.
#
# ## Quiz
#
# **1.** Your auxiliary's held-out loss is *below* that of the exact posterior, by half a nat per sentence. What do you
# look at first? <details><summary>Answer</summary>At what it is told. A flag that is one place early, or any other
# input that knows the token to be said, gives the answer away. Only after that at chance: the exact posterior is the
# best on average, and on a few sentences something else can look better, but not by half a nat on thousands.</details>
#
# **2.** Somebody trains without dropping conditions and then uses keyword 0 as "nothing asked" for the control. What
# does the bar show?
# <details><summary>Answer</summary>Nothing of meaning. Keyword 0 was never seen in training, and its gate is whatever
# chance and the start have left there. The gain by conditioning would be measured against a broken yardstick, and would
# look larger than it is.</details>
#
# **3.** Every sentence holds its word at λ = 2, and grammar is as good as at λ = 1. Why not always write with λ = 2?
# <details><summary>Answer</summary>The two marks do not see the distribution. At 2 the pair prefers, among good
# sentences with the word, those which announce it most loudly: the same few heroes and places. At 1, and only there,
# an exact auxiliary writes sentences in the proportions that the language itself has. Ask for drift and variety as
# well.</details>
#
# ## Onward
#
# Was all this necessary? A model trained from scratch on sentences with keywords, or the expert fine-tuned, might do as
# well; [From scratch, fine-tuned, or auxiliary?](06_from_scratch_fine_tuned_or_auxiliary.ipynb) puts that to the test,
# with a rule fixed in advance. And all of it in a language that nobody has written down, with words of many pieces and
# 49,152 logits: [A real expert](07_a_real_expert.ipynb).
