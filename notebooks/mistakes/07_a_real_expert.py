# %% setup
import torch


# %% 7.1 · counts numbers in place of bytes
# says: these are numbers, not bytes
def bytes_to_keep(tokens, width, vocabulary):
    return tokens * (width + 3), tokens * (vocabulary + 1)


# %% 7.1 · forgets what is kept beside the vector
# says: are missing, 4 bytes each
def bytes_to_keep(tokens, width, vocabulary):
    return tokens * 2 * width, tokens * 2 * vocabulary


# %% 7.1 · takes four bytes for half precision
# says: that is full precision
def bytes_to_keep(tokens, width, vocabulary):
    return tokens * (4 * width + 12), tokens * (4 * vocabulary + 4)


# %% 7.1 · keeps the sums beside the full logits as well
# says: needs no `rest` and no `log_z`
def bytes_to_keep(tokens, width, vocabulary):
    beside = 3 * 4
    return tokens * (2 * width + beside), tokens * (2 * vocabulary + beside)


# %% 7.1 · returns them the other way round
# says: are the two exchanged
def bytes_to_keep(tokens, width, vocabulary):
    return tokens * (2 * vocabulary + 4), tokens * (2 * width + 12)


# %% 7.1 · adds the extras once for the whole corpus
# says: with all that goes with it
def bytes_to_keep(tokens, width, vocabulary):
    return tokens * 2 * width + 12, tokens * 2 * vocabulary + 4


# %% 7.2 · leaves the old part in the sum
# says: the token's old part is still in the sum
def log_z_after_boost(log_z, share, boost):
    return log_z + torch.log1p(share * boost.exp())


# %% 7.2 · adds the boost to the normaliser
# says: if *all* logits had been boosted
def log_z_after_boost(log_z, share, boost):
    return log_z + boost


# %% 7.2 · weighs the boost by the share
# says: log-sum-exp is no average of logits
def log_z_after_boost(log_z, share, boost):
    return log_z + share * boost


# %% 7.2 · the formula as it stands, with log and exp
# says: 1 + x has lost the digits
def log_z_after_boost(log_z, share, boost):
    return log_z + torch.log(1 + share * (torch.exp(boost) - 1))


# %% 7.2 · log1p, but exp(b) - 1
# says: exp(b) - 1 has lost its digits
def log_z_after_boost(log_z, share, boost):
    return log_z + torch.log1p(share * (torch.exp(boost) - 1))


# %% 7.2 · multiplies the logarithm
# says: was multiplied like the sum itself
def log_z_after_boost(log_z, share, boost):
    return log_z * (1 + share * torch.expm1(boost))


# %% 7.3 · shifts every token
# says: all 30 tokens have moved
def shifted_logits(hidden, shift, unembedding, support):
    return (hidden + shift) @ unembedding.T


# %% 7.3 · picks rows in place of columns
# says: it raised IndexError
def shifted_logits(hidden, shift, unembedding, support):
    logits = hidden @ unembedding.T
    logits[support] += shift @ unembedding[support].T
    return logits


# %% 7.3 · returns the support's columns only
# says: you return the logits of the support alone
def shifted_logits(hidden, shift, unembedding, support):
    return (hidden + shift) @ unembedding[support].T


# %% 7.3 · forbids what lies outside
# says: a token outside the support is forbidden
def shifted_logits(hidden, shift, unembedding, support):
    logits = torch.full((len(hidden), len(unembedding)), -torch.inf, dtype=hidden.dtype)
    logits[:, support] = (hidden + shift) @ unembedding[support].T
    return logits


# %% 7.3 · writes what the shift adds over the expert's logit
# says: only what the shift adds
def shifted_logits(hidden, shift, unembedding, support):
    logits = hidden @ unembedding.T
    logits[:, support] = shift @ unembedding[support].T
    return logits


# %% 7.3 · goes through a mask and loses the order
# says: each value landed on another token
def shifted_logits(hidden, shift, unembedding, support):
    logits = hidden @ unembedding.T
    chosen = torch.zeros(len(unembedding), dtype=torch.bool)
    chosen[support] = True
    logits[:, chosen] = (hidden + shift) @ unembedding[support].T
    return logits


# %% 7.3 · adds the shift to the cached states
# says: changed one of its inputs
def shifted_logits(hidden, shift, unembedding, support):
    logits = hidden @ unembedding.T
    hidden += shift
    logits[:, support] = hidden @ unembedding[support].T
    return logits
