# %% setup
import torch


# %% 1.1 · takes the logarithm of softmax
# says: its probability has rounded to 0
def stable_log_softmax(logits):
    return logits.softmax(-1).log()


# %% 1.1 · writes the formula as it stands
# says: exp(1000) overflows
def stable_log_softmax(logits):
    return logits - logits.exp().sum(-1, keepdim=True).log()


# %% 1.1 · subtracts the maximum of the whole batch
# says: each row needs the maximum of its own
def stable_log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


# %% 1.1 · subtracts the maximum and stops there
# says: the maximum is subtracted, log Σ exp is not
def stable_log_softmax(logits):
    return logits - logits.max(-1, keepdim=True).values


# %% 1.1 · normalises over the batch
# says: the columns sum to one
def stable_log_softmax(logits):
    shifted = logits - logits.max(0).values
    return shifted - shifted.exp().sum(0).log()


# %% 1.1 · subtracts in place
# says: changed its input
def stable_log_softmax(logits):
    logits -= logits.max(-1, keepdim=True).values
    return logits - logits.exp().sum(-1, keepdim=True).log()


# %% 1.2 · multiplies by the temperature
# says: heat must flatten, so divide by T
def draw_letters(logits, u, temperature):
    stairs = (logits * temperature).softmax(-1).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


# %% 1.2 · divides the probabilities instead of the logits
# says: the last letter takes the rest
def draw_letters(logits, u, temperature):
    stairs = (logits.softmax(-1) / temperature).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


# %% 1.2 · takes the most likely letter
# says: not a sample
def draw_letters(logits, u, temperature):
    return (logits / temperature).argmax(-1)


# %% 1.2 · lets torch draw and leaves u alone
# says: all chance is in u
def draw_letters(logits, u, temperature):
    return torch.multinomial((logits / temperature).softmax(-1), 1).squeeze(-1)


# %% 1.2 · forgets the temperature
# says: the temperature is not used
def draw_letters(logits, u, temperature):
    stairs = logits.softmax(-1).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


# %% 1.2 · counts the stairs below u, not at it
# says: drew a letter of probability 0
def draw_letters(logits, u, temperature):
    stairs = (logits / temperature).softmax(-1).cumsum(-1)
    return torch.searchsorted(stairs, u[:, None]).squeeze(-1).clamp(max=logits.shape[-1] - 1)


# %% 1.2 · trusts the last stair to be exactly 1
# says: beyond the last letter
def draw_letters(logits, u, temperature):
    stairs = (logits / temperature).softmax(-1).cumsum(-1)
    return (stairs <= u[:, None]).sum(-1)


# %% 1.3 · does not shift
# says: already read
def text_losses(logits, ids):
    log_probs = logits.log_softmax(-1)
    return -log_probs.gather(-1, ids[:, :, None]).squeeze(-1).sum(-1)


# %% 1.3 · shifts the wrong way
# says: shifted the wrong way
def text_losses(logits, ids):
    log_probs = logits[:, 1:].log_softmax(-1)
    return -log_probs.gather(-1, ids[:, :-1, None]).squeeze(-1).sum(-1)


# %% 1.3 · takes the mean over the steps
# says: the sum over its steps, not the mean
def text_losses(logits, ids):
    log_probs = logits[:, :-1].log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1).mean(-1)


# %% 1.3 · adds up the logits themselves
# says: a raw logit is no log-probability
def text_losses(logits, ids):
    return -logits[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1).sum(-1)


# %% 1.3 · softmax over the axis of time
# says: letters compete
def text_losses(logits, ids):
    log_probs = logits[:, :-1].log_softmax(1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1).sum(-1)


# %% 1.3 · forgets the minus
# says: the sign is missing
def text_losses(logits, ids):
    log_probs = logits[:, :-1].log_softmax(-1)
    return log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1).sum(-1)


# %% 1.3 · one number for the whole batch
# says: one loss for each text must have the shape
def text_losses(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")


# %% 1.4 · averages over texts
# says: Average over letters, not over texts
def perplexity(losses, lengths):
    return (losses / lengths).mean().exp()


# %% 1.4 · averages perplexities
# says: the mean of three perplexities
def perplexity(losses, lengths):
    return (losses / lengths).exp().mean()


# %% 1.4 · divides by the number of texts
# says: exp of the loss per text
def perplexity(losses, lengths):
    return losses.mean().exp()


# %% 1.4 · forgets exp
# says: the loss per letter, in nats
def perplexity(losses, lengths):
    return losses.sum() / lengths.sum()


# %% 1.4 · raises 2 to the power of nats
# says: mixes units
def perplexity(losses, lengths):
    return 2 ** (losses.sum() / lengths.sum())


# %% 1.4 · one perplexity a text
# says: one number for the whole set
def perplexity(losses, lengths):
    return (losses / lengths).exp()
