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
STEPS = 320
SAMPLES = 500

# %%
import math

import torch

from auxlib import plot
from auxlib.errors import WorldError
from auxlib.product import kl
from auxlib.worlds.story_lm import lm_inputs, new_story_lm
from auxlib.worlds.storyland import Storyland
from course.exercises import check, use

print(f"profile: {PROFILE}")

# %% [markdown]
# ## A language somebody wrote
#
# Letters had 81 texts, and we could list them all. Real text cannot be listed, and nobody knows its probabilities. This
# notebook moves into a country between the two. In **Storyland** people speak readable sentences, far too many to
# list, but their grammar was written by us, with a probability at every choice. So everything that a model of this
# language *should* say can be computed, and a trained model can be held against it.
#
# **Before you run**: eight sentences, drawn at random. They are all grammatical. Look for a choice, late in a sentence,
# that was already made by a word far in front of it.

# %%
world = Storyland.load()
generator = torch.Generator().manual_seed(SEED)
print(f"{len(world.vocabulary) - 1} words and marks, of which {len(world.content_ids)} are content words")
print(*world.decode(world.sample(8, generator)), sep="\n")

# %% [markdown]
# There are three such threads. The **pronoun** agrees with the hero: a king, he; guards, they; a captain may be either.
# The **hour** in the opening decides what people do in their idle moments: by night they sleep, in winter they shiver.
# And the **place** binds hero, object and the last word together: sailors, nets, pier.
#
# The rules are in `data/storyland/grammar.toml`, a page that you can read. One of them: `<opening {hour}> the <trait>
# <hero {place} {who}> <{task} {who}> the <object {place} {task}> and {who}`, then rest. Things in braces are decided
# once and remembered. A model that reads must find these threads out by itself, since it sees words only.
#
# **Before you run**: the truth about the next word, after four prefixes. How many words are possible after `… the fish
# and`, and how likely is each? After `… the swans and`? Then we ask about a prefix that breaks a thread.


# %% tags=["nbval-check-output"]
def next_words(prefix):
    """The possible next words, most likely first, with their probabilities."""
    log_probs = world.next_log_probs(world.encode([prefix]))[0, -1]  # [V]
    probs, ids = log_probs.exp().sort(descending=True, stable=True)
    possible = [f"{world.vocabulary[v]} {p:.2f}" for p, v in zip(probs, ids, strict=True) if p > 0]
    return ", ".join(possible[:6]) + (" …" if len(possible) > 6 else "")


stories = ["late at night the old captain sells the fish and", "late at night the old queen feeds the swans and"]
stories += [f"{stories[1]} she", "at noon the old queen feeds the swans and she"]
for prefix in stories:
    print(f"{prefix}: {next_words(prefix)}")
try:
    next_words("late at night the old queen feeds the swans and he")
except WorldError as error:
    print("WorldError:", error)

# %% [markdown]
# A captain is `he` or `she`, and the fish do not help; a queen leaves no choice. What she then does was decided by the
# first words of the sentence. And an impossible prefix is refused, with the word that made it so, because "what comes
# next, given what cannot be" has no answer.
#
# ## What a reader can know
#
# How does one compute such a row? A sentence is a walk from place to place, and each step says a word. The words are
# heard, the places are not. After `at noon the children` one may be on a farm, in a harbour, a castle or a village.
# A reader who knows the grammar therefore keeps a **belief**: a probability for every place where the story may now
# be. Here is a language small enough to do it by hand. It has two places and an end, and four words:
#
# | from | says `hens` | `geese` | `boats` | `.` |
# |---|---|---|---|---|
# | farm | `.4`, stays | `.2`, stays | `.1`, goes to the harbour | `.3`, ends |
# | harbour | | `.1`, stays | `.6`, stays | `.3`, ends |
#
# Nobody knows where a story begins: half and half. We hear `geese`. A farm would have said it with probability `.2`, a
# harbour with `.1`, so the belief is now two to one for the farm. That is all of it: **weigh** each place by what it
# would have said, **move** along the steps that say this word, and **divide** by the sum. It is Bayes' rule, once a
# word; engineers call it the forward filter.

# %% [markdown] tags=["task:4.1"]
# > **Exercise 4.1 · read on**
# >
# > Write `read_on(start, arcs, words)`: `start [S]` is the belief before the first word, `arcs[s, v, s2]` is the
# > probability that a story at place s says word v *and* goes on to s2 (in all `[S, V, S]`), and `words` is a list of T
# > word numbers. Return the beliefs after 0, 1, … T words, `[T + 1, S]`.
#
# *What if* a word comes that no believed place can say? What does your function return, and what should it do?


# %% tags=["exercise:4.1"]
def read_on(start, arcs, words):
    """Belief over places after 0, 1, … T words: ``[S]``, ``[S, V, S]`` and T word numbers to ``[T + 1, S]``."""
    # SOLUTION
    beliefs = [start]
    for word in words:
        joint = beliefs[-1] @ arcs[:, word]
        beliefs.append(joint / joint.sum())
    return torch.stack(beliefs)
    # END


# %% tags=["check:4.1", "nbval-check-output"]
check("4.1", read_on)
read_on = use("4.1", read_on)

# %% [markdown]
# **Before you run**: the tiny language reads `geese`, `geese`, `boats`, `geese`. Where does the farm stand after the
# second `geese`? `boats` can be said at either place; what is left of the farm then?

# %% tags=["nbval-check-output"]
FARM, HARBOUR, END = range(3)
HENS, GEESE, BOATS, STOP = range(4)
start = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
arcs = torch.zeros(3, 4, 3, dtype=torch.float64)  # from, word, to
arcs[FARM, HENS, FARM], arcs[FARM, GEESE, FARM], arcs[FARM, BOATS, HARBOUR], arcs[FARM, STOP, END] = 0.4, 0.2, 0.1, 0.3
arcs[HARBOUR, GEESE, HARBOUR], arcs[HARBOUR, BOATS, HARBOUR], arcs[HARBOUR, STOP, END] = 0.1, 0.6, 0.3
beliefs = read_on(start, arcs, [GEESE, GEESE, BOATS, GEESE])
for word, belief in zip(["(start)", "geese", "geese", "boats", "geese"], beliefs, strict=True):
    print(f"{word:8} farm {belief[FARM]:.2f}   harbour {belief[HARBOUR]:.2f}")

# %% [markdown]
# Four to one after two `geese`. Then `boats` leads to the harbour from wherever one was, and there is no way back.
#
# `Storyland` does the same with its own grammar and remembers every belief that any prefix can leave. There are
# 4,682<!-- different beliefs -->. From then on reading is walking between numbered beliefs, and nothing is
# approximated. To watch one at work we use a trick: each place has a landmark of its own, said with the same chance, so
# the landmarks' chances of coming, which the library knows, are in proportion to the places.
#
# **Before you run**: *in the bitter cold the hungry children carry the candles*. Which of `hungry`, `children`, `carry`
# and `candles` tell something about the place? Children live in four places; candles are carried in castles and, less
# often, in villages.

# %% tags=["figure", "nbval-check-output"]
print(f"different beliefs: {len(world.automaton.step):,}")
landmarks = {"farm": "barn", "harbour": "lighthouse", "forest": "oak", "castle": "tower", "village": "school"}
landmarks |= {"mountain": "summit"}
words = "in the bitter cold the hungry children carry the candles".split()
prefixes = world.encode([" ".join(words)] * 6)
share = 4 / 13  # of the last words in its place
h = world.posterior(prefixes, world.keyword_ids(list(landmarks.values()))) / share  # [6, T + 1]
shown = [0, 6, 7, 8, 10]
columns = ["(start)", *(f"… {words[t - 1]}" for t in shown[1:])]
title = "“children” leaves four places, “candles” two; nothing settles it"
plot.heatmap(h[:, shown].round(decimals=6), list(landmarks), columns, title, "read so far", "place", "belief")

# %% [markdown]
# `children` rules out forest and mountain, `candles` all but castle and village, at three to one. `hungry` and `carry`
# are said everywhere alike. A fountain stands in both, so if the sentence ends in `fountain` nobody will ever know:
# being unsure is not a fault when the language itself is ambiguous.
#
# ## The floor
#
# In [notebook 01](01_logits_are_opinions.ipynb) the loss was entropy plus KL. The entropy is what nobody can know
# beforehand, the **floor** under every model. For real text it has never been measured. Here it can be. Each state has
# a row of next-word probabilities, and each row has an entropy. A sentence comes through some states often and through
# others hardly ever: `visits` says how many times, on average. Weigh, add, and divide by the number of tokens.

# %% [markdown] tags=["task:4.2"]
# > **Exercise 4.2 · entropy per token**
# >
# > Write `entropy_per_token(visits, probs)`: `visits [S]` says how often a sentence comes through each state on
# > average, `probs [S, V]` is the next word's distribution in each. Return one number, nats per token. In the end
# > state no word is said: its row is all zeros, although every sentence visits it once.
#
# *What if* you had a hundred sentences and no grammar? Which of the two arguments could you estimate well?


# %% tags=["exercise:4.2"]
def entropy_per_token(visits, probs):
    """Entropy in nats per token: visits of each state by a sentence ``[S]`` and rows ``[S, V]`` to one number."""
    # SOLUTION
    nats = -(visits @ torch.special.xlogy(probs, probs).sum(-1))
    return float(nats / (visits @ probs.sum(-1)))
    # END


# %% tags=["check:4.2", "nbval-check-output"]
check("4.2", entropy_per_token)
entropy_per_token = use("4.2", entropy_per_token)

# %% [markdown]
# The same function prices simpler models. The best **bigram** model, which remembers one word, is an automaton too: its
# states are the words, and its rows say what follows each in the true language. So it has a floor of its own, higher
# than the world's. A model that only counts words has one state.
#
# **Before you run**: a fair guess among all words costs about 5.9<!-- fair guess --> nats. How far down does counting
# get, how far one word of memory, and how far the truth?

# %% tags=["nbval-check-output"]
automaton, bigram = world.automaton, world.bigram_log_probs().exp()  # the bigram's row 0 is the beginning
source, word, _, probs = automaton.arcs
counts = torch.zeros(len(bigram), dtype=torch.float64).index_add(0, word, automaton.visits[source] * probs)
begun = counts.index_fill(0, torch.tensor([0]), 1.0)  # and every sentence begins once
shares = counts / counts.sum()
floors = {"fair guess": math.log(len(counts) - 1)}
floors["word counts"] = entropy_per_token(torch.ones(1, dtype=torch.float64), shares[None])
floors |= {"bigram": entropy_per_token(begun, bigram), "truth": entropy_per_token(automaton.visits, automaton.probs)}
for name, nats in floors.items():
    print(f"{name:12} {nats:.3f} nats per token   perplexity {math.exp(nats):6.2f}")
print(f"a sentence: {world.mean_length:.2f} tokens, {world.entropy:.2f} nats: one of {math.exp(world.entropy):,.0f}")

# %% [markdown]
# The last line reads: a sentence is as hard to guess as one among hundreds of millions that are equally likely. Between
# bigram and truth lies more than a nat per token. That nat is the threads. Where is it paid?
#
# **Before you run**: one sentence, word by word, at the prices of both. Where are the bars equal? Which words should be
# free to a reader who knows the grammar, and dear to one who remembers a single word?

# %% tags=["figure", "nbval-check-output"]
ids = world.encode(["at noon the king feeds his tiny swans and sings near the moat."])
came = ids[0, :, None]
true_price = -world.next_log_probs(ids)[0, :-1].gather(-1, came)[:, 0]
bigram_price = -bigram.log()[torch.cat([torch.zeros(1, dtype=torch.long), ids[0, :-1]])].gather(-1, came)[:, 0]
labels = [world.vocabulary[v] for v in ids[0].tolist()]
groups = {"truth": true_price, "bigram": bigram_price}
plot.bars(groups, labels, "The bigram pays again for what was already decided", "nats", "word")

# %% [markdown]
# `at` costs both the same, since nothing came before. Then they part. `his` is free to whoever remembers the king.
# `swans` are half told by him, `sings` by noon, and `moat` by king and swans; one word of memory knows none of this.
#
# Prices are for readers. Writing is the harder test, because a writer has to live with its own words.
#
# **Before you run**: the bigram model writes five sentences. Will they be grammatical?


# %%
@torch.inference_mode()
def write(policy, n, generator, longest=40):
    """n sentences ``[n, T]``: ``policy`` maps prefixes ``[n, t]``, ``<s>`` in front, to logits ``[n, V]``."""
    ids, done = torch.zeros(n, 1, dtype=torch.long), torch.zeros(n, dtype=torch.bool)
    while not done.all() and ids.shape[1] <= longest:
        drawn = torch.multinomial(policy(ids).softmax(-1), 1, generator=generator)[:, 0]
        ids = torch.cat([ids, drawn.masked_fill(done, 0)[:, None]], 1)  # 0 is the blank: nothing after the end
        done |= drawn == world.ids["."]
    return ids[:, 1:]


bigram_logits = bigram.log().nan_to_num(neginf=-1e4)
by_bigram = write(lambda ids: bigram_logits[ids[:, -1]], SAMPLES, generator)
print(*world.decode(by_bigram[:5]), sep="\n")
print(f"grammatical: {world.is_grammatical(by_bigram).double().mean():.1%}")

# %% [markdown]
# Every pair of neighbours is good, and hardly a sentence is. (What *grammatical* means here is exact: the walk
# through the automaton ends at the end.) This is how a model looks that is a nat above its floor.
#
# ## Training a small model
#
# Now a real learner: a Llama of the ordinary `transformers` kind, two layers, 96 numbers wide, with no idea of queens.
# It reads 128 fresh sentences a step, each once. `lm_inputs` puts `<s>` in front and tells the loss to skip the blanks
# which fill up rows. The loop is the one that you know; the learning rate rises briefly and then falls to zero. It
# takes about half a minute.
#
# **Before you run**: where does the curve start? Which of the levels will it pass quickly, and where must it stop?


# %%
def train(model, sentences, rate=6e-3):
    """Read the sentences once, 128 at a time; returns the loss of each step, in nats per token."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98)), []
    batches = sentences.split(128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches), pct_start=0.1)
    for rows in batches:
        loss = model(**lm_inputs(rows), use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


model, seen = new_story_lm(world, seed=SEED), world.sample(128 * STEPS, generator)
losses = train(model, seen)
print(f"{sum(part.numel() for part in model.parameters()):,} parameters, {len(losses)} steps, {len(seen):,} sentences")

# %% tags=["figure"]
window = max(1, STEPS // 64)
smooth = torch.tensor(losses[: len(losses) // window * window]).view(-1, window).mean(-1)
places = [window * (i + 1) for i in range(len(smooth))]
levels = {"bigram": floors["bigram"], "truth (entropy)": floors["truth"]}
title = "The loss passes the bigram and settles just above the entropy"
plot.curves({"small Llama": (places, smooth)}, "step", "nats per token", title, levels)

# %% [markdown]
# It passes the level of the bigram after a few dozen steps, so the threads begin to be seen, and then creeps towards
# the floor. In the real world this picture has no lower line, and one wonders for ever whether to go on.
#
# How far above the floor is it? There are three ways to say, and they should agree:
#
# 1. loss on unseen sentences − entropy. The sentences may happen to be easy or hard, so this wobbles.
# 2. loss − the truth's own loss *on the same sentences*: the luck of the draw is the same in both, and largely cancels.
# 3. the mean KL from the truth's row to the model's, at every prefix. No drawn word is involved but those of the
#    prefixes.
#
# **Before you run**: which of the three will be the least noisy? Can the first be negative? Can the third?


# %%
def rows_of(model, ids):
    """Next-word log-probabilities at every token of ``ids [B, T]``: truth's and model's, ``[N, V]`` each."""
    said = ids != 0
    with torch.inference_mode():
        logits = model(**lm_inputs(ids), use_cache=False).logits[:, :-1]  # position t has read t words
    return world.next_log_probs(ids)[:, :-1][said], logits[said].double().log_softmax(-1)


unseen = world.sample(1000, generator)
log_p, log_q = rows_of(model.eval(), unseen)
came = unseen[unseen != 0, None]
loss, own = -log_q.gather(-1, came), -log_p.gather(-1, came)
gaps = {"loss − entropy": loss - world.entropy_rate, "loss − truth's loss": loss - own, "KL": kl(log_p, log_q)}
for name, nats in gaps.items():
    print(f"{name:20} {nats.mean():.3f} ± {nats.std() / len(nats) ** 0.5:.3f} nats per token")

# %% tags=["nbval-check-output"]
gap = float(kl(log_p, log_q).mean())
print(f"within 0.05 nats per token of the true entropy: {gap < 0.05}")
print(f"the gap is the KL, up to 0.01: {abs(float((loss - own).mean()) - gap) < 0.01}")
print(f"share of the way from bigram to truth above 95 %: {gap < 0.05 * (floors['bigram'] - floors['truth'])}")

# %% [markdown]
# The three agree within their errors, and the third has by far the smallest. **The gap is the KL**: nothing is left of
# the loss that the model could learn away, but for a few hundredths of a nat. Everything else is the language.
#
# Does it write as well as it reads? And does it write, or recite?
#
# **Before you run**: a gap of about 0.02<!-- KL ±0.03 --> nats per token, and 15 tokens a sentence. Guess the share of
# grammatical sentences, and the share that it has met in training. (There is a bound: a model that errs in a share of
# its sentences has a KL of at least $-\log(\text{share that is good})$, since the truth never errs.)

# %%
by_model = write(lambda ids: model(ids, use_cache=False).logits[:, -1], SAMPLES, generator)
good = world.is_grammatical(by_model)
print(*world.decode(by_model[good][:4]), sep="\n")
print("and not of this language:", *world.decode(by_model[~good][:4]), sep="\n")
met = {tuple(row[row != 0].tolist()) for row in seen}
repeated = sum(tuple(row[row != 0].tolist()) in met for row in by_model) / len(by_model)
least = math.exp(-gap * world.mean_length)
print(f"grammatical: {good.double().mean():.0%}, at least {least:.0%} by its KL   met in training: {repeated:.1%}")

# %% [markdown]
# Most are good, more than the bound asks for. The failures are mostly of one kind: every word fits its neighbours, and
# one thread is torn, such as a thing from another place. A small KL per token adds up over a sentence, and where the
# truth says *never*, any probability is too much. And it does not recite: with so many sentences, hardly one that it
# writes was in its books.
#
# ## The keyword that may still come
#
# Now to control. In [notebook 02](02_product_of_experts.ipynb) the perfect second expert was $\log h$, with $h$ the
# chance, given the prefix, that the text will hold the keyword. There we averaged over all futures. Storyland has too
# many, but they pass through few states, and from a state on the past no longer matters. Let $h_s$ be the chance that
# the keyword is said *from state s on*. At the next step it is said, or it is not:
#
# $$h_s \;=\; \underbrace{\sum_{s'} A^{\text{with}}_{ss'}\cdot 1}_{\text{said now}} \;+\;
#   \underbrace{\sum_{s'} A^{\text{without}}_{ss'}\, h_{s'}}_{\text{something else, then hope on}}
#   \qquad\text{or}\qquad (I - A^{\text{without}})\,h = A^{\text{with}}\,\mathbf 1 .$$
#
# One linear system for each keyword. For `geese` in the tiny language: $h_{\text{harbour}} = .1 + .6\,
# h_{\text{harbour}}$, which is $.25$, and $h_{\text{farm}} = .2 + .4\,h_{\text{farm}} + .1\,h_{\text{harbour}}$. Solve
# that for the farm before you go on.

# %% [markdown] tags=["task:4.3"]
# > **Exercise 4.3 · the chance of a keyword**
# >
# > Write `keyword_chance(arcs, word)`: `arcs [S, V, S]` as above, `word` a number. Return `[S]`: the chance, from each
# > place, that the word is said before the end. Use `torch.linalg.solve`. The language may have loops, and a word that
# > is said twice has still been said once.
#
# *What if* the keyword were two words in a row? What more would a state have to remember?


# %% tags=["exercise:4.3"]
def keyword_chance(arcs, word):
    """P(the word is said from here on | place): ``arcs [S, V, S]`` and a word's number to ``[S]``."""
    # SOLUTION
    without = arcs.sum(1) - arcs[:, word]
    return torch.linalg.solve(torch.eye(len(arcs), dtype=arcs.dtype) - without, arcs[:, word].sum(-1))
    # END


# %% tags=["check:4.3", "nbval-check-output"]
check("4.3", keyword_chance)
keyword_chance = use("4.3", keyword_chance)

# %% [markdown]
# **Before you run**: your two numbers for `geese`. Then the belief comes in: before the first word, with half a belief
# in each place, how likely is a story with geese? Below that, Storyland's own table, `future_keyword_prob`, with one
# column for each word: does it solve its system?
#
# Then a sentence: *On snowy days the clever captain carries the maps and she stumbles near the lighthouse*. Four
# keywords hope: `lighthouse`, its neighbour `pier`, `summit`, which is in the mountains, and `sneezes`, another idle
# word for winter. Which word ends the hope of `summit`? When does `sneezes` hope most? What is the hope of
# `lighthouse` just before it comes?

# %% tags=["nbval-check-output"]
h = keyword_chance(arcs, GEESE)
print(f"geese: farm {h[FARM]:.3f}   harbour {h[HARBOUR]:.3f}   before the first word {start @ h:.3f}")
source, word, target, probs = automaton.arcs
for keyword in ("geese", "lighthouse", "candles"):
    k = world.ids[keyword]
    h = world.future_keyword_prob[:, k]
    right = torch.zeros_like(h).index_add(0, source, probs * torch.where(word == k, 1.0, h[target]))
    print(f"{keyword:10} in {h[0]:.2%} of sentences   solves its system: {(right - h).abs().max() < 1e-12}")

# %% tags=["figure", "nbval-check-output"]
text = "on snowy days the clever captain carries the maps and she stumbles near the lighthouse."
keywords = ["lighthouse", "pier", "summit", "sneezes"]
h = world.posterior(world.encode([text] * 4), world.keyword_ids(keywords)).round(decimals=6)  # [4, T + 1]
lines = {keyword: (range(h.shape[1]), row) for keyword, row in zip(keywords, h, strict=True)}
print("before the last word:", ", ".join(f"{keyword} {row[-3]:.2f}" for keyword, row in zip(keywords, h, strict=True)))
plot.curves(lines, "words read", "h = p(keyword | prefix)", "Hope rises and falls with words that are not the keyword")

# %% [markdown]
# So `world.posterior(token_ids, keyword_ids)` is a walk and a look-up. The captain is the news of this sentence:
# captains live in harbours, so `lighthouse` and `pier` rise and `summit` dies, long before any of them could be said.
# `sneezes` rises with the snow, rises once more with the captain, since only one person *sneezes*, and dies with
# `stumbles`. Even with everything known, `lighthouse` is at 0.31<!-- before the last word … lighthouse -->: four
# chances in thirteen. The last step is a matter of luck, or of control.
#
# With $h$ the perfect expert is at hand: add $\log h$ to the truth's logits, draw, go on. `world.sample` does so when
# it is given keywords.
#
# **Before you run**: five keywords, then two thousand, each any of the 290 content words. How many sentences will
# lack theirs?

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(SEED)
wanted = world.keyword_ids(["pumpkins", "grandmother", "sneezes", "glacier", "clumsy"])
print(*world.decode(world.sample(5, generator, wanted)), sep="\n")
many = world.content_ids[torch.randint(len(world.content_ids), (2000,), generator=generator)]
texts = world.sample(2000, generator, many)
print(f"2,000 more: all hold their keyword: {bool((texts == many[:, None]).any(-1).all())}")
print(f"            all are grammatical:    {bool(world.is_grammatical(texts).all())}")

# %% [markdown]
# None. Every sentence holds its keyword, whichever it was, and every one is grammatical. This **oracle** will stand
# beside everything that we train from now on.
#
# ## Who draws the keyword?
#
# The oracle answers "the sentence *holds* w". The examples of [notebook
# 03](03_learning_the_missing_expert.ipynb) were made by a finger: "w was *drawn from* the sentence", and there the two
# differed, since a text with two `k`s is drawn twice as often. In Storyland every sentence has exactly six content
# words, all different, and the keyword is one of them, drawn evenly. So $p(c = w \mid x) = \frac16$ for *every*
# sentence that holds $w$, and Bayes' rule leaves the proportions among them as they are.
#
# **Before you run**: we compare sentences that hold a word with those from which it was drawn. First for `barn`, drawn
# from the content words; then for `the`, drawn by a finger that may point at any token. In which pair do the two lines
# differ?

# %%
texts = world.sample(30_000, generator)
tokens = (texts != 0).sum(-1).double()
drawn = world.draw_keywords(texts, generator)
anywhere = texts.gather(1, (torch.rand(len(texts), generator=generator) * tokens).long()[:, None])[:, 0]
print(f"content words in every sentence: {world.words_per_sentence}, all different")
for name, keywords in {"barn": drawn, "the": anywhere}.items():
    hits = texts == world.ids[name]
    for group, rows in {"holds": hits.any(-1), "drawn": keywords == world.ids[name]}.items():
        length, times = tokens[rows], hits[rows].double().sum(-1).mean()
        error = length.std() / len(length) ** 0.5
        print(
            f"{group} {name:5} {rows.sum():6d} sentences   {length.mean():.2f} ± {error:.2f} tokens   {times:.2f} times"
        )

# %% [markdown]
# For `barn` the groups agree within their errors: drawn *is* contained. For `the` they do not. A finger likes sentences
# with many `the`; such a posterior is called **size-biased**, and an auxiliary trained on it learns to repeat its
# keyword. Our draw spares us that, and it can be run backwards: choose a keyword as often as it is drawn, let the
# oracle write, and all its sentences together are distributed exactly as the grammar says. Nothing has to be adapted;
# all that an auxiliary can gain here is control.
#
# ## The ceiling
#
# How much can it gain? A model that is told the keyword pays, on average, $H(X \mid C)$ instead of $H(X)$. The
# difference is the mutual information, and because it is symmetric we may count it from the keyword's side:
#
# $$I(X;C) = H(X) - H(X \mid C) = H(C) - H(C \mid X) \;\le\; H(C).$$
#
# Nobody can be told more by a keyword than there is in it.

# %% [markdown] tags=["task:4.4"]
# > **Exercise 4.4 · the information ceiling**
# >
# > Write `information_ceiling(h, k)`: `h [V]` is the probability that a sentence holds each word, before anything
# > is read. Every sentence holds k of these words, all different, and the keyword is drawn evenly from them. Return
# > $I(X;C)$, one number in nats per sentence.
#
# *What if* k grows, with all words equally likely? What is left to be told when a sentence holds nearly every word?


# %% tags=["exercise:4.4"]
def information_ceiling(h, k):
    """I(X; C) in nats per sentence: P(word in sentence) ``[V]``, k different words a sentence, to one number."""
    # SOLUTION
    p = h / k
    return float(-torch.special.xlogy(p, p).sum() - math.log(k))
    # END


# %% tags=["check:4.4", "nbval-check-output"]
check("4.4", information_ceiling)
information_ceiling = use("4.4", information_ceiling)

# %% [markdown]
# **Before you run**: there are 290 content words. Order these four before you see them: $\log 290$, the entropy of the
# keyword, the ceiling, and the entropy of a sentence.

# %% tags=["nbval-check-output"]
h_start = world.future_keyword_prob[0, world.content_ids]
ceiling, p_c = information_ceiling(h_start, 6), h_start / 6
print(f"log of {len(p_c)} words {math.log(len(p_c)):.2f}   H(C) {-(p_c * p_c.log()).sum():.2f}   I(X;C) {ceiling:.3f}")
print(f"the library agrees: {abs(ceiling - world.mutual_information) < 1e-9}   H(X) {world.entropy:.2f}")
print(f"a keyword that was drawn is in {p_c @ h_start:.1%} of sentences: the base rate")

# %% [markdown]
# So 3.72<!-- I(X;C) --> nats per sentence, not one more, for whatever auxiliary anyone will ever build here. Some words
# are commoner than others, which is why $H(C)$ is below the logarithm; and who has read the sentence is still unsure
# which of six was drawn, which costs $\log 6$.
#
# *Where* in a sentence is it gained? The chain rule splits it into steps, and one step's gain is a quantity that you
# have in hand: $\log p(x_t \mid x_{<t}, c) - \log p(x_t \mid x_{<t}) = \log h(x_{\le t}) - \log h(x_{<t})$. The
# whole sentence telescopes to $\log 1 - \log h(\text{""})$.
#
# **Before you run**: the mean gain at each of the seventeen positions. At the front, or at the end? Are all bars
# positive? Then the same nats by another order: before the keyword is said, at it, after it.

# %% tags=["figure"]
texts = world.sample(20_000, generator)
keywords = world.draw_keywords(texts, generator)
gains = world.posterior(texts, keywords).log().diff()  # [B, T]: log h after the word, minus before
title = "The gain peaks at words 5 to 7, where hero and deed are chosen"
plot.bars({"gain": gains.mean(0)}, range(1, gains.shape[1] + 1), title, "nats", "position")

# %%
total = gains.sum(-1)
print(f"sum over positions {total.mean():.3f} ± {total.std() / len(total) ** 0.5:.3f}   exact I(X;C) {ceiling:.3f}")
at = texts == keywords[:, None]
said = at.cumsum(-1) > 0  # from the keyword on
for name, where in {"before the keyword": ~said, "at the keyword": at, "after it": said & ~at}.items():
    print(f"{name:19} {gains.where(where, 0.0).sum(-1).mean():.3f} nats")

# %% [markdown]
# The sum is the ceiling. Every bar is an average KL and so cannot be negative, although single gains can. About a
# third is won *before* the keyword comes, by words that prepare for it: control is looking ahead. After it nothing is
# left to win.
#
# ## Why the loss will hardly show it
#
# Here is what every later notebook has to live with. The ceiling is *per text*, while losses are reported *per token*.
#
# **Before you run**: sentences of Storyland have 15 tokens. Suppose that somebody tells one keyword for a page of 100
# tokens, or a chapter of 1,000. By how much does perfect control improve the perplexity?

# %% tags=["nbval-check-output"]
rate = world.entropy_rate
for tokens in (world.mean_length, 100, 1000):
    share = ceiling / tokens
    before, after = math.exp(rate), math.exp(rate - share)
    print(f"{tokens:5.0f} tokens   gain {share:.4f} per token   perplexity {before:.3f} → {after:.3f}")
print(f"sentences with their keyword: not told {p_c @ h_start:.1%}, told and perfect {1:.0%}")

# %% [markdown]
# In one sentence the gain can be seen; on a page it is 0.0372<!-- 100 tokens gain --> nats per token, no more than a
# few more steps of training would bring; in a chapter it is lost in the noise. Meanwhile the share of texts that hold
# their keyword goes from about one in thirty-five to *all*. **Perplexity cannot see control; keyword accuracy has to
# be counted**, and beside it the base rate, which is what one gets for nothing.
#
# Does our model, which was never told, stand at the base rate? We hold its sentences against keywords that were drawn
# for other sentences. And what would it cost to raise it to all?
#
# **Before you run**: you know both numbers already.

# %% tags=["nbval-check-output"]
hits = (by_model[:, :, None] == keywords[:200]).any(1).double()  # [sentences, keywords]
print(f"untold model within 1 % of the base rate: {bool((hits.mean() - p_c @ h_start).abs() < 0.01)}")
print(f"least drift that makes it 100 %, on average: {-(p_c @ h_start.log()):.3f} nats per sentence")

# %% [markdown]
# It does. The last line is an old acquaintance: to raise a word from $h$ to certainty costs a KL of at least $-\log h$
# ([notebook 02](02_product_of_experts.ipynb)), and its average over keywords is $I(X;C)$ again. What must be paid in
# drift is what the keyword tells.
#
# ## What you take with you
#
# - Reading is a **belief**, updated word by word: weigh, move, divide. Two prefixes that leave the same belief have the
#   same future.
# - In a language that we wrote, the **entropy** is a number. Loss − entropy **is** the KL, and a small Llama gets
#   within a few hundredths of a nat in half a minute.
# - The chance of a keyword is a **linear system**, $h = A^{\text{without}} h + A^{\text{with}}\mathbf 1$. With it the
#   exact expert writes any keyword into a good sentence, always.
# - Six different content words, drawn evenly: *drawn* means *contained*, and the marginal of the examples is the
#   grammar.
# - $I(X;C) \le H(C)$ nats **per text** is the most that any auxiliary can gain. Per token it vanishes; count keywords.
#
# ## Quiz
#
# **1.** Your model's loss on 200 unseen sentences is *below* the entropy rate. Has it beaten the language?
# <details><summary>Answer</summary>No. The entropy is an average over all sentences, and these 200 were easier than
# most. Charge the truth on the same 200: it will be lower still, up to noise. If they were in the training data the
# model may also have learned them by heart, which a fresh sample shows.</details>
#
# **2.** An auxiliary for Storyland gains 5 nats per sentence over the exact language model, on unseen sentences, with
# keywords drawn as here. What do you say?
# <details><summary>Answer</summary>Impossible beyond noise: the ceiling is I(X;C), below 4 nats. Look for a leak,
# such as a keyword that also tells its position, or blanks that count as tokens. A gain over a <em>trained</em> model
# may exceed the ceiling, by that model's own KL: this would be adaptation, not control.</details>
#
# **3.** A friend's controlled model has the same perplexity as the uncontrolled one, on texts of 500 tokens. Does the
# control not work?
# <details><summary>Answer</summary>That cannot be told from perplexity. One keyword is worth a few nats per text, here
# less than a hundredth of a nat per token. Count how many generated texts hold their keyword, and hold that against the
# base rate.</details>
#
# ## Onward
#
# The floor, the ceiling and the oracle are known. Now an auxiliary has to be trained that is told a keyword and has
# never seen $h$: [The keyword auxiliary](05_the_keyword_auxiliary.ipynb).
