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
KEYWORD = "lantern"
SENTENCES = 12

# %%
import re
from time import perf_counter

import torch

from auxlib import plot
from auxlib.errors import KeywordError, WeightError
from auxlib.frozen import fingerprint
from auxlib.generation import write_sentences
from auxlib.keywords import contains_keyword, encode_keyword
from auxlib.product import center
from auxlib.recipes import load_pretrained
from course.exercises import check, use
from experiments.benchmarking import hardware_info
from experiments.metrics import wilson

print(f"profile: {PROFILE}")

# %% [markdown]
# ## A sentence around your word
#
# Run the cells one after the other: Shift+Enter runs one and goes to the next. The cell above holds what you may
# change; `KEYWORD` is the word that the sentences below should use.
#
# Two models are about to write together. The **language model** is SmolLM2, trained by others on a great deal of
# text. It has read a few example sentences, and it is never told your word. The **auxiliary** is small and knows the
# word. At every step both give each possible next token (a word, or a piece of one) a number, a *logit*; the two
# numbers are added, and the sum decides.
#
# **Before you run** (some ten seconds, most of them loading): of five sentences, how many will hold the word?

# %%
model = load_pretrained()
sentences = write_sentences(model, [KEYWORD] * 5, seed=SEED)
for text in sentences:
    print("✓" if contains_keyword(text, KEYWORD) else "✗", text)

# %% [markdown]
# A tick means that the word is there, as a whole word, in capitals or not. You may see a cross, and you may see a
# sentence that no dictionary would print: the language model is one of the smallest in use. Nothing was sorted out.
#
# **Now you**: go back to the first cell, put a word of your own in the place of `lantern`, and run down to here
# again. Everything below then speaks about your word. Try a thing, then a verb, then something abstract.
#
# The word never entered the language model, so the auxiliary must have done it. How large does such a thing have to
# be?
#
# **Before you run**: the language model has 135 million numbers in it. Guess those of the auxiliary.

# %% tags=["nbval-check-output"]
expert, tokenizer = model.expert, model.expert_info.tokenizer
sizes = {"language model": expert, "auxiliary": model.auxiliary}
for name, part in sizes.items():
    print(f"{name:15} {sum(p.numel() for p in part.parameters()) / 1e6:7.1f} million parameters")
print(f"trainable in the language model: {sum(p.requires_grad for p in expert.parameters())} tensors")

# %% [markdown]
# About one part in fifty, and it was trained on a CPU in minutes; [A real expert](07_a_real_expert.ipynb) does it
# before your eyes. This is **Auxiliary Tuning** ([Zeldes et al. 2020](https://arxiv.org/abs/2006.16823)): leave a
# pre-trained model as it is, and learn only what has to be *added* to its logits.
#
# ## λ, the dial
#
# What is added can be multiplied first:
#
# $$\texttt{joint\_logits} = \texttt{lm\_logits} + \lambda \cdot \texttt{aux\_logits}$$
#
# The **weight** λ is a dial. At 0 the auxiliary is silent; at 1 it speaks as it was trained; above 1 it shouts. We
# write twelve sentences at each of five settings, all sixty in one batch with a λ per row.
#
# **Before you run** (some ten seconds): at which λ will half of the sentences hold the word? And what may go wrong at
# 2?

# %%
weights, n = [0.0, 0.5, 1.0, 1.5, 2.0], SENTENCES
rows = torch.tensor(weights).repeat_interleave(n)
started = perf_counter()
written = write_sentences(model, [KEYWORD] * len(rows), weight=rows, seed=SEED, batch_size=len(rows))
seconds = perf_counter() - started
at = {weight: written[i * n : (i + 1) * n] for i, weight in enumerate(weights)}
hits = {weight: sum(contains_keyword(text, KEYWORD) for text in texts) for weight, texts in at.items()}
for weight, texts in at.items():
    low, high = wilson(hits[weight], n)
    print(f"λ {weight:.1f}   {hits[weight]:2d} of {n} hold {KEYWORD!r}, so {low:.0%} to {high:.0%}   e.g. {texts[0]}")

# %% [markdown]
# Look at the range beside each count before you believe the count. Twelve sentences are few: if nine of them hold the
# word, the true rate may well be 50 % or 90 % (this is Wilson's 95 % interval, and nearly all tables of this course
# carry it). Notebook 07 measures with hundreds of words; here we only want to see which way the dial turns.
#
# The cell below draws the same sixty sentences, and under them a sign of pressing too hard: sentences that *begin* with
# the word. Some may; a writer in a hurry to be rid of it always does.
#
# **Before you run**: will the lower curve follow the upper one, or lag behind?

# %% tags=["figure"]
panels = {
    "share with the word": [hits[weight] / n for weight in weights],
    "… as its first word": [
        sum(text.lower().startswith(KEYWORD.lower()) for text in at[weight]) / n for weight in weights
    ],
}
plot.weight_sweep(weights, panels, f"Turning λ up brings the word in ({n} sentences at each point)")

# %% [markdown]
# At 0 the word is absent: the language model has no reason to say it. Somewhere around 1 it becomes usual. Beyond, it
# is nearly certain, and tends to come *at once*, wherever it would have fitted better. A count of hits shows nothing of
# this, so read some sentences too.
#
# **Before you run**: in which of the three groups do you expect the best English?

# %%
for weight in (0.0, 1.0, 2.0):
    print(f"λ {weight:.0f}")
    for text in at[weight][1:5]:
        print(f"    {text}")

# %% [markdown]
# The more we press, the more the sentence is *about getting the word out*, and the less it is something that anybody
# would say. Control is bought with fluency, and λ is the price that you choose. Every method for steering a language
# model has such a dial, shown or hidden; honest comparisons turn it for everybody.
#
# ## Frozen means frozen
#
# We claim that the language model is never changed. A claim wants a proof: `fingerprint` computes a checksum over
# every single weight. One was taken when the model was loaded, before it wrote anything.
#
# **Before you run**: the cell also changes *one* of the 135 million numbers, and puts it back. Will the fingerprint
# notice?

# %% tags=["nbval-check-output"]
at_loading = model.expert_info.fingerprint
print("unchanged since it was loaded:    ", fingerprint(expert) == at_loading)
row = expert.get_output_embeddings().weight.data[0]
kept = row.clone()
row[0] += 1.0
print("the same after changing one number:", fingerprint(expert) == at_loading)
row.copy_(kept)
print("the same once it is put back:     ", fingerprint(expert) == at_loading)

# %% [markdown]
# It notices. You will see this seal at the end of every notebook that trains something beside a frozen model. (An
# auxiliary is stored with the fingerprint of its partner, and refuses to work beside any other model.)
#
# Unchanged weights are one half of "frozen". The other: with the dial at 0 the pair must be the language model,
# *exactly*, not nearly.
#
# **Before you run**: we ask the pair at λ = 0, and the bare model without any auxiliary, for the logits of all
# 49,152 tokens after every token of a text. What is the largest difference?

# %% tags=["nbval-check-output"]
inputs = model.inputs_for([KEYWORD], ["The old man opened the door and"])
with torch.inference_mode():
    pair = model(**inputs, weight=0.0).logits
    alone = expert(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
print(f"vocabulary: {pair.shape[-1]} tokens")
print(f"largest difference: {(pair - alone).abs().max():.1f}   bit for bit equal: {torch.equal(pair, alone)}")

# %% [markdown]
# Zero, and not a rounded one. Whatever you read about λ > 0 is a statement about what was *added*.
#
# ## Inside one step
#
# Text comes one token at a time, so let us stop after "She looked at the" and look at the next token. At λ = 0 we
# get `lm_logits`, at λ = 1 `joint_logits`; their difference is what the auxiliary says.
#
# A logit means something only up to a constant, so we `center` the auxiliary's: minus their mean. A number above 0
# then reads "rather this token", one below 0 "rather not".
#
# **Before you run**: which tokens does the language model like here? What will the auxiliary say about *those*?


# %%
def next_logits(start, weight):
    inputs = model.inputs_for([KEYWORD], [start])
    with torch.inference_mode():
        return model(**inputs, weight=weight, logits_to_keep=1).logits[0, -1].float()


start = "She looked at the"
lm_logits, joint_logits = next_logits(start, 0.0), next_logits(start, 1.0)
aux_logits = center(joint_logits - lm_logits)
lm_probs, joint_probs = lm_logits.softmax(-1), joint_logits.softmax(-1)
shown = list(dict.fromkeys([*lm_probs.topk(4).indices.tolist(), *joint_probs.topk(4).indices.tolist()]))
names = [repr(tokenizer.decode([token])) for token in shown]
for name, token in zip(names, shown, strict=True):
    said = f"frozen {lm_probs[token]:.4f}   auxiliary {aux_logits[token]:+6.2f}   product {joint_probs[token]:.4f}"
    print(f"{name:14} {said}")

# %% tags=["figure"]
views = {"language model": lm_probs[shown], "product": joint_probs[shown]}
plot.bars(views, names, "The auxiliary raises the word it was asked for", xlabel=f"next token after “{start}”")

# %% [markdown]
# The quote marks show that a token brings its own space along. The auxiliary says little about most tokens and
# something loud about very few. It is no second language model: it does not know what follows "the", and need not,
# since somebody else does. It knows what your word *changes*.
#
# A word is not due everywhere, though; after "She looked" it would be poor English. And once the word is written, the
# auxiliary's job is done.
#
# **Before you run**: the cell follows one sentence as it grows. It shows the probability that your word begins next,
# and the probability that the sentence ends next, each for the language model and for the product. Which of the two
# numbers tells you that the auxiliary *looks ahead*?

# %%
first_piece = encode_keyword(tokenizer, KEYWORD)[0][0]
endings = [tokenizer(mark, add_special_tokens=False)["input_ids"][0] for mark in (".", "\n")]
grown = ["She looked", "She looked at the", "She looked at the old man", f"She looked at the {KEYWORD}"]
for start in [*grown, f"She looked at the {KEYWORD} on the table"]:
    lm_probs, joint_probs = (next_logits(start, weight).softmax(-1) for weight in (0.0, 1.0))
    begins = f"word begins {lm_probs[first_piece]:.4f} → {joint_probs[first_piece]:.4f}"
    ends = f"sentence ends {lm_probs[endings].sum():.3f} → {joint_probs[endings].sum():.3f}"
    print(f"{start!r:28} {begins}   {ends}")

# %% [markdown]
# Before the word is there the auxiliary does two things: it raises the word, and it holds back the full stop, because
# *a sentence that ends now can no longer keep its promise*. Once the word is written nothing presses it again, and the
# sentence may end. Nobody wrote these rules down. They are what it takes to predict sentences of which one knows a
# word, and [A product of experts](02_product_of_experts.ipynb) derives them from one line of probability. (What remains
# afterwards is style: the auxiliary has read a dictionary's example sentences, and has learned how long those are.)
#
# ## What this machine can do
#
# **Before you run**: the sixty sentences above took some seconds. How many tokens a second is that here?

# %%
for name, value in hardware_info().items():
    print(f"{name:8} {value}")
tokens = sum(len(tokenizer(text)["input_ids"]) for text in written)
print(f"writes   about {tokens / seconds:.0f} tokens a second, {len(written)} sentences at once")
print(f"try      profile {'gpu' if torch.cuda.is_available() else 'full'} for an evening; quick runs anywhere")

# %% [markdown]
# The notebooks come in three sizes, called profiles: `quick` for reading, `full` for an evening with a laptop, `gpu`
# for large numbers. Only the parameters in the first cell differ. `python -m auxlib doctor` in a terminal tells more:
# what is installed, what is missing, what to do about it.
#
# ## Where it fails
#
# So far the word was a kind one. Here are others: long ones, cut into several pieces by the tokenizer; a name; a
# phrase; a borrowed word; one that is no word at all.
#
# **Before you run**: mark the ones that you expect to fail.

# %%
words = [
    "nightingale",
    "Timbuktu",
    "tintinnabulation",
    "kick the bucket",
    "Weltschmerz",
    "qwrtx",
    "nevertheless",
    "ran",
]
for word, text in zip(words, write_sentences(model, words, seed=SEED), strict=True):
    pieces = [tokenizer.decode([piece]) for piece in encode_keyword(tokenizer, word)[0]]
    print("✓" if contains_keyword(text, word) else "✗", f"{'|'.join(pieces).strip():24}", text)

# %% [markdown]
# How did you do? The word itself is seldom missing now; when it is, the sentence has run on until its 24 tokens were
# used up. Read what stands *around* the ticks. A word appears in the wrong role, a verb where a noun should be. A
# phrase keeps its letters and loses its meaning. Something false is said with confidence. The auxiliary has learned
# when a word is due, but little about what it means, and the small expert knows no better. So a tick is not praise:
# the count sees the word, not the sense. And one sentence per word is an anecdote, not a measurement.
#
# Some wishes cannot be granted at all. A program should then say so, early and in one sentence.
#
# **Before you run**: what do you expect from an empty word, from punctuation, from a word of 200 letters, and from a
# λ that is no number?

# %% tags=["nbval-check-output"]
for wish in (
    {"keywords": ["  "]},
    {"keywords": ["?!"]},
    {"keywords": ["ha" * 100]},
    {"keywords": [KEYWORD], "weight": float("nan")},
):
    try:
        write_sentences(model, **wish)
    except (KeywordError, WeightError) as error:
        print(f"{type(error).__name__}: {error}\n")

# %% [markdown]
# ## How to work here
#
# Every result in this course comes after a question, **Before you run**. Answer it, in your head or on paper, *before*
# you press Shift+Enter. A wrong guess that surprises you teaches more than a right sentence that you nod at.
#
# Exercises look like the box below. Hints are folded: open one at a time. The cell after your function checks it and
# says what it saw; `check.hint("0.1")` prints a hint, if you would rather not unfold one. The notebooks in
# `notebooks/assignments/` have a gap where the worked ones have a solution. An exercise that you skip never stops the
# rest: the next cells go on with the reference solution, and say so.

# %% [markdown] tags=["task:0.1"]
# > **Exercise 0.1 · is the word there?**
# >
# > Write `contains_word(text, keyword)`: True when `text` holds `keyword` as a *whole word*, in capitals or not. No
# > letter, digit or underscore may touch it on either side. "Lanterns" does not hold "lantern". A keyword may hold
# > any character: "C++" is one.
#
# *What if* a sentence holds "lanterns"? You may find that good enough. Accuracy by word and accuracy by stem are two
# figures; which one would you put on the poster?


# %% tags=["exercise:0.1"]
def contains_word(text, keyword):
    """Whether ``text`` holds ``keyword`` as a whole word, whatever its case."""
    # SOLUTION
    return re.search(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE) is not None
    # END


# %% tags=["check:0.1", "nbval-check-output"]
check("0.1", contains_word)
contains_word = use("0.1", contains_word)

# %% [markdown]
# Every tick in this notebook came from the library's version of this function. Now yours counts the same sixty
# sentences once more.
#
# **Before you run**: one call of `sum` for each λ. Must the counts be those of the table above?

# %%
print("yours:   ", [sum(contains_word(text, KEYWORD) for text in at[weight]) for weight in weights])
print("library: ", list(hits.values()))

# %% [markdown] tags=["task:0.2"]
# The second exercise asks for the λ at which a token *draws level* with another. The language model prefers `rival`;
# the auxiliary prefers `token`. Turn the dial up from 0: at some λ their joint logits are equal, and from there on
# `token` is the more likely one.
#
# > **Exercise 0.2 · the weight of a tie**
# >
# > Write `weight_of_a_tie(lm_logits, aux_logits, token, rival)`: both logits are `[V]`, `token` and `rival` are
# > indices. Return the λ at which both tokens have the same joint logit, `lm_logits + λ * aux_logits`.
#
# *What if* the auxiliary gives both tokens the same logit? And what if 7 is added to all logits of one model?


# %% tags=["exercise:0.2"]
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    """The λ at which ``token`` draws level with ``rival``: logits ``[V]`` and ``[V]`` to one number."""
    # SOLUTION
    return (lm_logits[rival] - lm_logits[token]) / (aux_logits[token] - aux_logits[rival])
    # END


# %% tags=["check:0.2", "nbval-check-output"]
check("0.2", weight_of_a_tie)
weight_of_a_tie = use("0.2", weight_of_a_tie)

# %% [markdown]
# Back to "She looked at the". The language model has a favourite there, and your word is a long way behind it.
#
# **Before you run**: at which λ will your word be as likely as the favourite? Remember where the curve rose.

# %%
favourite = next(i for i in lm_logits.topk(2).indices.tolist() if i != first_piece)
tie = float(weight_of_a_tie(lm_logits, aux_logits, first_piece, favourite))
behind = float(lm_logits[favourite] - lm_logits[first_piece])
print(f"{tokenizer.decode([first_piece])!r} is {behind:.1f} nats behind {tokenizer.decode([favourite])!r} at λ = 0")
print(f"it draws level at λ = {tie:.2f}")
for weight in (0.0, tie, 1.0):
    level = next_logits("She looked at the", weight).softmax(-1)
    print(f"λ {weight:.2f}   favourite {level[favourite]:.4f}   your word {level[first_piece]:.4f}")

# %% [markdown]
# A logit says little by itself; a *difference* of two logits says which of two tokens leads, and by how much. λ moves
# that difference along a straight line.

# %% [markdown]
# ## A map
#
# The course climbs one ladder three times.
#
# - **Letters**: a world of three letters in which everything can be listed. Here statements are *proved by counting*.
#   [Logits are opinions up to a constant](01_logits_are_opinions.ipynb) says what a logit means,
#   [A product of experts](02_product_of_experts.ipynb) derives why logits are added and what the perfect auxiliary
#   says, and in [Learning the missing expert](03_learning_the_missing_expert.ipynb) it is found from examples alone.
# - **Storyland**: a language of small stories whose true probabilities we know, because we wrote its grammar.
#   [Storyland: a language whose truth we know](04_storyland.ipynb) trains a language model and measures it against the
#   truth; [The keyword auxiliary](05_the_keyword_auxiliary.ipynb) does the same for a *learned* auxiliary.
# - **Real**: the model that you have just used. [A real expert](07_a_real_expert.ipynb) trains the auxiliary of this
#   notebook from nothing.
#
# When a training run of your own misbehaves, [Debug me](12_debug_me.ipynb) is the place to learn how to look.
#
# Later parts ask the same question twice more: what else can be put beside a model that stays as it is? A space of
# labels ([Y-Tuning](10_y_tuning.ipynb)), and further objectives whose weights are learned
# ([End-task aware training](11_end_task_aware_training.ipynb)).
#
# ## What you take with you
#
# - Two models write together: a frozen language model, and a small auxiliary that knows something more. Their
#   **logits are added**.
# - **λ** is a dial: 0 is the language model, exactly; 1 is what was trained; more is more control and less sense.
# - "Frozen" can be proved, by a fingerprint over all weights.
# - The auxiliary raises the word where it fits and holds back the end until the word has come.
# - A rate without the number of samples is half a sentence.
#
# ## Quiz
#
# **1.** A friend says: "At λ = 0 your pair writes better English than at λ = 1, so your training has damaged the
# language model." What do you answer?
# <details><summary>Answer</summary>It cannot have: the fingerprint is the same, and at λ = 0 the logits are the bare
# model's, bit for bit. What costs fluency at λ = 1 is the sum: the pair has been asked for something that the language
# model would not have said by itself.</details>
#
# **2.** Ten of ten sentences hold the word at λ = 2, nine of ten at $\lambda = 1.5$. Is 2 the better setting?
# <details><summary>Answer</summary>Ten samples cannot tell: Wilson's interval for nine of ten runs from 60 % to 98 %,
# for ten of ten from 72 % up. And even with a thousand samples the word's presence is only half of what you want; read
# or measure the sentences too.</details>
#
# **3.** Why does the auxiliary lower the full stop before the word has come? Nobody asked it to.
# <details><summary>Answer</summary>It was asked to predict sentences that hold a given word. In those, a full stop
# never comes before the word. Whoever predicts them well must know that, and "the word is still missing, so it cannot
# be over" is what looking ahead means. No rule about full stops was built in, and the frozen model cannot do it: it
# does not know your word.</details>
#
# ## Onward
#
# We added logits all along without asking what they are. Next comes
# [Logits are opinions up to a constant](01_logits_are_opinions.ipynb): what a logit says, what it cannot say, and how a
# text is drawn from it. After that, [A product of experts](02_product_of_experts.ipynb) answers with a pencil and 81
# texts why one should *add* them, and what a perfect auxiliary would say.
