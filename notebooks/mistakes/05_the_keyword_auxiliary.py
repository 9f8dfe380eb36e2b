# %% setup
from torch.nn import functional as F


# %% 5.1 · looks at the token that is to be predicted
# says: gives the answer away
def already_seen(token_ids, keyword_ids):
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return hits | (keyword_ids == 0)[:, None]


# %% 5.1 · asks whether the sentence has the word at all
# says: has read the future
def already_seen(token_ids, keyword_ids):
    there = (token_ids == keyword_ids[:, None]).any(1, keepdim=True)
    return there.expand_as(token_ids) | (keyword_ids == 0)[:, None]


# %% 5.1 · looks one token back, not all the way
# says: what was seen stays seen
def already_seen(token_ids, keyword_ids):
    last = F.pad(token_ids, (1, 0))[:, :-1]
    return (last == keyword_ids[:, None]) | (keyword_ids == 0)[:, None]


# %% 5.1 · shifts with roll, which goes round
# says: carries the last column round
def already_seen(token_ids, keyword_ids):
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return hits.roll(1, dims=1) | (keyword_ids == 0)[:, None]


# %% 5.1 · takes "nothing" for a keyword that never comes
# says: asked for nothing
def already_seen(token_ids, keyword_ids):
    hits = (token_ids == keyword_ids[:, None]).cumsum(1) > 0
    return F.pad(hits, (1, 0))[:, :-1] & (keyword_ids != 0)[:, None]


# %% 5.2 · works in place
# says: changed aux_logits itself
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    index = keyword_ids[:, None, None].expand(-1, aux_logits.shape[1], 1)
    return aux_logits.scatter_add_(-1, index, (boost * ~seen)[..., None])


# %% 5.2 · lets broadcasting boost the whole row
# says: all words of the vocabulary were boosted
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    return aux_logits + (boost * ~seen)[..., None]


# %% 5.2 · forgets the flag
# says: goes on after the keyword was said
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    one_hot = F.one_hot(keyword_ids, aux_logits.shape[-1])
    return aux_logits + boost[..., None] * one_hot[:, None]


# %% 5.2 · indexes columns with a list of keywords
# says: boosts of *all* keywords
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    joint = aux_logits.clone()
    joint[:, :, keyword_ids] += (boost * ~seen)[..., None]
    return joint


# %% 5.2 · scatters instead of adding
# says: `scatter` replaces
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    index = keyword_ids[:, None, None].expand(-1, aux_logits.shape[1], 1)
    return aux_logits.scatter(-1, index, (boost * ~seen)[..., None])


# %% 5.2 · multiplies by the flag instead of by its opposite
# says: the flag is turned over
def boost_keyword(aux_logits, boost, keyword_ids, seen):
    one_hot = F.one_hot(keyword_ids, aux_logits.shape[-1])
    return aux_logits + (boost * seen)[..., None] * one_hot[:, None]


# %% 5.3 · forgets the blanks
# says: blanks are counted as words
def loss_on_words(joint_logits, token_ids):
    return F.cross_entropy(joint_logits.flatten(0, 1), token_ids.flatten())


# %% 5.3 · masks, then takes the mean of everything
# says: still in the number that you divide by
def loss_on_words(joint_logits, token_ids):
    nats = F.cross_entropy(joint_logits.transpose(1, 2), token_ids, reduction="none")
    return (nats * (token_ids != 0)).mean()


# %% 5.3 · averages sentence by sentence
# says: a mean of means
def loss_on_words(joint_logits, token_ids):
    nats = F.cross_entropy(joint_logits.transpose(1, 2), token_ids, reduction="none")
    real = token_ids != 0
    return ((nats * real).sum(1) / real.sum(1)).mean()


# %% 5.3 · shifts by one, as one always does
# says: shifted twice
def loss_on_words(joint_logits, token_ids):
    return F.cross_entropy(joint_logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten(), ignore_index=0)


# %% 5.3 · divides by the number of sentences
# says: this is nats per sentence
def loss_on_words(joint_logits, token_ids):
    nats = F.cross_entropy(joint_logits.transpose(1, 2), token_ids, ignore_index=0, reduction="none")
    return nats.sum(1).mean()


# %% 5.3 · hands probabilities to cross_entropy
# says: softmaxed twice
def loss_on_words(joint_logits, token_ids):
    probs = joint_logits.softmax(-1)
    return F.cross_entropy(probs.flatten(0, 1), token_ids.flatten(), ignore_index=0)


# %% 5.4 · counts adaptation as control
# says: not with the language model
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    return (lm_nll - told_nll).mean() / -base_rate.log().mean()


# %% 5.4 · averages the shares of single sentences
# says: a mean of ratios
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    return ((untold_nll - told_nll) / -base_rate.log()).mean()


# %% 5.4 · takes the log of the average rate
# says: not the average of the logs
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    return (untold_nll - told_nll).mean() / -base_rate.mean().log()


# %% 5.4 · remembers that an entropy is −Σ p log p
# says: weighted by its rate once more
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    entropy = -(base_rate * base_rate.log()).sum()
    return (untold_nll - told_nll).mean() / entropy


# %% 5.4 · measures information in bits
# says: the ceiling is in bits
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    return (untold_nll - told_nll).mean() / -base_rate.log2().mean()


# %% 5.4 · subtracts the wrong way round
# says: the sign is turned
def share_of_ceiling(lm_nll, untold_nll, told_nll, base_rate):
    return (told_nll - untold_nll).mean() / -base_rate.log().mean()
