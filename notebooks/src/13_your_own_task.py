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
TRAIN_SENTENCES = 1000
LONGEST = 10
HELD_OUT = 200
JUDGE_TEXTS = 600
SAMPLES = 128
SHUFFLES = 19

# %%
from collections import namedtuple
from copy import deepcopy
from time import perf_counter

import torch
from datasets import DatasetDict, concatenate_datasets
from torch import nn

from auxlib import plot
from auxlib.classification.encoders import as_batch, load_encoder, mean_state
from auxlib.data.tasks import label_names, load_task
from auxlib.features import read_preamble, read_texts
from auxlib.frozen import fingerprint, load_expert
from auxlib.generation import SAMPLING
from auxlib.recipes import Recipe, prepare_data
from auxlib.sparse_logits import SparseLogits
from auxlib.tartan.meta_weights import fit_linear_head
from course.exercises import check, use
from experiments.metrics import wilson

print(f"profile: {PROFILE}")

# %% [markdown]
# ## Now it is your turn
#
# Choose a wish, make an auxiliary for it beside the frozen SmolLM2, and find out whether it works. What you hand in
# is a notebook of your own of some twenty cells, and its first page is a **plan sheet**, most of which is written
# *before* anything is trained. A wish that did not come true and was measured well gets full marks.
#
# First come the sheet, the rubric and five wishes to choose from. Then one wish is carried through as an example,
# sheet in hand: film reviews with a *feeling*. Three small exercises on the way are tools that you will need for
# yours.
#
# ## The sheet
#
# Copy it into the first cell. One to four sentences under each heading; numbers where there are numbers.
#
# ~~~text
# 1  Question      One sentence that can turn out false.
# 2  Condition     What is the auxiliary told, and in which form? What of it shows in a text, and where?
# 3  Data          Which texts, how many, by whom, under which licence? What was left out, and why?
# 4  Leak check    What do training and test share: texts, near copies, words, authors, the judge?
# 5  Base rate     How often does the wished-for thing happen to somebody who was told nothing?
# 6  Judge         A rule or a model? What did it learn from? How often is it wrong, on which texts?
# 7  Rule          Fixed beforehand: which numbers would make me say "it failed"? λ, sample size, seed.
# 8  Budget        Sentences, steps, minutes, operations. How much of it goes into trying?
# ---------------  here training begins; what stands above is not changed any more  ---------------
# 9  Instruments   Which of the nine of notebook 12 were read? Which cannot be had here, and why?
# 10 Null test     The same run without the condition's meaning. How often is chance as good?
# 11 Result        Rate, interval, base rate, number of samples. The rule's verdict, word for word.
# 12 Price         Fluency beside control, as functions of λ; seconds and operations beside the obvious rival.
# 13 Failures      Ten samples read aloud as they came, misses first. What does the judge not see?
# 14 Next          What I would do with another day, and what I would bet on it.
# ~~~
#
# ## How it is graded
#
# | part of the sheet | points | full marks look like | marks are lost by |
# |---|--:|---|---|
# | 1, 2 question, condition | 3 | it can turn out false; its form is argued | "I want to explore …" |
# | 3, 4 data, leaks | 4 | counts, licence, and a check that was run | split by rows, nothing looked for |
# | 5, 6 base rate, judge | 5 | both measured; a judge that learned elsewhere | the auxiliary as its own judge |
# | 7, 8 rule, budget | 4 | numbers, dated before the run | a rule that fits the result |
# | 9, 10 instruments, null test | 5 | what was shuffled; a p-value above zero | a falling loss as evidence |
# | 11, 12 result, price | 5 | interval, dial, fluency, cost, one rival | a λ chosen on the test |
# | 13, 14 failures, next | 4 | misses come first and are explained | a gallery of hits |
#
# Thirty points in all; not one of them is for success. Whoever grades can go down the column on the right with a
# pencil.
#
# ## Five other wishes
#
# | wish | data at hand | what makes it hard |
# |---|---|---|
# | a length | `load_corpus()`, `length_label` | true only when the text is over; a shipped one is to be beaten |
# | a tense | `load_corpus()`, a rule of your own | the rule is the judge: what does it do with "put"? |
# | a place | `Storyland.load()` | the truth is known, so say how far from it you end |
# | a part of speech | `auxlib.data.corpora.wordnet_senses` | a word in another role: the keyword auxiliary runs along |
# | a topic | `load_task("20ng")` | headers betray it; long texts, unlike what is written |
#
# ## 1 Question, 2 Condition
#
# *Can a very small auxiliary make SmolLM2 write film reviews with the feeling that was asked for?*
#
# The machinery is that of the keyword: cached states, a sum of logits, a dial. The condition is of another kind. A
# keyword is a few tokens in one place, there is a rule that finds it, and it comes by chance about never. A feeling
# is *spread* over a sentence: no token carries it alone, so no automaton can say how much of it is written, and there
# is no boost to give. No exact rule finds it either, so the judge is a model, with errors. And by chance it comes
# *half of the time*: what can be gained is at most the other half.
#
# ## 3 Data
#
# VADER's sentences: people have rated how negative or positive each one is. We take plain film snippets of four to
# ten words; the ratings are free (MIT), the snippets belong to their critics, so they are fetched and never stored
# with the course.
#
# **Before you run**: the cell prints how many there are. Is a thousand much, beside the thirty thousand of the
# keyword?


# %% tags=["nbval-check-output"]
texts = {name: load_task(f"vader-{name}", seed=SEED) for name in ("movie", "amazon", "nyt")}
names = label_names(texts["movie"]["train"])


def short(rows, limit):
    """Plain sentences of 4 to LONGEST words, each with its feeling as the condition."""
    plain = [i for i, text in enumerate(rows["text"]) if 4 <= len(text.split()) <= LONGEST and text.isascii()]
    rows = rows.select(plain).shuffle(seed=SEED).select(range(min(limit, len(plain))))
    return rows.add_column("keywords", [[names[label]] for label in rows["label"]])


corpus = {part: short(texts["movie"][part], TRAIN_SENTENCES) for part in ("train", "test")}
for part, rows in corpus.items():
    print(f"{part:5} {len(rows):5,} sentences, share positive {sum(rows['label']) / len(rows):.2f}")
for row in corpus["train"].select(range(4)):
    print(f"{names[row['label']]:8}  {row['text']}")

# %% [markdown]
# The part for *development* is missing from the list. It was used up in a rehearsal with other draws: number of
# steps, decay and λ were chosen there, and nothing was chosen by the test part. Say so in your sheet, too; whoever
# says nothing is assumed to have chosen on the test.
#
# ## 4 Leak check
#
# The split goes by a hash of the text, so no text stands in two parts. But reviews are copied, cut and quoted. So we
# also look for *near copies*: the same letters in other dress, or four words in a row that two sentences share.
#
# **Before you run**: how many of the test sentences share four words in a row with some training sentence?


# %% tags=["nbval-check-output"]
def runs(text, length=4):
    """All runs of so many words in a text, without case and marks."""
    words = "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)} or {tuple(words)}


known = set().union(*map(runs, corpus["train"]["text"]))
shared = [text for text in corpus["test"]["text"] if runs(text) & known]
copies = sum(runs(text) <= known for text in shared)
print(f"test sentences that share four words in a row: {len(shared)} of {len(corpus['test'])}, copies {copies}")
for text in shared[:3]:
    print(" ", text)

# %% [markdown]
# Phrases of the trade, and no copies. Four words in common do no harm; a copy would have been thrown out. There is
# one more leak to rule out, and it is the one that people forget: the *judge*. If it had learned from the sentences
# that the auxiliary learned from, the two would share their prejudices, and agree without being right.
#
# ## 5 Base rate, 6 Judge
#
# So ours learns elsewhere: product reviews and editorials, no films. It is another kind of model as well: an encoder
# that reads the whole sentence, MiniLM, cut after its fourth layer, with a linear head on the mean state. (How short
# the head is held was chosen on development texts of its own two domains. The raters were the same people, though. A
# wholly independent judge would be you.)
#
# **Before you run** (some ten seconds): it has never seen a film review. What share of them will it judge right?


# %%
@torch.inference_mode()
def features(sentences, at_once=64):
    """Mean state of each sentence, ``[N, D]``; read in order of length, given back in the order they came."""
    ids = encoder.encode({"text": list(sentences)})
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = torch.empty(len(ids), encoder.width)
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        tokens, mask = as_batch(encoder, [ids[i] for i in chosen])
        found[chosen] = mean_state(encoder.read(tokens, mask).float(), mask).cpu()
    return found


encoder = load_encoder(layers=4)
elsewhere = concatenate_datasets(
    [texts[name]["train"].shuffle(seed=SEED).select(range(JUDGE_TEXTS)) for name in ("amazon", "nyt")]
)
states = features(elsewhere["text"])
middle, spread = states.mean(0), states.std(0)
head = fit_linear_head((states - middle) / spread, torch.tensor(elsewhere["label"][:]), count=2, decay=0.3)


# %%
def says_positive(sentences):
    """The judge's opinion of each sentence, ``[N]`` of 0 and 1."""
    return (head((features(sentences) - middle) / spread).argmax(-1) == names.index("positive")).float()


said, true = says_positive(corpus["test"]["text"]), torch.tensor(corpus["test"]["label"][:]) == names.index("positive")
sensitivity, specificity = float(said[true].mean()), float(1 - said[~true].mean())
for name, right in {"sensitivity": said[true], "specificity": 1 - said[~true]}.items():
    low, high = wilson(int(right.sum()), len(right))
    print(f"{name}  {right.mean():.2f} [{low:.2f}, {high:.2f}]  on {len(right)} film reviews by people")

# %% [markdown]
# Two numbers, not one. **Sensitivity** is the share of positive sentences that it calls positive, **specificity** the
# share of negative ones that it calls negative. A quarter or so of its verdicts is wrong. May one measure with that?
# One may, if one knows how wrong. If a share $p$ of the sentences is positive, it will *say* so of
#
# $$q = \text{sensitivity} \cdot p + (1 - \text{specificity}) \cdot (1 - p),$$
#
# so even perfect control shows as a $q$ equal to the sensitivity, and none at all not as zero.

# %% [markdown] tags=["task:13.1"]
# > **Exercise 13.1 · through a bad pair of glasses**
# >
# > Write `true_rate(observed, sensitivity, specificity)`: three numbers to one. A judge has called the share
# > `observed` positive; return the share $p$ that must *be* positive for it to say so. (Rogan and Gladen, 1978.) Do
# > not cut the result to $[0, 1]$: a share that is impossible tells you that something is wrong. If the judge is no
# > better than a coin, sensitivity and specificity summing to 1, nothing can be known: return `float("nan")`.
#
# *What if* your judge's sensitivity were measured on people's sentences, and it judges a machine's? Name a kind of
# sentence for which it would be too high, and one for which it would be too low.


# %% tags=["exercise:13.1"]
def true_rate(observed, sensitivity, specificity):
    """The share that is positive, if a judge with these errors calls ``observed`` positive."""
    # SOLUTION
    spread = sensitivity + specificity - 1
    return (observed + specificity - 1) / spread if spread else float("nan")
    # END


# %% tags=["check:13.1", "nbval-check-output"]
check("13.1", true_rate)
true_rate = use("13.1", true_rate)

# %% [markdown]
# The division makes errors larger too: whatever the sampling error of $q$ is, that of $p$ is larger by one over the
# denominator. That is what a bad judge costs, and it can be paid in samples.
#
# **Before you run**: three judges who see half of all sentences as positive. How many samples does each need to know
# $p$ to within a tenth (that is two standard errors)?

# %% tags=["nbval-check-output"]
for right in (1.0, 0.75, 0.6):
    slope = (true_rate(0.6, right, right) - true_rate(0.5, right, right)) / 0.1
    print(f"right in {right:.0%}: errors grow by {slope:.1f}, samples needed {0.25 * (2 * slope / 0.1) ** 2:.0f}")

# %% [markdown]
# A judge who is right in three of four cases costs four times the samples of one who never errs. That is affordable.
# One who is right in six of ten is not.
#
# ## 7 Rule, 8 Budget
#
# > Half of the samples are asked for a positive feeling, half for a negative one. Control is the *difference* of the
# > shares that the judge calls positive: 0 by chance, whatever the judge's leanings. *It has worked if, at λ = 2*,
# > (a) the interval of the difference lies above 0, (b) the null test gives $p \le 1/20$, and (c) the frozen expert
# > pays at most a quarter of a nat per token more for the sentences than for those at λ = 0. *Else it has failed.*
# > Also reported: λ = 1 and 5.
# >
# > Budget: one thousand sentences, read once; 150 steps; some two minutes.
#
# Why the difference, and not the share of sentences that come as asked? They hold the same information, but the
# difference has its base rate at 0 for certain, and one need not trust a measured one.

# %%
DIAL, CHOSEN, DEAREST, STEPS = (0.0, 1.0, 2.0, 5.0), 2.0, 0.25, 150

# %% [markdown]
# Now the expert reads. Its preamble shows the kind of text, with three sentences of each feeling, so that it leans
# neither way. Everything below lives on what is kept here.
#
# **Before you run** (half a minute, unless it has been done before): the auxiliary may speak about the tokens that
# training has shown three times. How many of the 49,152 are these?

# %%
PREAMBLE = (
    "Short film reviews:\n"
    "A warm and clever comedy with a splendid cast.\n"
    "The plot is dull and the jokes fall flat.\n"
    "Beautifully acted, and never a moment too long.\n"
    "A clumsy thriller that wastes a good idea.\n"
    "One of the year's most charming surprises.\n"
    "Tedious, noisy and far too long.\n"
)
expert, start = load_expert(), perf_counter()
tested = corpus["test"].select(range(min(HELD_OUT, len(corpus["test"]))))
parts = {"train": corpus["train"], "dev": tested}  # `prepare_data` names it dev; nothing is chosen by it
recipe = Recipe(corpus="vader-movie", preamble=PREAMBLE, support_at_least=3, seed=SEED)
stuff = prepare_data(recipe, expert, progress=PROFILE != "quick", corpus=DatasetDict(parts))
print(f"read in {perf_counter() - start:.0f} s")

# %% tags=["nbval-check-output"]
COLUMNS = ("hidden", "log_mass_outside_support", "token_ids")
Tokens = namedtuple("Tokens", "hidden rest token_ids sentence")  # one row a token


def flat(kept):
    """All tokens of all sentences below one another, and each sentence's feeling as +1 or −1."""
    rows = list(kept.with_format("torch"))
    hidden, rest, token_ids = (torch.cat([row[name] for row in rows]) for name in COLUMNS)
    sentence = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row["token_ids"]) for row in rows]))
    sign = torch.tensor([1.0 if row["keywords"] == ["positive"] else -1.0 for row in rows])
    return Tokens(hidden.view(len(rest), -1).float(), rest, token_ids.long(), sentence), sign


(train, train_sign), (held, held_sign) = flat(stuff.train), flat(stuff.dev)
W, support = expert.unembedding.float().cpu(), stuff.support
print(f"hidden {tuple(train.hidden.shape)}  (tokens, width)   sentences {len(train_sign)}   support {len(support)}")

# %% [markdown]
# ## The smallest auxiliary that could work
#
# The keyword auxiliary has two and a half million weights. A thousand sentences cannot teach so many. Tried in the
# rehearsal, it learned the style and no feeling that the judge could see, and at λ = 2 many of its sentences were
# nothing but quotation marks. So begin at the other end. What is the *least* that could carry a feeling? A fixed step
# in the expert's output space, plus or minus the same vector of 576 numbers at every place: "touching" and "fresh" up
# a little, "bore" and "flat" down a little, whatever stands before. Sentences of this trade share a style too, which
# has nothing to do with feeling. It gets a vector of its own, so that λ can turn the feeling alone.
#
# **Before you run**: what must the untrained pair be? Three instruments from [Debug me](12_debug_me.ipynb) say
# whether it is. (The future needs no test: what says the same everywhere has seen nothing.)


# %% tags=["nbval-check-output"]
class Feeling(nn.Module):
    """Two steps in the expert's output space: the kind of text, and what a feeling adds or takes away."""

    def __init__(self, width):
        super().__init__()
        self.style, self.feeling = (nn.Parameter(torch.zeros(width)) for _ in range(2))

    def forward(self, sign):
        """``sign [N]``: +λ, −λ or 0 to a shift ``[N, D]`` of the support's logits."""
        return SparseLogits(self.style + sign.unsqueeze(-1) * self.feeling, W[support], support, in_unembedding=True)


def nats(auxiliary, tokens, sign):
    """−log p of each token, ``[N]``, if each sentence is given the feeling ``sign``."""
    return auxiliary(sign[tokens.sentence]).nll(tokens.hidden, tokens.rest, W, tokens.token_ids)


newborn = Feeling(W.shape[1])
shared_memory = len({w.data_ptr() for w in expert.model.parameters()} & {w.data_ptr() for w in newborn.parameters()})
learns = sum(weight.numel() for weight in newborn.parameters())
frozen = torch.cat([row["log_z"] for row in stuff.dev.with_format("torch")])
frozen = frozen - (held.hidden * W[held.token_ids]).sum(-1)
gap = float((nats(newborn, held, held_sign) - frozen).abs().mean().detach())
print(f"λ = 0   the pair is the expert, to 1e-3: {gap < 1e-3}")
print(f"blanks  tokens scored that are no text: {len(train.rest) - sum(map(len, stuff.train['token_ids']))}")
print(f"audit   numbers that learn: {learns:,}, in the expert's memory: {shared_memory}")

# %% [markdown]
# ## 9 Instruments and training
#
# `told_apart` is the figure to watch. It asks on the held-out sentences: by how many nats does a sentence become
# likelier under its own feeling than under the other? The style cancels in it, so nothing but the condition can move
# it.
#
# One instrument cannot be had: *overfit one batch*. So few numbers cannot learn eight sentences by heart, and that is
# their virtue. Nor is there a floor: nobody knows the entropy of film reviews.
#
# **Before you run** (some seconds): a feeling with two values can be worth at most $\ln 2 = 0.69$ nats to a whole
# sentence of some ten tokens. Will the held-out loss show it?


# %%
def learn(sign, seed=SEED, steps=STEPS):
    """An auxiliary trained on the training tokens, each sentence with the feeling that ``sign`` gives it."""
    auxiliary, draw = Feeling(W.shape[1]), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(auxiliary.parameters(), lr=0.03, weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        chosen = torch.randint(len(train.rest), (400,), generator=draw)
        loss = nats(auxiliary, Tokens(*(field[chosen] for field in train)), sign).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return auxiliary.requires_grad_(False)


def told_apart(auxiliary):
    """Nats by which a held-out sentence's own feeling foretells it better than the other, on average."""
    return float((nats(auxiliary, held, -held_sign) - nats(auxiliary, held, held_sign)).sum() / len(held_sign))


# %%
start = perf_counter()
auxiliary = learn(train_sign)
seconds = perf_counter() - start
for name, sign in {"no feeling": 0 * held_sign, "its own": held_sign, "the other": -held_sign}.items():
    print(f"{name:10}  {nats(auxiliary, held, sign).mean():.3f} nats per token")
print(f"frozen      {frozen.mean():.3f}   told apart by {told_apart(auxiliary):.2f} nats   trained in {seconds:.1f} s")

# %% [markdown]
# The style gains more than the feeling does. And see how near to one another the first two lines are: per token, the
# right feeling is worth next to nothing. The wrong one costs a little more. A loss cannot show control here; the
# difference, summed over a sentence, is the figure to go by.
#
# But what is in those 576 numbers? Multiplied by the unembedding they are one number for each token.
#
# **Before you look**: name three pieces that you expect at each end. And which will surprise you?

# %%
pull = W[support] @ auxiliary.feeling
order = pull.argsort(descending=True).tolist()
for name, ranked in {"raised": order[:14], "lowered": order[::-1][:14]}.items():
    print(f"{name:8}", " | ".join(expert.tokenizer.decode([int(support[i])]).strip() for i in ranked))
print(f"largest factor on the odds of a token at λ = 1: {pull.abs().max().exp():.1f}")

# %% [markdown]
# Some of it is what one would say oneself: praise at one end, "not" and "hardly" at the other. Some is pieces of
# words and accidents of a thousand sentences. Nothing is pushed hard; a feeling is made of many small pushes.
#
# ## 10 Null test
#
# The held-out sentences are told apart by so many nats. Is that much? Ask chance: shuffle the feelings among the
# training sentences, train *the same way*, measure the same. Everything is kept but the meaning. Do it nineteen
# times, and twenty numbers lie on the table, of which one is yours. If there were no meaning, yours would be the
# largest in one case of twenty.

# %% [markdown] tags=["task:13.2"]
# > **Exercise 13.2 · as good by chance**
# >
# > Write `p_value(found, shuffled)`: your figure, a number, and a list of those of the shuffled runs. Larger is
# > better. Return the share of *all* figures, yours among them, that are at least as large as yours; a tie counts
# > against you. (It cannot be zero: with n shuffled runs the smallest p-value is 1 / (n + 1).)
#
# *What if* somebody shuffles the feelings of the *test* sentences, a thousand times, and trains only once? It is much
# cheaper. Which question does that answer, and which not?


# %% tags=["exercise:13.2"]
def p_value(found, shuffled):
    """The share of all runs, the real one among them, that are at least as good as the real one."""
    # SOLUTION
    as_good = sum(other >= found for other in shuffled)
    return (1 + as_good) / (1 + len(shuffled))
    # END


# %% tags=["check:13.2", "nbval-check-output"]
check("13.2", p_value)
p_value = use("13.2", p_value)

# %% [markdown]
# **Before you run** (half a minute or less): around which number will the shuffled runs lie? And your own?

# %% tags=["figure"]
draw = torch.Generator().manual_seed(SEED)
by_chance = [told_apart(learn(train_sign[torch.randperm(len(train_sign), generator=draw)])) for _ in range(SHUFFLES)]
own, p = told_apart(auxiliary), p_value(told_apart(auxiliary), by_chance)
print(f"real run {own:.2f} nats   shuffled runs {min(by_chance):.2f} to {max(by_chance):.2f}   p-value {p:.2f}")
plot.histogram([*by_chance, own], "told apart, nats per sentence", "Shuffled runs lie around zero; where is yours?")

# %% [markdown]
# Twenty values, one of them far from the others, if all went well. A p-value is no size: it says that the condition
# means *something*, not that it means much. Control is something else again. It has to be written.
#
# ## Writing
#
# At generation the auxiliary is one row of logits for each feeling, computed once and added at every step; nothing
# runs along. As it does not look at the text it could hardly be cheaper. We sample at the course's temperature, from
# the fifty likeliest tokens of the sum. (A nucleus has to sort the whole vocabulary at each step.)
#
# **Before you run** (a minute or less): four settings of λ, the same dice in each. At which will you first notice the
# feeling when you read? What will go wrong at 5?


# %%
@torch.inference_mode()
def write(sign, seed):
    """One review for each entry of ``sign``: +λ, −λ, or 0 for the style alone."""
    torch.manual_seed(seed)
    aux_logits = auxiliary(sign.unsqueeze(1)).dense(len(W)).squeeze(1).to(expert.model.device)
    cache = deepcopy(opening)
    cache.crop(-1)  # the preamble's last token is read by `generate` itself
    cache.batch_repeat_interleave(len(sign))
    ids = torch.tensor([stuff.template.preamble_ids], device=aux_logits.device).expand(len(sign), -1)
    options = {**SAMPLING, "top_p": 1.0, "top_k": 50, "max_new_tokens": 18}
    options |= {"eos_token_id": stuff.template.end_id, "pad_token_id": expert.end_of_text_id}
    add = [lambda ids, scores: scores.float() + aux_logits]
    mask = torch.ones_like(ids)
    written = expert.model.generate(ids, attention_mask=mask, past_key_values=cache, logits_processor=add, **options)
    texts = expert.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


# %%
opening, _ = read_preamble(expert, stuff.template)
asked = torch.tensor([1.0, -1.0]).repeat(SAMPLES // 2)
written, start = {}, perf_counter()
for weight in DIAL:
    written[weight] = write(weight * asked, SEED + 1)
    print(f"λ = {weight:g}   +  {written[weight][0]}\n        −  {written[weight][1]}")
print(f"{len(DIAL) * SAMPLES} reviews in {perf_counter() - start:.0f} s")

# %% [markdown]
# ## 11 Result
#
# Two samples are an anecdote. The judge reads all, and each difference wants an interval. There is a formula for the
# difference of two shares. But the next figure that you need may be a median or a ratio, for which there is none; so
# take the tool that always works, the **bootstrap** (Efron 1979): draw your sentences anew from your sentences, as
# many as you had, *with replacement*, and compute the figure again; do it a thousand times. The middle 95 % are your
# interval.

# %% [markdown] tags=["task:13.3"]
# > **Exercise 13.3 · an interval for a difference**
# >
# > Write `difference_interval(first, second, rounds)`: `first [N]` and `second [M]` hold a number for each sentence
# > of two groups. In each round draw N of the first with replacement, and M of the second, each group for itself, and
# > take the difference of the means, first minus second. Return two numbers: the quantiles $0.025$ and $0.975$ over
# > all rounds.
#
# *What if* both groups had been written with the same dice, pair by pair? Should the bootstrap draw sentences, or
# pairs? What does it cost you if you choose wrongly, and are ours pairs?


# %% tags=["exercise:13.3"]
def difference_interval(first, second, rounds=1000):
    """95 % bootstrap interval of ``first.mean() - second.mean()``: ``[N]`` and ``[M]`` to two numbers."""
    # SOLUTION
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)
    # END


# %% tags=["check:13.3", "nbval-check-output"]
check("13.3", difference_interval)
difference_interval = use("13.3", difference_interval)

# %% [markdown]
# Now the table, and with it the price: what the frozen expert pays for each text, in nats per token, when nobody adds
# anything. It is a party, as ever: it likes what it would have written itself, and its own text drawn at a low
# temperature most of all. Therefore people's reviews stand in the last line.
#
# Two more columns. The first line shows the *base rate*, whichever feeling was asked for. `corrected` is the
# difference after `true_rate`: the judge's own errors, as they are on people's reviews, taken out.
#
# **Before you run** (some seconds): perfect control has a true difference of 1. What will the judge see of it?


# %%
@torch.inference_mode()
def frozen_nats(sentences):
    """What the expert alone pays for each text after the preamble, in nats per token."""
    encoded, found = [stuff.template.encode(expert, text) for text in sentences], []
    prefix = read_preamble(expert, stuff.template)
    for start in range(0, len(encoded), 64):
        some = encoded[start : start + 64]
        for states, ids in zip(read_texts(expert, prefix, some, stuff.template), some, strict=True):
            log_p = (states[: len(ids)].float().cpu() @ W.T).log_softmax(-1)
            found.append(-float(log_p[range(len(ids)), ids].mean()))
    return torch.tensor(found)


# %%
torch.manual_seed(SEED)
found, perfect = {}, sensitivity + specificity - 1
print(f"the judge on people's reviews: sensitivity {sensitivity:.2f}, specificity {specificity:.2f}")
print("called positive when asked for   +     −     seen                  corrected   nats per token")
for weight, reviews in written.items():
    groups = [says_positive(reviews)[asked == sign] for sign in (1, -1)]
    plus, minus = (float(group.mean()) for group in groups)
    low, high = difference_interval(*groups, 2000)
    corrected = true_rate(plus, sensitivity, specificity) - true_rate(minus, sensitivity, specificity)
    found[weight] = row = {"seen": plus - minus, "low": low, "corrected": corrected}
    row["nats"] = float(frozen_nats(reviews).mean())
    line = f"λ = {weight:g}{plus:31.2f}  {minus:.2f}   {plus - minus:+.2f} [{low:+.2f}, {high:+.2f}]"
    print(f"{line}   {corrected:+.2f}       {row['nats']:.2f}")
line = f"people{sensitivity:30.2f}  {1 - specificity:.2f}   {perfect:+.2f}"
print(f"{line}                  +1.00       {frozen.mean():.2f}")

# %% [markdown]
# **Before you look**: three panels over λ. Which of them will bend upwards?

# %% tags=["figure"]
columns = {"seen by the judge": "seen", "corrected": "corrected", "frozen expert's nats": "nats"}
series = {name: [row[key] for row in found.values()] for name, key in columns.items()}
plot.weight_sweep(list(found), series, "More λ, more feeling; beyond some point the expert pays for it")

# %% [markdown]
# Read your own table in this order. At λ = 0 the two shares are the same wish, two draws of the base rate, and the
# interval should hold 0: only dice are left. (In one case of twenty it does not, and that is no reason to draw
# again.) How far does the difference rise, and does it go on rising where the expert begins to pay? Does the
# corrected column pass 1 somewhere? Then you have an *impossible* share, and it must not be cut off: it says that the
# judge makes fewer errors on these sentences than on people's. Why it might, you will see when you read them. (A
# corrected share is as good as the likeness of the two kinds of text.)
#
# The interval knows about the dice. It knows nothing of the judge's two numbers, which have intervals of their own,
# nor of the training, which was done once.
#
# **Before you run**: the rule, word for word. Which of the three conditions is the most doubtful?

# %%
verdicts = {
    "(a) interval above 0": found[CHOSEN]["low"] > 0,
    "(b) p at most 1/20": p <= 1 / 20,
    "(c) at most a quarter nat more": found[CHOSEN]["nats"] - found[0.0]["nats"] <= DEAREST,
}
for name, holds in verdicts.items():
    print(f"{name:31} {'yes' if holds else 'no'}")
print(f"at λ = {CHOSEN:g} it has {'worked' if all(verdicts.values()) else 'failed'}")

# %% [markdown]
# Whatever stands in the last line goes into the sheet as it is. With another seed it may be another word, and it is
# not allowed to try until it fits. (It is allowed to run *five* seeds, and to report all five.)
#
# ## 12 Price
#
# The obvious rival is fine-tuning, or LoRA. By the rule of [From scratch, fine-tuned, or
# auxiliary?](06_from_scratch_fine_tuned_or_auxiliary.ipynb) reading a token costs two operations for each of the
# expert's weights, LoRA about four for each token of each step, and here a step costs forward and back through the
# support's rows.
#
# **Before you run**: where do most of our operations go?

# %% tags=["nbval-check-output"]
weights, visits = sum(weight.numel() for weight in expert.model.parameters()), STEPS * 400
reading, learning = 2 * weights * len(train.rest), 4 * W.shape[1] * len(support) * visits
print(f"reading once   {reading / 1e12:5.2f} TFLOP   for {len(train.rest):,} tokens")
print(f"learning       {learning / 1e12:5.2f} TFLOP   {learning / (reading + learning):.0%} of both")
print(f"all            {(reading + learning) / 1e12:5.2f} TFLOP")
print(f"LoRA, as long  {4 * weights * visits / 1e12:5.2f} TFLOP")
print(f"to keep for one more feeling: {4 * W.shape[1]:,} bytes")

# %% [markdown]
# The reading is all; learning is lost beside it. But do not claim more than was measured: nobody has trained the LoRA
# here. It would look at the text before it speaks, and might buy more control. That comparison would be a good task.
#
# ## 13 Failures
#
# Now read aloud, misses first. The cell prints sentences at the chosen λ of which the judge says the opposite of what
# was asked, then some at λ = 5, as they came.
#
# **Before you run**: for each miss you will have to say who is wrong: the pair, the judge, or the question.

# %%
verdict = says_positive(written[CHOSEN])
misses = [i for i in range(SAMPLES) if (asked[i] > 0) != bool(verdict[i])]
wrong = f"of 100 by people it misjudges {50 * (2 - sensitivity - specificity):.0f}"
print(f"λ = {CHOSEN:g}: the judge disagrees with {len(misses)} of {SAMPLES} ({wrong})")
known = {line.casefold() for line in [*PREAMBLE.splitlines(), *corpus["train"]["text"]]}
copied = sum(text.casefold() in known for text in written[CHOSEN])
print(f"copied whole from the preamble or from training: {copied}")
for i in misses[:10]:
    print(f"  asked {'+' if asked[i] > 0 else '−'}   {written[CHOSEN][i]}")
print(f"λ = {DIAL[-1]:g}, as they came")
for sign, text in list(zip(asked, written[DIAL[-1]], strict=True))[:8]:
    print(f"  asked {'+' if sign > 0 else '−'}   {text}")

# %% [markdown]
# Compare the two numbers of the first line. If they are alike, the judge's own errors could explain every miss, and
# only reading can tell. Sort yours into three heaps. *The judge is wrong*: "funny" in a verdict of failure, "tedious"
# missed, irony. *The question is wrong*: the sentence has no feeling at all, and neither answer is right, because the
# question has only two. *The pair is wrong*: often the sentence had begun otherwise. A first word drawn from the
# expert's taste decides much, and a constant push cannot look back and turn it with a "but". That is what the two
# vectors lack: they do not read. Watch out also for lines of the preamble that come back whole, whatever was asked.
#
# At 5 many are not reviews any more. Some repeat one word until the room is used up. A judge has it easy with them,
# since they hold nothing but signal, and that is how a corrected share can pass 1.
#
# ## 14 Next
#
# A step that depends on the state, with a few hundred more numbers; a label for "no feeling"; five seeds; a reader in
# the place of the judge, for fifty sentences. My bet is on the reader: nothing else would move what we believe so
# far.
#
# Last, the seal.

# %% tags=["nbval-check-output"]
print("expert unchanged:                ", fingerprint(expert.model) == expert.fingerprint)
print("tensors of the expert that learn:", sum(weight.requires_grad for weight in expert.model.parameters()))

# %% [markdown]
# ## What you take with you
#
# - The sheet: question, condition, data, leaks, base rate, judge, rule and budget *before* training; then
#   instruments, null test, result, price, failures, next.
# - A wish without an exact rule needs a judge, and a judge has two error rates. Correct for them, do not cut off what
#   is impossible, and buy the lost precision with samples.
# - The null test keeps everything but the meaning, and its p-value cannot be zero.
# - Begin with the least that could work. Give what is common to all texts a place of its own, so that λ turns the
#   wish alone.
# - A rule that was written down beforehand is the cheapest instrument there is.
#
# ## Quiz
#
# **1.** A judge with sensitivity $0.8$ and specificity $0.7$ calls 80 % of a controlled sample positive. A colleague
# reports "80 % control, the base rate is 50 %". Correct both numbers.
# <details><summary>Answer</summary>All of it is positive: a share of 1 would be called positive in 80 % of the cases,
# no more. And if half of the sentences were positive, this judge would say so of 55 %: a half of 80 %, and a half of
# the 30 % that it calls positive by mistake. The base rate has to be seen through the same glasses as the
# result.</details>
#
# **2.** Somebody's null test shuffles the *conditions at generation*: sentences are written with random feelings, and
# the judge finds no difference. Does that show that the real run has learned the feeling?
# <details><summary>Answer</summary>Hardly. A difference between groups that were formed by dice is 0 for every
# writer, good or bad; it tests the judge and the code that counts. What must be shuffled is what the auxiliary
# <em>learned</em> from: then the whole run, with all its chances to fool itself, is repeated without the
# meaning.</details>
#
# **3.** Ten wishes were tried, one passed its rule with a p-value of one in twenty, and it is the one that is handed
# in. What is missing from the sheet?
# <details><summary>Answer</summary>The other nine. Of ten wishes without any effect, at least one passes at one in
# twenty in four cases of ten. Write down how many were tried, and ask the winner for a fresh run, with a rule that is
# ten times as strict or on data that nobody has looked at.</details>
#
# ## Onward
#
# There is no next notebook; there is yours. The shipped auxiliaries and the recipe of [A real
# expert](07_a_real_expert.ipynb) are the way to a larger one, [Generation as control](08_generation_as_control.ipynb)
# puts yours beside a keyword, and [To the GPU](09_to_the_gpu.ipynb) makes it quick. When it fails in silence, you
# know [where the instruments are](12_debug_me.ipynb).
