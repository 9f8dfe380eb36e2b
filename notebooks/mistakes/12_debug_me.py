# %% setup
import copy

import torch
from torch import nn
from torch.nn import functional as F


# %% 12.1 · leaves the shift to the model, which does not do it here
# says: inputs equal targets
def shifted(token_ids):
    return token_ids, token_ids


# %% 12.1 · cuts both ends, as for a stream of text that has no beginning
# says: T − 1 columns
def shifted(token_ids):
    return token_ids[:, :-1], token_ids[:, 1:]


# %% 12.1 · shifts the wrong way
# says: the shift goes the wrong way
def shifted(token_ids):
    return F.pad(token_ids, (0, 1))[:, 1:], token_ids


# %% 12.1 · rolls the rows, which works as long as they end in a blank
# says: rolled round to the front
def shifted(token_ids):
    return token_ids.roll(1, dims=1), token_ids


# %% 12.1 · shifts, and lets a model that shifts do it again
# says: the inputs lag by two
def shifted(token_ids):
    return F.pad(token_ids, (2, 0))[:, :-2], token_ids


# %% 12.1 · puts <s> in front of both
# says: must have the shape [5, 7]
def shifted(token_ids):
    whole = F.pad(token_ids, (1, 0))
    return whole, whole


# %% 12.1 · shifts the targets and keeps the inputs
# says: the targets must be the sentences as they are
def shifted(token_ids):
    return token_ids, F.pad(token_ids, (0, 1))[:, 1:]


# %% 12.2 · averages over all places
# says: 6 blanks of 24 places are in the mean
def masked_nll(joint_logits, targets):
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten())


# %% 12.2 · masks the sum, divides by everything
# says: the blanks left the sum but not the count
def masked_nll(joint_logits, targets):
    nll = F.cross_entropy(joint_logits.transpose(1, 2), targets, reduction="none")
    return (nll * (targets != 0)).mean()


# %% 12.2 · averages each sentence first
# says: a mean of means
def masked_nll(joint_logits, targets):
    nll = F.cross_entropy(joint_logits.transpose(1, 2), targets, reduction="none")
    said = targets != 0
    return ((nll * said).sum(-1) / said.sum(-1)).mean()


# %% 12.2 · takes the full stop for padding, as where both are one token
# says: the full stop is not scored
def masked_nll(joint_logits, targets):
    nll = F.cross_entropy(joint_logits.transpose(1, 2), targets, reduction="none")
    return nll[targets > 1].mean()


# %% 12.2 · masks the logits in place of the loss
# says: a blank's logits were set to 0
def masked_nll(joint_logits, targets):
    said = (targets != 0).unsqueeze(-1)
    return F.cross_entropy((joint_logits * said).flatten(0, 1), targets.flatten())


# %% 12.2 · sums
# says: this is the sum
def masked_nll(joint_logits, targets):
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="sum")


# %% 12.2 · returns a plain number, to save memory
# says: no gradient reaches the logits
def masked_nll(joint_logits, targets):
    with torch.no_grad():
        return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten(), ignore_index=0)


# %% 12.3 · takes frozen to mean without gradients
# says: two calls on one input differ
def frozen(model):
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


# %% 12.3 · takes frozen to mean eval
# says: parameters still ask for a gradient
def frozen(model):
    return model.eval()


# %% 12.3 · sets an attribute of the module
# says: only sets an attribute that nobody reads
def frozen(model):
    model.eval()
    model.requires_grad = False
    return model


# %% 12.3 · looks for Dropout modules
# says: this model also drops out by a function
def frozen(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.requires_grad_(False)


# %% 12.3 · freezes a copy
# says: not a copy
def frozen(model):
    return copy.deepcopy(model).eval().requires_grad_(False)


# %% 12.3 · relies on a block that ends before the model is used
# says: nothing is frozen
def frozen(model):
    with torch.no_grad():
        model.train(True)
    return model


# %% 12.4 · makes the auxiliary a proper distribution first
# says: spans at most
def joint(lm_logits, aux_logits, weight):
    return lm_logits + weight * aux_logits.softmax(-1)


# %% 12.4 · adds probabilities and calls them logits
# says: both experts went through a softmax first
def joint(lm_logits, aux_logits, weight):
    return lm_logits.softmax(-1) + weight * aux_logits.softmax(-1)


# %% 12.4 · mixes
# says: this is a mixture
def joint(lm_logits, aux_logits, weight):
    return (lm_logits.softmax(-1) + weight * aux_logits.softmax(-1)).log()


# %% 12.4 · goes from one expert to the other
# says: λ is taken from the expert as well
def joint(lm_logits, aux_logits, weight):
    return torch.lerp(lm_logits, aux_logits, weight)


# %% 12.4 · scales the sum
# says: λ scales both experts
def joint(lm_logits, aux_logits, weight):
    return weight * (lm_logits + aux_logits)


# %% 12.4 · forgets the weight
# says: λ is not used
def joint(lm_logits, aux_logits, weight):
    return lm_logits + aux_logits


# %% 12.4 · adds in place
# says: writes into the expert's own tensor
def joint(lm_logits, aux_logits, weight):
    lm_logits += weight * aux_logits
    return lm_logits


# %% 12.4 · keeps what is added small, for stability
# says: a word that the auxiliary rules out
def joint(lm_logits, aux_logits, weight):
    return lm_logits + weight * aux_logits.clamp(-10, 10)


# %% 12.5 · hands over the whole pair
# says: the optimiser would hold 3 of the expert's 3 tensors
def trainable(model, auxiliary):
    return list(model.parameters()) + list(auxiliary.parameters())


# %% 12.5 · takes what has requires_grad
# says: you rely on requires_grad
def trainable(model, auxiliary):
    pair = nn.ModuleList([model, auxiliary])
    return [parameter for parameter in pair.parameters() if parameter.requires_grad]


# %% 12.5 · takes all of the auxiliary, also what it shares
# says: the same memory under two names
def trainable(model, auxiliary):
    return list(auxiliary.parameters())


# %% 12.5 · compares names
# says: of the auxiliary's own 5 tensors are left out
def trainable(model, auxiliary):
    names = {name for name, _ in model.named_parameters()}
    return [parameter for name, parameter in auxiliary.named_parameters() if name not in names]


# %% 12.5 · returns a generator, which a second look finds empty
# says: you returned a generator
def trainable(model, auxiliary):
    return auxiliary.parameters()


# %% 12.5 · wakes the pair up first
# says: lets the expert's parameters learn again
def trainable(model, auxiliary):
    pair = nn.ModuleList([model, auxiliary]).requires_grad_()
    return list(pair.parameters())
