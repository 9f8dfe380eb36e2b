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
TRAIN_SENTENCES = 400
EPOCHS = 2
SAMPLES = 32
PROBE_SENTENCES = 32

# %%
import json
from statistics import median

import torch
import torch.nn.functional as F

from auxlib import plot
from auxlib.data.assets import cache_dir, data_dir
from auxlib.data.corpora import content_words, load_corpus
from auxlib.features import TextTemplate, cache_features, read_preamble, read_texts
from auxlib.frozen import fingerprint, load_expert
from auxlib.generation import write_sentences
from auxlib.keywords import NO_PIECE, KeywordState, contains_keyword, encode_keyword, keyword_batch, keyword_progress
from auxlib.recipes import Recipe, load_pretrained, prepare_data, scaled_down, train
from course.exercises import check, use
from experiments.benchmarking import paired_seconds
from experiments.metrics import keyword_control

print(f"profile: {PROFILE}")

# %% [markdown]
# ## The task
#
# Dictionaries print an example beside each word: "The *committee* rejected his proposal." Writing them is dull work for
# people and a fair test for us: **given a word, write a short sentence that uses it.** WordNet, a free dictionary,
# holds tens of thousands of such sentences, most with the word that they illustrate, their *headword*.
#
# Any content word of a sentence may be asked for, so a sentence stands for several (word, sentence) pairs. What we want
# to know in the end is how the pair treats words that it was *never* asked for. The splits therefore go by word: a
# headword belongs to training, dev or test, together with its sentences, and training may not ask for any other's.
#
# **Before you run** (a few seconds): can a test headword still *occur* in a training sentence? How often, would you
# say?

# %% tags=["nbval-check-output"]
corpus = load_corpus()
for part, rows in corpus.items():
    print(f"{part:5} {len(rows):6,} sentences")
asked = {word.casefold() for row in corpus["train"] for word in row["keywords"]}
read = {word.casefold() for text in corpus["train"]["text"] for word in content_words(text)}
heads = {row["keywords"][0].casefold() for row in corpus["test"] if row["has_headword"]}
print(f"test headwords {len(heads):,}:  asked for in training {len(heads & asked)}, read there {len(heads & read)}")
row = corpus["train"][2000]
print(f"one row: {row['text']!r} may be asked for by {row['keywords']}")

# %% [markdown]
# None is ever asked for, and most do not even occur: such a word the auxiliary will know from its letters only. Look at
# the row, too. "Crop" is its headword. Why is "fashions" not in the list? It belongs to a held-out split, and so the
# sentence may be read but never be asked for by it.
#
# ## The frame
#
# The frozen expert is SmolLM2, a language model of the web. Left to itself it would begin a web page. But *its* side of
# the product may read whatever we like, as long as it is the same for every sentence: a fixed **preamble** that shows
# the kind of sentence wanted. It ends in a line break, so a line break will also end each text:
# `preamble + text + end`.
#
# **Before you run**: into how many tokens is the sentence cut, its end included? Which of them carry a space?

# %% tags=["nbval-check-output"]
expert = load_expert()
tokenizer, frame = expert.tokenizer, TextTemplate.of(expert, Recipe().preamble)
print(tokenizer.decode(frame.preamble_ids[1:]))
ids = frame.encode(expert, row["text"])
print(f"{len(ids)} tokens: {'|'.join(tokenizer.decode([token]) for token in ids)!r}")

# %% [markdown]
# What is the preamble worth? We measure the expert's loss, in nats per token, on dev sentences: once with the preamble,
# once with nothing but the mark that opens a text. The end is left out, since the two frames end differently.
#
# **Before you run** (some ten seconds): for scale, guessing among 49,152 tokens costs $\ln 49152 = 10.8$ nats. How much
# can a handful of fixed sentences save?


# %%
def frozen_nats(frame, texts):
    encoded = [frame.encode(expert, text) for text in texts]
    hidden, total, count = read_texts(expert, read_preamble(expert, frame), encoded, frame), 0.0, 0
    for states, tokens in zip(hidden, encoded, strict=True):
        targets = torch.tensor(tokens[:-1], device=states.device)
        lm_logits = (states[: len(targets)] @ expert.unembedding.T).float()
        total += float(F.cross_entropy(lm_logits, targets, reduction="sum"))
        count += len(targets)
    return total / count


some = corpus["dev"].shuffle(seed=SEED)["text"][:PROBE_SENTENCES]
for name, layout in {"nothing": TextTemplate.of(expert, ""), "the preamble": frame}.items():
    print(f"after {name:13} {frozen_nats(layout, some):.2f} nats per token")

# %% [markdown]
# That is a large gain for no training at all, and the auxiliary will have that much less to learn.
#
# Why not go on, and write the *keyword* into the preamble? One can; it is called prompting, and it is a serious rival
# (in [the comparison](06_from_scratch_fine_tuned_or_auxiliary.ipynb) it meets an expert too small for it). But then the
# expert would read something else for every pair. With a **fixed** preamble the expert's computation depends on the
# text alone. Hold on to that: the next section lives on it.
#
# ## A dataset of hidden states
#
# This is the idea of the notebook. The expert is frozen: for the same text it computes the same thing in every epoch,
# today and tomorrow. So let it read the corpus *once*, and keep what it thought. From then on its **final hidden states
# are a dataset** like any other, a vector for every token, and training never runs the expert again.
#
# `material` does it: loads, cuts, reads, writes an Arrow table to disk. A second call finds the table.
#
# **Before you run** (half a minute for 400 sentences, on two cores): what, beside the vector, must be kept so that a
# loss can be computed later?

# %%
recipe = scaled_down(Recipe(seed=SEED), TRAIN_SENTENCES, EPOCHS)
stuff = prepare_data(recipe, expert, progress=PROFILE != "quick")
count = sum(map(len, stuff.train["token_ids"]))
print(f"{len(stuff.train)} training sentences of {count} tokens, {len(stuff.dev)} dev sentences")

# %% tags=["nbval-check-output"]
stored = stuff.train.with_format("torch")[200]
length, width = len(stored["token_ids"]), expert.unembedding.shape[1]
hidden, half = stored["hidden"].reshape(length, width), stuff.train.features["hidden"].feature.dtype
print(stored["text"])
print(f"token_ids {tuple(stored['token_ids'].shape)}   (tokens, the end included)")
print(f"hidden    {tuple(hidden.shape)}   (tokens, width of the expert)   kept as {half}")
outside, log_z = stored["log_mass_outside_support"], stored["log_z"]
print(f"outside   {tuple(outside.shape)}   log_z {tuple(log_z.shape)}   (one number each)")

# %% [markdown]
# Row *t* of `hidden` is the state from which token *t* is predicted: the first one belongs to the preamble's last
# token. Multiply by the unembedding matrix $W$, `[V, D]`, and you have the expert's logits. `log_z` is their
# log-sum-exp, and `log_mass_outside_support` a part of it that we shall meet below.
#
# The vectors are stored in half precision. Is that enough? The cell has the expert read eight sentences again, live,
# and compares the loss. It also times both ways to the same states, in turn: from disk, and by the expert.
#
# **Before you run** (some seconds): single numbers will differ in the third digit or so. And the loss, an average of
# many? How many times faster is the disk?


# %%
def from_disk():
    return list(stuff.train.with_format("torch").select(range(200, 208)))


def by_the_expert():
    return read_texts(expert, read_preamble(expert, frame), [row["token_ids"].tolist() for row in eight], frame)


eight, W = from_disk(), expert.unembedding.float().cpu()
targets = [row["token_ids"] for row in eight]
cached = [row["hidden"].reshape(-1, width).float() for row in eight]
live = [states[: len(ids)] for states, ids in zip(by_the_expert().float().cpu(), targets, strict=True)]
nats = [F.cross_entropy(torch.cat(states) @ W.T, torch.cat(targets)) for states in (live, cached)]
print(f"live {nats[0]:.4f}   cached {nats[1]:.4f} nats per token   equal to 1e-3: {abs(nats[0] - nats[1]) < 1e-3}")
disk, reading = (1000 * median(times) for times in paired_seconds(from_disk, by_the_expert, rounds=3))
print(f"from disk {disk:.0f} ms   by the expert {reading:.0f} ms")

# %% [markdown]
# The copy is as good as the original, and it is there at once. Reading is paid for once; all later epochs cost only the
# auxiliary and one product with $W$. The price is space, and that decides *what* is kept.

# %% [markdown] tags=["task:7.1"]
# > **Exercise 7.1 · what to keep**
# >
# > Write `bytes_to_keep(tokens, width, vocabulary)`: two numbers of bytes for a corpus of that many tokens. First, as
# > we do it: per token a vector of `width` half-precision numbers (2 bytes each), the two log-sums (4 bytes each) and
# > the token's id (4 bytes). Second, keeping the logits in its place: `vocabulary` half-precision numbers and the id.
#
# *What if* one kept only the hundred largest logits of each token? It would be small. But the loss needs the sum over
# *all* tokens; what would you have to store with them?


# %% tags=["exercise:7.1"]
def bytes_to_keep(tokens, width, vocabulary):
    """Bytes for caching hidden states, and for caching logits."""
    # SOLUTION
    return tokens * (2 * width + 12), tokens * (2 * vocabulary + 4)
    # END


# %% tags=["check:7.1", "nbval-check-output"]
check("7.1", bytes_to_keep)
bytes_to_keep = use("7.1", bytes_to_keep)

# %% [markdown]
# The Arrow table on disk can tell whether the formula is also true. And remember that four
# hundred sentences are a very small part of the corpus.
#
# **Before you run**: how many times larger would the logits be? Would they still fit into this machine's memory?

# %% tags=["nbval-check-output"]
states, logits = bytes_to_keep(count, width, len(W))
on_disk = sum(map(len, stuff.train["hidden"])) * 2 + count * 12
print(f"as hidden states {states / 1e6:.1f} MB, what the table holds: {states == on_disk}")
print(f"as logits        {logits / 1e6:.1f} MB, {logits / states:.0f} times as much")

# %% [markdown]
# All that for something that one matrix product gives back: 84<!-- as logits … MB, --> times the space. **Never cache
# logits.**
#
# ## How much of the word is written?
#
# The auxiliary is going to see the expert's state and the keyword. Is that all it needs? Think of the exact answer from
# [A product of experts](02_product_of_experts.ipynb): `aux_logits` $= \log h$, where $h$ is the probability that the
# word will come. That depends on the past in two ways: on what the expert expects, and on *how far the text has come
# with the word*. The second is a tiny machine, an automaton, with a handful of states. Together they are a *sufficient
# statistic*: nothing else in the past matters. An early version of our auxiliary had to guess the second, and wrote
# "cloud cloud"; so now it is told.
#
# **Before you run**: the keyword is "thimble", cut into three pieces. Write down the state after each token of
# "A thimbleful is not a thimble.": `NOT_STARTED` (nothing yet), `PARTIAL`, `COMPLETE` (all pieces, the word may still
# grow), or `DONE`.

# %% tags=["nbval-check-output"]
keyword, text = "thimble", "A thimbleful is not a thimble."
print("pieces:", [tokenizer.decode([piece]) for piece in encode_keyword(tokenizer, keyword)[0]])
seen = torch.tensor([[frame.preamble_ids[-1], *frame.encode(expert, text)]])
position = torch.arange(seen.shape[1]).unsqueeze(0)  # 0 is the preamble's last token
progress = keyword_progress(seen, position, keyword_batch(tokenizer, [keyword]), stuff.continuation_mask)
for token, state, piece in zip(seen[0], progress.state[0], progress.next_piece[0], strict=True):
    needed = "–" if piece == NO_PIECE else repr(tokenizer.decode([piece]))
    print(f"after {tokenizer.decode([token])!r:8} {KeywordState(int(state)).name:11} next needed {needed}")

# %% [markdown]
# Did "ful" trick you? After "thimble" all pieces are there, but a letter that follows makes it another word, and the
# automaton is back at the start. Note also the first row: at the very beginning the word would be written with a
# capital and without a space, which is another spelling with other pieces.
#
# The column on the right is worth gold. The auxiliary need not *find* the keyword's next piece among 49,152 tokens; it
# only has to say how much to press it.
#
# ## The auxiliary in parts
#
# Here it is, untrained: a transformer of two layers that reads the expert's states, looks at the keyword's pieces, and
# is told the automaton's state. It does not write 49,152 logits. It writes a few *parts*, which we go through one by
# one.
#
# **Before you run**: what is its largest piece, the layers or the way in and out?

# %% tags=["nbval-check-output"]
from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.training import FeatureCollator, FeatureLoss, mean_nll

torch.manual_seed(SEED)
auxiliary = AuxiliaryModel(AuxiliaryConfig(), expert.unembedding, stuff.groups, stuff.support).to(expert.model.device)
ways = {"blocks": "layers", "shift": "writes: shift", "copy": "writes: boost", "group": "writes: groups"}
sizes = dict.fromkeys(["layers", "reads", *list(ways.values())[1:]], 0)
for name, parameter in auxiliary.named_parameters():
    sizes[ways.get(name.split(".")[0].split("_")[0], "reads")] += parameter.numel()
for name, size in sizes.items():
    print(f"{name:15} {size:9,}")
print(f"{'all':15} {sum(sizes.values()):9,}   the expert: {sum(p.numel() for p in expert.model.parameters()):,}")

# %% [markdown]
# ### The boost
#
# The smallest part is the strongest: **one number per position**, added to the logit of the keyword's next needed
# piece, and to nothing else.
#
# How large must it be? Say the expert gives the piece the probability `share`. Adding $b$ to one logit multiplies its
# share of the sum by $e^b$ and leaves all others as they were, so
#
# $$p' = \frac{\texttt{share} \cdot e^b}{1 + \texttt{share}\,(e^b - 1)} .$$
#
# **Before you run**: a rare word may have one chance in 100,000. How large is the $b$ that makes it an even bet?

# %% tags=["figure", "nbval-check-output"]
b = torch.linspace(0, 20, 41, dtype=torch.float64)
lines = {}
for share in (1e-1, 1e-3, 1e-5):
    lines[f"share {share:g}"] = (b, share * b.exp() / (1 + share * b.expm1()))
title = "A piece with one chance in 100,000 needs a boost of about 12 nats"
plot.curves(lines, "boost b (nats)", "probability after the boost", title)

# %% [markdown]
# The curves are one S, moved to the right by how rare the piece is. There is no half-hearted control of rare words: the
# auxiliary must be ready to say 12, and to say it at the right moment only. That is why it is also shown the expert's
# *surprise* at the needed piece, $-\log \texttt{share}$.
#
# The denominator of $p'$ is how the sum over all tokens has grown. It gives us the normaliser without summing again.

# %% [markdown] tags=["task:7.2"]
# > **Exercise 7.2 · one logit more**
# >
# > Write `log_z_after_boost(log_z, share, boost)`, all `[N]`: `log_z` is the log-sum-exp of a row of logits, `share`
# > the probability of one of its tokens, `boost` what is added to that token's logit. Return the new log-sum-exp. It
# > must be exact for tiny shares (1e-12) and for boosts near 0.
#
# *What if* two tokens of a row are boosted? And what if they are the same token, twice?


# %% tags=["exercise:7.2"]
def log_z_after_boost(log_z, share, boost):
    """The normaliser after adding ``boost`` to the logit of a token with probability ``share``; all ``[N]``."""
    # SOLUTION
    return log_z + torch.log1p(share * torch.expm1(boost))
    # END


# %% tags=["check:7.2", "nbval-check-output"]
check("7.2", log_z_after_boost)
log_z_after_boost = use("7.2", log_z_after_boost)

# %% [markdown]
# ### The shift
#
# The boost brings the word. But a sentence about a lantern also wants "lit" and "dark": the auxiliary should be able to
# nudge *any* token. Its own output matrix $A$, `[V, d]`, would be the largest thing in it. There are two ways to see
# what such a matrix does, both identities. Write $h$ for the expert's state and $u$ for the auxiliary's:
#
# - *adding logits is concatenating states*: $W h + A u = [\,W \mid A\,]\,[\,h \,; u\,]$;
# - if $A = W P$, *adding logits is adding states*: $W h + W P u = W\,(h + P u)$.
#
# With the second, the auxiliary writes a **shift** $P u$ into the expert's own output space. It needs no vocabulary of
# its own, and the sum costs *one* product with $W$ in place of two.
#
# **Before you run**: both sides are computed in 32 bits. Where will the difference lie: at 0, near 1e-5, near 1e-2?

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(SEED)
h, u = hidden.float(), torch.randn(length, 32, generator=generator)
A, P = (0.3 * torch.randn(rows, 32, generator=generator) for rows in (len(W), width))
concatenated = torch.cat([h, u], 1) @ torch.cat([W, A], 1).T
shifted = (h + u @ P.T) @ W.T
print(f"states {tuple(h.shape)}   unembedding {tuple(W.shape)}   joint logits {tuple(shifted.shape)}")
print(f"[W|A] [h; u] = W h + A u to 1e-4:   {torch.allclose(concatenated, h @ W.T + u @ A.T, atol=1e-4)}")
print(f"W (h + P u)  = W h + W P u to 1e-4: {torch.allclose(shifted, h @ W.T + u @ (W @ P).T, atol=1e-4)}")

# %% [markdown]
# (Near 1e-5: equal in algebra, rounded in another order.) The shift is poorer than a free matrix, since it can only say
# what some state of the expert could say. But that language already knows that "lit" and "lamp" belong together.
#
# ### The support
#
# Even one product with $W$ is dear: 49,152 rows, most of them for tokens that no dictionary sentence uses. So the shift
# is felt only by a **support** $S$: the tokens that occurred often enough in training. All others keep the expert's
# logit.

# %% [markdown] tags=["task:7.3"]
# > **Exercise 7.3 · shifting a few**
# >
# > Write `shifted_logits(hidden, shift, unembedding, support)`: `hidden` and `shift` are `[N, D]`, `unembedding` is
# > `[V, D]`, `support` holds $S$ token ids in any order. Return `[N, V]`: the expert's logits, plus, for tokens of the
# > support, what the shift adds. Leave the inputs as they are.
#
# *What if* the shift were added one layer earlier, *before* the expert's final normalisation? Would the result still be
# a product of experts?


# %% tags=["exercise:7.3"]
def shifted_logits(hidden, shift, unembedding, support):
    """Joint logits ``[N, V]``: the shift ``[N, D]`` moves the tokens of ``support [S]`` and no others."""
    # SOLUTION
    logits = hidden @ unembedding.T
    logits[:, support] = (hidden + shift) @ unembedding[support].T
    return logits
    # END


# %% tags=["check:7.3", "nbval-check-output"]
check("7.3", shifted_logits)
shifted_logits = use("7.3", shifted_logits)

# %% [markdown]
# Under `quick` the support is small, since 400 sentences repeat few tokens; the whole corpus gives thousands.
#
# And now the trick. Training needs a token's logit and the sum over *all* tokens. The logits outside the support never
# change, so their part of the sum can be computed when the expert reads the text, and kept as **one number per
# position**: `rest` $= \log \sum_{v \notin S} e^{\texttt{lm\_logits}_v}$. A training step then multiplies by $|S|$ rows
# of $W$, and the result is no approximation.
#
# **Before you run**: `SparseLogits.nll` computes the loss from $S$, `rest` and the boost formula; the other side
# spells all 49,152 logits out with your two functions. How far apart may they be?

# %% tags=["nbval-check-output"]
from auxlib.sparse_logits import SparseLogits

targets, S = stored["token_ids"], stuff.support
token, boost = 4321, torch.full((length,), 7.0)  # some token, in S or not
shift, chosen = u @ P.T, torch.zeros(len(W)).index_fill(0, S, 1.0)
rest = (h @ W.T).masked_fill(chosen > 0, -torch.inf).logsumexp(-1)  # what the cache holds, from this very h
boost_ids = torch.full((length, 1), token)
sparse = SparseLogits(shift, W[S], S, True, boost_ids, boost[:, None])
compact = sparse.nll(h, rest, W, targets)
joint_logits = shifted_logits(h, shift, W, S)
log_z = log_z_after_boost(joint_logits.logsumexp(-1), joint_logits.softmax(-1)[:, token], boost)
spelled_out = log_z - joint_logits.gather(1, targets[:, None])[:, 0] - boost * (targets == token)
print(f"columns multiplied: {len(S)} in place of {len(W):,}")
print(f"the same loss for each of {length} tokens, to 1e-4: {torch.allclose(compact, spelled_out, atol=1e-4)}")

# %% [markdown]
# ### The groups
#
# One part is left. When must the word have come? Before the text *closes*. But what closes a text is not only the line
# break: a full stop does, as good as, and the auxiliary must learn to hold back both together. So some tokens form
# **groups** with one logit for all members. The first closes a text; the second carries a word on ("ful").
#
# **Before you run**: the closing group is read off the training sentences: what stands last in them, five times or
# more? Name its members.

# %% tags=["nbval-check-output"]
for column, name in enumerate(("closes a text", "carries a word on")):
    members = stuff.groups[:, column].nonzero().squeeze(-1).tolist()
    print(f"{name:18} {len(members):6,} tokens, such as {[tokenizer.decode([token]) for token in members[:6]]}")

# %% [markdown]
# A boost, a shift on a support, two group logits: that is all the auxiliary ever says. Every part adds logits, so every
# part is a factor of the product.
#
# ## Step 0 is the frozen model
#
# All three outputs start at zero. Before the first step the pair is then the expert: not similar to it, *it*. Training
# starts from the expert's loss, and can only be judged by what it gains.
#
# **Before you run**: the cell puts the untrained auxiliary beside the expert at λ = 1 and compares all logits; then it
# compares the loss on dev with that of the expert alone. What will the two lines say?


# %% tags=["nbval-check-output"]
def frozen_nll(features):
    total = count = 0
    for row in features.with_format("torch"):
        lm_logits = (row["hidden"].reshape(-1, width).float() * W[row["token_ids"]]).sum(-1)  # of the true tokens only
        total, count = total + float((row["log_z"] - lm_logits).sum()), count + len(lm_logits)
    return total / count


newborn = AuxiliaryTunedLM(expert, auxiliary.eval(), frame)
inputs = newborn.inputs_for(["thimble"], ["She lost her"])
with torch.inference_mode():
    alone = expert.model(inputs["input_ids"], inputs["attention_mask"]).logits
    print("logits bit for bit the expert's:", torch.equal(newborn(**inputs, weight=1.0).logits, alone.float()))
collator = FeatureCollator(tokenizer, frame.preamble_ids[-1], seed=SEED)
loss = FeatureLoss(auxiliary, stuff.continuation_mask).to(expert.model.device)
gap = abs(mean_nll(loss, stuff.dev, collator) - frozen_nll(stuff.dev))
print(f"loss on dev is the expert's, to 1e-3: {gap < 1e-3}")

# %% [markdown]
# Only the *last* matrices are zero. They learn in step 1, and the layers below them from step 2 on; were two zero
# matrices in a row, neither would ever wake up. The expert cannot learn at all. It is not even there, only its dataset.
#
# ## Training
#
# `train` is a thin layer over `transformers.Trainer`: maximum likelihood of the sentences under the product, the
# condition drawn anew for every row and epoch. One row in ten is asked for nothing, so that the pair can also write
# freely. One in five is asked for *another* sentence's word; such a row only teaches that it cannot have been over.
#
# **Before you run** (some ten seconds for 400 sentences): the loss starts at the expert's. Which part of the auxiliary
# will move it first?

# %%
mine, run = train(stuff, output_dir=cache_dir() / "training" / f"07-{PROFILE}", progress=PROFILE != "quick")
print(f"{run.steps[-1]} steps in {60 * run.minutes:.0f} s")
print(f"dev: frozen {frozen_nll(stuff.dev):.2f} → {run.dev_loss:.2f} nats per token, on {len(stuff.dev)} sentences")

# %% [markdown]
# Below is your curve. Behind it, when the repository has one, the *ghost* of a recorded run: the same code with the
# whole corpus and five epochs, on two CPU cores. The axis is logarithmic, because a short run is a very small corner of
# a long one. Under `quick` every point is a single batch of sentences of like length, so do not mind the jumps.
#
# **Before you look**: does the ghost go on from where you stopped?

# %% tags=["figure"]
lines = {f"this run ({len(stuff.train)} sentences)": (run.steps, run.losses)}
recorded = data_dir() / "results" / "full" / "real_training.json"
if recorded.is_file():
    ghost = json.loads(recorded.read_text())
    lines["recorded full run"] = (ghost["steps"], ghost["losses"])
levels = {"frozen expert": frozen_nll(stuff.train)}
plot.curves(lines, "step (48 sentences each)", "nats per token", "Most of the gain comes early", levels, log_x=True)

# %% [markdown]
# In a few steps the loss is well below the expert's. Do not trust it yet. A falling loss says that *something* was
# learned; it does not say that the keyword is obeyed. Sentences of a dictionary are short, plain and end in a full
# stop, and knowing this alone lowers the loss.
#
# ## What was learned?
#
# Two controls tell the two apart. Ask for **nothing**: what is gained now is *adaptation* to this kind of text. Ask for
# **another sentence's word**: a real condition, but a false one; it must not help. What the sentence's own word gains
# *beyond nothing* is *conditioning*.
#
# Under `quick` your auxiliary has seen four hundred sentences: it is too young for fine differences, and forty dev
# sentences are too few to see them. From here on we use the one that comes with the repository: the same code, trained
# on the whole corpus.
#
# **Before you run** (some ten seconds): put the four bars in order: frozen, nothing asked, own word, foreign word.

# %%
tuned = load_pretrained(expert)
many = min(4 * SAMPLES, len(corpus["dev"]))
texts = corpus["dev"].shuffle(seed=SEED).select(range(many))
dev = cache_features(expert, texts, tuned.template, tuned.auxiliary.support, progress=PROFILE != "quick")
loss = FeatureLoss(tuned.auxiliary, tuned.continuation_mask)


def nats_when(drop=0.0, foreign_word=False):
    collator = FeatureCollator(tokenizer, tuned.template.preamble_ids[-1], condition_dropout=drop, seed=SEED)

    def collate(rows):
        batch = collator(rows)
        turned = batch["keyword_ids"].roll(1, 0)  # each row gets its neighbour's word
        return batch | {"keyword_ids": turned} if foreign_word else batch

    return mean_nll(loss, dev, collate)


# %% tags=["figure"]
nats = {"frozen": frozen_nll(dev), "foreign word": nats_when(foreign_word=True)}
nats |= {"nothing asked": nats_when(drop=1.0), "own word": nats_when()}
length = sum(map(len, dev["token_ids"])) / len(dev)
steps = {"adaptation  (frozen → nothing asked)": ("frozen", "nothing asked")}
steps["conditioning (nothing → own word)"] = ("nothing asked", "own word")
for name, (worse, better) in steps.items():
    gain = nats[worse] - nats[better]
    print(f"{name:38} {gain:5.2f} nats per token   {gain * length:5.1f} per sentence of {length:.1f} tokens")
title = f"A sentence's own word helps, a foreign one hurts ({many} dev sentences)"
plot.bars({"loss": list(nats.values())}, list(nats), title, ylabel="nats per token")

# %% [markdown]
# A foreign word costs dearly: the pair waits for something that never comes. That is how a condition must look that is
# really *used*. A controller that ignores its keyword would show three equal bars, and its loss curve would look just
# as fine as yours.
#
# The last printed line has a ceiling. A word that is one of $K$ equally likely ones is worth at most $\ln K$ nats to a
# whole sentence, however long, since it tells you no more than itself: $\ln 20{,}000 = 9.9$ for twenty thousand words.
# Note how little that is *per token*. In longer texts perfect control would hardly show in the loss at all (measured
# against a known truth in [Storyland: a language whose truth we know](04_storyland.ipynb)); so we must count words in
# sentences that the pair has written.
#
# ## Words it was never asked for
#
# Three writers get the same unseen test words: the shipped pair, your own young pair, and the frozen expert, who is
# told nothing. Its rate is the **base rate**: how often the word falls by chance.
#
# **Before you run** (half a minute or so under `quick`): guess all three rates.

# %%
from experiments.smollm.headline import draw_samples, held_out_words

samples = draw_samples(tuned, held_out_words(corpus), SAMPLES, seed=SEED)
young = write_sentences(mine, samples.keywords, seed=SEED)
for name, written in {"shipped pair": samples.steered, "your pair": young}.items():
    control = keyword_control(written, samples.keywords, samples.unsteered)
    low, high = control.interval
    print(f"{name:13} {control.accuracy:.0%} hold their word, {low:.0%} to {high:.0%} ({control.n} samples)")
print(f"{'base rate':13} {control.base_rate:.0%}\n")
for word, old, new in list(zip(samples.keywords, samples.steered, young, strict=True))[:8]:
    print(f"{word}\n  shipped {'✓' if contains_keyword(old, word) else '✗'} {old}")
    print(f"  yours   {'✓' if contains_keyword(new, word) else '✗'} {new}")

# %% [markdown]
# Look at the misses, and as hard at the hits. Is a noun used as a noun? Does the sentence know what the word means? The
# expert is small, and the auxiliary has learned *when* a word is due better than *why*. That a pair trained for seconds
# obeys at all is the parts' doing: the automaton knows what is needed, and how hard to press is a few numbers.
#
# ## The measured figures
#
# A few dozen samples are an anecdote. The figures below come from a full run, recorded with its seed, versions and
# machine in `data/results/full/real.json`. Fluency is **SLOR**: how much likelier a language model finds the sentence
# than a bag of the same tokens would be, per token. The judge reads every sentence alone, and it is the frozen expert
# itself, so it is no independent judge.
#
# **Before you look**: people wrote the sentences of the dictionary. Will their SLOR be above the pair's?

# %%
path = data_dir() / "results" / "full" / "real.json"
if path.is_file():
    full = json.loads(path.read_text())
    low, high = full["accuracy_ci"]
    print(f"hold their word  {full['accuracy']:.3f} [{low:.3f}, {high:.3f}]")
    print(f"measured on      {full['n_samples']} samples at λ = {full['lambda']:g}")
    print(f"base rate        {full['base_rate']:.3f}")
    slor = {"pair": full["slor"], "frozen": full["slor_frozen"], "people": full["slor_human"]}
    print("SLOR             " + "   ".join(f"{name} {value:.2f}" for name, value in slor.items()))
    print(f"cost             {full['train_minutes']:g} minutes of training")
    print(f"decoding         {full['decode_ratio']:.2f} times the time of the expert alone")
else:
    print("no recorded run here; `python -m auxlib evaluate` makes one")

# %% [markdown]
# Read a row of such a table in this order: how many samples, what is the base rate, what was paid in fluency, what in
# time. A rate alone is no result.
#
# ## The seal
#
# We have read the corpus with the expert, trained beside it, and written with it.
#
# **Before you run**: what must the fingerprint say?

# %% tags=["nbval-check-output"]
print("expert unchanged:               ", fingerprint(expert.model) == expert.fingerprint)
print("trained for this very expert:   ", tuned.expert_info.fingerprint == expert.fingerprint)
print("tensors of the expert that learn:", sum(p.requires_grad for p in expert.model.parameters()))

# %% [markdown]
# ## What you take with you
#
# - A frozen model's hidden states are a **dataset**: read once, train for epochs at the price of the auxiliary. Keep
#   states, never logits.
# - The expert may read a **fixed** preamble; it removes adaptation work before training starts.
# - The condition enters through an **automaton**: how much of the word is written is all that the past has to say about
#   it.
# - Every part adds logits: a **boost** for the next piece, a **shift** in the expert's output space on a **support**,
#   a logit per **group**. The rest of the vocabulary is one cached number, exactly.
# - Zero outputs: step 0 *is* the expert.
# - A falling loss is not control. Ask for nothing, ask for a foreign word, and count words in written sentences,
#   beside the base rate.
#
# ## Quiz
#
# **1.** A colleague wants to unfreeze the expert's last layer "just a little", and to keep the cached features. What
# goes wrong?
# <details><summary>Answer</summary>The cache belongs to the old weights. After the first step the stored states are no
# longer those that the model would compute, and the loss is that of a model which does not exist. Caching is a right
# that one buys by freezing.</details>
#
# **2.** Suppose the foreign-word bar were as low as the own-word bar. What has the auxiliary learned?
# <details><summary>Answer</summary>The kind of text, and nothing about the word: any condition does. The loss curve
# would not have told you. (An early prototype of this very auxiliary did just that: a fine loss, and almost never its
# word.)</details>
#
# **3.** Dropping the tokens outside the support from the sum, in place of caching their log-mass, would be simpler.
# What would training then optimise?
# <details><summary>Answer</summary>A model that cannot say any of them. Every probability would look larger than it is
# when generating over the full vocabulary, and a keyword piece outside the support would have no proper probability at
# all. With <code>rest</code> the loss is that of the model which writes.</details>
#
# ## Onward
#
# You can turn the dial on a trained pair in [Start here](00_start_here.ipynb), and find the exact theory behind every
# bar of this notebook in [A product of experts](02_product_of_experts.ipynb). The same auxiliary is graded against the
# truth in [The keyword auxiliary](05_the_keyword_auxiliary.ipynb), and if a run of your own should fail, go to
# [Debug me](12_debug_me.ipynb). Next comes [Generation as control](08_generation_as_control.ipynb): several words, a
# second kind of control, a guarantee, and what each of them costs.
