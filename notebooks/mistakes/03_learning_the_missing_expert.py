# %% setup
import torch
from torch import nn
from torch.nn import functional as F


# %% 3.1 · trains the auxiliary as if it were alone
# says: the language model is missing
def auxiliary_loss(lm_logits, aux_logits, targets):
    log_probs = aux_logits.log_softmax(-1)
    return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


# %% 3.1 · averages over the batch, as a loss usually does
# says: one number for the whole batch
def auxiliary_loss(lm_logits, aux_logits, targets):
    joint_logits = lm_logits + aux_logits
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten())


# %% 3.1 · averages over the letters of a text
# says: this is the loss per letter
def auxiliary_loss(lm_logits, aux_logits, targets):
    joint_logits = lm_logits + aux_logits
    return F.cross_entropy(joint_logits.transpose(1, 2), targets, reduction="none").mean(-1)


# %% 3.1 · adds probabilities
# says: this is the loss of a mixture
def auxiliary_loss(lm_logits, aux_logits, targets):
    probs = (lm_logits.softmax(-1) + aux_logits.softmax(-1)) / 2
    return -probs.log().gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


# %% 3.1 · adds two log-probabilities and forgets the normaliser
# says: the product is not renormalised
def auxiliary_loss(lm_logits, aux_logits, targets):
    log_probs = lm_logits.log_softmax(-1) + aux_logits.log_softmax(-1)
    return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


# %% 3.1 · wants to freeze the language model and detaches the wrong one
# says: no gradient reaches aux_logits
def auxiliary_loss(lm_logits, aux_logits, targets):
    log_probs = (lm_logits + aux_logits.detach()).log_softmax(-1)
    return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


# %% 3.1 · gives probabilities to cross_entropy
# says: two softmaxes in a row
def auxiliary_loss(lm_logits, aux_logits, targets):
    probs = (lm_logits + aux_logits).softmax(-1)
    return F.cross_entropy(probs.transpose(1, 2), targets, reduction="none").sum(-1)


# %% 3.1 · takes the logit itself for a log-probability
# says: adding 5 to all auxiliary logits
def auxiliary_loss(lm_logits, aux_logits, targets):
    joint_logits = lm_logits + aux_logits
    return -joint_logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


# %% 3.2 · every row counts the same
# says: plain mean of the rows
def exact_kl(truth, joint_logits, reach):
    log_q = joint_logits.log_softmax(-1)
    return (torch.special.xlogy(truth, truth) - truth * log_q).sum(-1).mean()


# %% 3.2 · the other direction
# says: KL(policy‖truth), the other direction
def exact_kl(truth, joint_logits, reach):
    log_q = joint_logits.log_softmax(-1)
    rows = (log_q.exp() * (log_q - truth.log())).sum(-1)
    return (reach * rows).sum()


# %% 3.2 · compares logits that carry a constant
# says: normalise them first
def exact_kl(truth, joint_logits, reach):
    rows = (torch.special.xlogy(truth, truth) - truth * joint_logits).sum(-1)
    return (reach * rows).sum()


# %% 3.2 · an average, because weights should sum to one
# says: this is the distance per letter
def exact_kl(truth, joint_logits, reach):
    log_q = joint_logits.log_softmax(-1)
    rows = (torch.special.xlogy(truth, truth) - truth * log_q).sum(-1)
    return (reach * rows).sum() / reach.sum()


# %% 3.2 · the cross entropy, since it has the same gradient
# says: the truth's entropy is still in it
def exact_kl(truth, joint_logits, reach):
    return -(reach[:, None] * truth * joint_logits.log_softmax(-1)).sum()


# %% 3.2 · does not think of letters that never come
# says: 0 · log 0 must count as 0
def exact_kl(truth, joint_logits, reach):
    rows = (truth * (truth.log() - joint_logits.log_softmax(-1))).sum(-1)
    return (reach * rows).sum()


# %% 3.3 · zeroes all layers, to be safe
# says: the first layer is zero too
def zero_start(layers):
    for parameter in layers.parameters():
        nn.init.zeros_(parameter)
    return layers


# %% 3.3 · forgets the bias
# says: the weight is zero but the bias is not
def zero_start(layers):
    nn.init.zeros_(layers[-1].weight)
    return layers


# %% 3.3 · zeroes the layer that reads the input
# says: zero the last one instead
def zero_start(layers):
    nn.init.zeros_(layers[0].weight)
    nn.init.zeros_(layers[0].bias)
    return layers


# %% 3.3 · small random numbers instead of zero
# says: small is not zero
def zero_start(layers):
    nn.init.normal_(layers[-1].weight, std=1e-3)
    nn.init.zeros_(layers[-1].bias)
    return layers


# %% 3.3 · freezes what it has set
# says: the last layer is frozen
def zero_start(layers):
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    layers[-1].requires_grad_(False)
    return layers


# %% 3.4 · counts adaptation as control
# says: your conditioning is the whole gain
def split_gain(lm_nll, plain_nll, told_nll):
    gains = torch.stack([lm_nll - plain_nll, lm_nll - told_nll])
    return torch.stack([gains.mean(-1), gains.std(-1) / len(lm_nll) ** 0.5], -1)


# %% 3.4 · after minus before
# says: a gain is the loss before minus the loss after
def split_gain(lm_nll, plain_nll, told_nll):
    gains = torch.stack([plain_nll - lm_nll, told_nll - plain_nll])
    return torch.stack([gains.mean(-1), gains.std(-1) / len(lm_nll) ** 0.5], -1)


# %% 3.4 · the error of two separate samples
# says: this is the error of two separate samples
def split_gain(lm_nll, plain_nll, told_nll):
    losses = torch.stack([lm_nll, plain_nll, told_nll])
    means, errors = losses.mean(-1), losses.std(-1) / len(lm_nll) ** 0.5
    spread = (errors[:-1] ** 2 + errors[1:] ** 2).sqrt()
    return torch.stack([means[:-1] - means[1:], spread], -1)


# %% 3.4 · the spread of texts for the error of their mean
# says: this is the spread of single texts
def split_gain(lm_nll, plain_nll, told_nll):
    gains = torch.stack([lm_nll - plain_nll, plain_nll - told_nll])
    return torch.stack([gains.mean(-1), gains.std(-1)], -1)


# %% 3.4 · a gain cannot be negative, can it
# says: yours never goes there
def split_gain(lm_nll, plain_nll, told_nll):
    gains = torch.stack([lm_nll - plain_nll, plain_nll - told_nll])
    return torch.stack([gains.mean(-1).clamp(min=0), gains.std(-1) / len(lm_nll) ** 0.5], -1)
