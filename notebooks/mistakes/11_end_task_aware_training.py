# %% setup
import torch
import torch.nn.functional as F

from auxlib.collator import IGNORE_INDEX
from auxlib.tartan.meta_weights import fit_linear_head


# %% 11.1 · averages each text first
# says: it counts as much as the three of another
def missing_loss(told, targets):
    costs = []
    for row, wanted in zip(told, targets, strict=True):
        words = wanted[wanted != IGNORE_INDEX]
        if len(words):
            costs.append(-row[words].mean())
    return torch.stack(costs).mean()


# %% 11.1 · averages each text first, and lets an empty one cost nothing
# says: the text that misses nothing is in your mean
def missing_loss(told, targets):
    missing = targets != IGNORE_INDEX
    costs = -told.gather(1, targets.clamp(min=0)) * missing
    return (costs.sum(1) / missing.sum(1).clamp(min=1)).mean()


# %% 11.1 · divides by all places
# says: left the sum but not the count
def missing_loss(told, targets):
    return (-told.gather(1, targets.clamp(min=0)) * (targets != IGNORE_INDEX)).mean()


# %% 11.1 · takes IGNORE_INDEX for a word
# says: −100 was read as a word
def missing_loss(told, targets):
    rows = torch.arange(len(told)).unsqueeze(1)
    return -told[rows, targets].mean()


# %% 11.1 · asks for word 0 wherever nothing is missing
# says: word 0 was asked for
def missing_loss(told, targets):
    return -told.gather(1, targets.clamp(min=0)).mean()


# %% 11.1 · sums over the batch
# says: this is the sum; a text with more missing words
def missing_loss(told, targets):
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return -told[row, targets[row, column]].sum()


# %% 11.1 · divides by the texts
# says: divide by the number of texts
def missing_loss(told, targets):
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return -told[row, targets[row, column]].sum() / len(told)


# %% 11.1 · forgets the minus
# says: the sign is turned
def missing_loss(told, targets):
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return told[row, targets[row, column]].mean()


# %% 11.1 · goes back to probabilities
# says: these are probabilities
def missing_loss(told, targets):
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return -told.exp()[row, targets[row, column]].mean()


# %% 11.1 · returns a plain number
# says: no gradient can flow back
def missing_loss(told, targets):
    row, column = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    return F.nll_loss(told[row], targets[row, column]).item()


# %% 11.2 · forgets the weights
# says: the weights are not used
def weighted_gradient(losses, parameters, weights):
    total = [torch.zeros_like(p) for p in parameters]
    for loss in losses:
        gradient = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        total = [t + g for t, g in zip(total, gradient, strict=True)]
    return total


# %% 11.2 · weighs the loss, and then its gradient
# says: each weight was used twice
def weighted_gradient(losses, parameters, weights):
    total = [torch.zeros_like(p) for p in parameters]
    for loss, weight in zip(losses, weights, strict=True):
        gradient = torch.autograd.grad(weight * loss(), parameters, materialize_grads=True)
        total = [t + weight * g for t, g in zip(total, gradient, strict=True)]
    return total


# %% 11.2 · keeps the last gradient only
# says: the others have been overwritten
def weighted_gradient(losses, parameters, weights):
    for loss, weight in zip(losses, weights, strict=True):
        total = [weight * g for g in torch.autograd.grad(loss(), parameters, materialize_grads=True)]
    return total


# %% 11.2 · averages over the objectives
# says: you divide by the number of objectives as well
def weighted_gradient(losses, parameters, weights):
    total = [torch.zeros_like(p) for p in parameters]
    for loss, weight in zip(losses, weights, strict=True):
        gradient = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        total = [t + weight * g / len(losses) for t, g in zip(total, gradient, strict=True)]
    return total


# %% 11.2 · makes the weights sum to one
# says: you divided by the sum of the weights
def weighted_gradient(losses, parameters, weights):
    total = [torch.zeros_like(p) for p in parameters]
    for loss, weight in zip(losses, weights / weights.sum(), strict=True):
        gradient = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        total = [t + weight * g for t, g in zip(total, gradient, strict=True)]
    return total


# %% 11.2 · goes backward on top of what is there
# says: what stood in `.grad` before
def weighted_gradient(losses, parameters, weights):
    for loss, weight in zip(losses, weights, strict=True):
        (weight * loss()).backward()
    return [p.grad.clone() for p in parameters]


# %% 11.2 · clears another's gradient
# says: written into `.grad`
def weighted_gradient(losses, parameters, weights):
    for p in parameters:
        p.grad = torch.zeros_like(p)
    for loss, weight in zip(losses, weights, strict=True):
        (weight * loss()).backward()
    return [p.grad.clone() for p in parameters]


# %% 11.2 · sums the losses first
# says: 3 graphs were alive at once
def weighted_gradient(losses, parameters, weights):
    total = sum(weight * loss() for loss, weight in zip(losses, weights, strict=True))
    return list(torch.autograd.grad(total, parameters))


# %% 11.2 · computes each loss again for each parameter
# says: a loss was computed 2 times
def weighted_gradient(losses, parameters, weights):
    total = []
    for p in parameters:
        parts = [torch.autograd.grad(loss(), p, materialize_grads=True)[0] for loss in losses]
        total.append(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
    return total


# %% 11.2 · expects each loss to depend on each parameter
# says: appears to not have been used in the graph
def weighted_gradient(losses, parameters, weights):
    total = [torch.zeros_like(p) for p in parameters]
    for loss, weight in zip(losses, weights, strict=True):
        gradient = torch.autograd.grad(loss(), parameters)
        total = [t + weight * g for t, g in zip(total, gradient, strict=True)]
    return total


# %% 11.2 · returns one gradient an objective
# says: one gradient for each of the 2 parameters
def weighted_gradient(losses, parameters, weights):
    return [
        torch.autograd.grad(w * loss(), parameters, materialize_grads=True)
        for loss, w in zip(losses, weights, strict=True)
    ]


# %% 11.3 · forgets the softmax
# says: v stands inside a softmax
def direction(v, dots):
    return dots.clone()


# %% 11.3 · takes half of the softmax's slope
# says: only half of the softmax
def direction(v, dots):
    return v.softmax(0) * dots


# %% 11.3 · forgets the weight in front
# says: w_j is missing in front
def direction(v, dots):
    return dots - v.softmax(0) @ dots


# %% 11.3 · subtracts the plain mean
# says: you subtract the plain mean
def direction(v, dots):
    return v.softmax(0) * (dots - dots.mean())


# %% 11.3 · goes uphill
# says: the sign is turned
def direction(v, dots):
    w = v.softmax(0)
    return -w * (dots - w @ dots)


# %% 11.3 · takes v for the weights
# says: v stands where the weights should
def direction(v, dots):
    return v * (dots - v @ dots)


# %% 11.3 · takes the step already
# says: your function moved v itself
def direction(v, dots):
    w = v.softmax(0)
    v += w * (dots - w @ dots)
    return v


# %% 11.4 · fits on the texts that ask
# says: it knows their answers
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(ask.detach(), ask_labels, count, decay)(ask), ask_labels)


# %% 11.4 · fits on all there is
# says: were among those that fitted the head
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    head = fit_linear_head(torch.cat([fit, ask]).detach(), torch.cat([fit_labels, ask_labels]), count, decay)
    return F.cross_entropy(head(ask), ask_labels)


# %% 11.4 · lets everybody ask
# says: the texts that fitted the head ask as well
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    head = fit_linear_head(fit.detach(), fit_labels, count, decay)
    return F.cross_entropy(head(torch.cat([fit, ask])), torch.cat([fit_labels, ask_labels]))


# %% 11.4 · asks those who fitted
# says: the others are not heard
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(fit.detach(), fit_labels, count, decay)(fit), fit_labels)


# %% 11.4 · exchanges the two
# says: the two have changed places
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(ask.detach(), ask_labels, count, decay)(fit), fit_labels)


# %% 11.4 · sums
# says: that is the sum; more texts
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(fit.detach(), fit_labels, count, decay)(ask), ask_labels, reduction="sum")


# %% 11.4 · asks without a graph
# says: nobody hears it
@torch.no_grad()
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(fit.detach(), fit_labels, count, decay)(ask), ask_labels)


# %% 11.4 · fits with the graph of the states
# says: fitting the head has left a gradient
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(fit, fit_labels, count, decay)(ask), ask_labels)


# %% 11.4 · forgets to hold the head short
# says: `decay` is not handed on
def ask_through(fit, fit_labels, ask, ask_labels, count, decay):
    return F.cross_entropy(fit_linear_head(fit.detach(), fit_labels, count)(ask), ask_labels)
