# %% setup
import torch


# %% 10.1 · averages padding as well
# says: padding was averaged as well
def mean_state(hidden, mask):
    return hidden.float().mean(1)


# %% 10.1 · leaves padding out, but divides by T
# says: left out of the sum but counted in the length
def mean_state(hidden, mask):
    return (hidden.float() * mask.unsqueeze(-1)).mean(1)


# %% 10.1 · sums without dividing
# says: that is the sum; twice as many tokens
def mean_state(hidden, mask):
    return (hidden.float() * mask.unsqueeze(-1)).sum(1)


# %% 10.1 · divides by all tokens of the batch
# says: divide by the tokens of the whole batch
def mean_state(hidden, mask):
    return (hidden.float() * mask.unsqueeze(-1)).sum(1) / mask.sum()


# %% 10.1 · takes the opening token, as one does with BERT
# says: the first token's state alone
def mean_state(hidden, mask):
    return hidden[:, 0].float()


# %% 10.1 · zeroes the padding in the cache itself
# says: your function changed the states
def mean_state(hidden, mask):
    hidden[~mask] = 0
    return hidden.float().sum(1) / mask.sum(1, keepdim=True)


# %% 10.1 · adds in half precision
# says: where half precision ends
def mean_state(hidden, mask):
    return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


# %% 10.2 · lets the labels compete for each token
# says: sum to one over the *labels*
def look(labels, text, mask):
    scores = labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask.unsqueeze(1), -1e9).softmax(1)
    return weights @ text, weights


# %% 10.2 · lets the labels compete, where nobody stands to win
# says: where there is no token the weights are NaN
def look(labels, text, mask):
    scores = labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(1)
    return weights @ text, weights


# %% 10.2 · forgets the mask
# says: padding is looked at: put -inf
def look(labels, text, mask):
    weights = (labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5).softmax(-1)
    return weights @ text, weights


# %% 10.2 · masks after the softmax
# says: the mask came after the softmax
def look(labels, text, mask):
    weights = (labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5).softmax(-1) * mask.unsqueeze(1)
    return weights @ text, weights


# %% 10.2 · masks with zeros
# says: a score of 0 is not silence
def look(labels, text, mask):
    scores = labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask.unsqueeze(1), 0.0).softmax(-1)
    return weights @ text, weights


# %% 10.2 · forgets the root of d
# says: 1/√d is missing
def look(labels, text, mask):
    weights = (labels @ text.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1)
    return weights @ text, weights


# %% 10.2 · divides by d
# says: you divide by d, not by its root
def look(labels, text, mask):
    scores = labels @ text.transpose(1, 2) / labels.shape[-1]
    weights = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1)
    return weights @ text, weights


# %% 10.2 · has the tokens look at the labels
# says: here the tokens look at the labels
def look(labels, text, mask):
    weights = (text @ labels.T / labels.shape[-1] ** 0.5).softmax(-1)
    return weights @ labels, weights


# %% 10.2 · reads the mask the wrong way round
# says: the tokens are hidden and the padding is seen
def look(labels, text, mask):
    scores = labels @ text.transpose(1, 2) / labels.shape[-1] ** 0.5
    weights = scores.masked_fill(mask.unsqueeze(1), -torch.inf).softmax(-1).nan_to_num(0)
    return weights @ text, weights


# %% 10.3 · counts the right label against itself
# says: the right label is counted against itself
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    return (margin - right + scores).clamp(min=0).sum(1).mean()


# %% 10.3 · counts only the worst label
# says: only the worst label was counted
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).amax(1).mean()


# %% 10.3 · turns the sign
# says: the sign is turned
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin + right - scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


# %% 10.3 · averages over labels too
# says: you averaged over the labels too
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).mean()


# %% 10.3 · lets a large lead pay for a lost one
# says: without max(0, …) one easy text
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = margin - right + scores
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


# %% 10.3 · forgets the margin that was asked for
# says: is yours fixed?
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = (1 - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean()


# %% 10.3 · returns a plain number
# says: no gradient can flow back
def margin_loss(scores, labels, margin=1.0):
    right = scores.gather(1, labels.unsqueeze(1))
    short = (margin - right + scores).clamp(min=0)
    return short.scatter(1, labels.unsqueeze(1), 0.0).sum(1).mean().item()


# %% 10.4 · reads in every epoch
# says: the text was read anew in every one of our epochs
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 3 * whole / (trainings * epochs * (read + epoch))


# %% 10.4 · forgets the backward pass
# says: charged for its forward pass only
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * whole / (read + trainings * epochs * epoch)


# %% 10.4 · takes the backward pass for another forward pass
# says: charged as one forward pass
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 2 * whole / (read + trainings * epochs * epoch)


# %% 10.4 · forgets that the decoder learns too
# says: our own training is free
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 3 * whole / read


# %% 10.4 · forgets that somebody has to read
# says: our reading is free
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return full_epochs * 3 * whole / (epochs * epoch)


# %% 10.4 · charges our backward pass twice
# says: already holds our backward pass
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 3 * whole / (read + trainings * epochs * 3 * epoch)


# %% 10.4 · turns the ratio over
# says: that is ours over theirs
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return (read + trainings * epochs * epoch) / (trainings * full_epochs * 3 * whole)


# %% 10.4 · reads once for each training
# says: the texts need to be read once for all five
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 3 * whole / (trainings * (read + epochs * epoch))


# %% 10.4 · trains the decoder once for all
# says: our decoder once
def training_ratio(whole, read, epoch, epochs, full_epochs, trainings=1):
    return trainings * full_epochs * 3 * whole / (read + epochs * epoch)
