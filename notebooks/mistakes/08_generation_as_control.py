# %% setup
import torch

from auxlib.product import nucleus


def kept(probs, top_p):
    """What the fewest tokens hold that reach top_p, renormalised."""
    probs = probs * nucleus(probs.log(), top_p)
    return probs / probs.sum(-1, keepdim=True)


def column(weight):
    """A weight that multiplies [B, V], whether one number or one a row."""
    return torch.as_tensor(weight, dtype=torch.float64).view(-1, 1)


# %% 8.1 · softens the expert and adds the auxiliary as it is
# says: the temperature divides the expert only
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    joint_logits = lm_logits / temperature + column(weight) * aux_logits
    return kept(joint_logits.softmax(-1), top_p)


# %% 8.1 · cuts the expert to its nucleus and then adds, as DExperts does
# says: what only the auxiliary wants cannot come in
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    lm_logits = lm_logits.masked_fill(~nucleus(lm_logits, top_p), -torch.inf)
    return ((lm_logits + column(weight) * aux_logits) / temperature).softmax(-1)


# %% 8.1 · divides what is left of the probabilities by the temperature
# says: it cancels when probabilities are renormalised
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = kept((lm_logits + column(weight) * aux_logits).softmax(-1), top_p) / temperature
    return probs / probs.sum(-1, keepdim=True)


# %% 8.1 · divides the probabilities by the temperature before the cut
# says: only the threshold moves
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = (lm_logits + column(weight) * aux_logits).softmax(-1) / temperature
    ranked, order = probs.sort(-1, descending=True)
    ranked[ranked.cumsum(-1) - ranked >= top_p] = 0
    probs = torch.zeros_like(probs).scatter(-1, order, ranked)
    return probs / probs.sum(-1, keepdim=True)


# %% 8.1 · cuts first, and applies the temperature to what is left
# says: the nucleus was chosen before the temperature
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = kept((lm_logits + column(weight) * aux_logits).softmax(-1), top_p) ** (1 / temperature)
    return probs / probs.sum(-1, keepdim=True)


# %% 8.1 · keeps tokens as long as their sum stays within top_p
# says: the token that crosses the threshold is gone
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = ((lm_logits + column(weight) * aux_logits) / temperature).softmax(-1)
    ranked, order = probs.sort(-1, descending=True)
    inside = ranked.cumsum(-1) <= top_p
    inside[:, 0] = True
    probs = torch.zeros_like(probs).scatter(-1, order, ranked * inside)
    return probs / probs.sum(-1, keepdim=True)


# %% 8.1 · forgets to renormalise
# says: the rows do not sum to one
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = ((lm_logits + column(weight) * aux_logits) / temperature).softmax(-1)
    return probs * nucleus(probs.log(), top_p)


# %% 8.1 · multiplies by the weights as they come
# says: row i's weight went to token i
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    return kept(((lm_logits + weight * aux_logits) / temperature).softmax(-1), top_p)


# %% 8.1 · thinks of one weight a row only
# says: it raised TypeError
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    return kept(((lm_logits + weight[:, None] * aux_logits) / temperature).softmax(-1), top_p)


# %% 8.1 · leaves the probabilities in sorted order
# says: never put back to their tokens
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = ((lm_logits + column(weight) * aux_logits) / temperature).softmax(-1)
    ranked = probs.sort(-1, descending=True).values
    ranked = ranked * (ranked.cumsum(-1) - ranked < top_p)
    return ranked / ranked.sum(-1, keepdim=True)


# %% 8.1 · lays the sorted mask on unsorted tokens
# says: the mask is in sorted order, the tokens are not
def steered(lm_logits, aux_logits, weight, temperature, top_p):
    probs = ((lm_logits + column(weight) * aux_logits) / temperature).softmax(-1)
    ranked = probs.sort(-1, descending=True).values
    probs = probs * (ranked.cumsum(-1) - ranked < top_p)
    return probs / probs.sum(-1, keepdim=True)


# %% 8.2 · takes the largest absolute difference
# says: max |pmi| also counts what all tokens share
def pmi_spread(joint_aux, aux_1, aux_2):
    return (joint_aux - (aux_1 + aux_2)).abs().amax(-1)


# %% 8.2 · reports the standard deviation
# says: a standard deviation is a typical error
def pmi_spread(joint_aux, aux_1, aux_2):
    return (joint_aux - (aux_1 + aux_2)).std(-1)


# %% 8.2 · reports the mean
# says: the mean over tokens is the very constant
def pmi_spread(joint_aux, aux_1, aux_2):
    return (joint_aux - (aux_1 + aux_2)).mean(-1)


# %% 8.2 · lets a vetoed token speak
# says: is no number; leave such a token out
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = joint_aux - (aux_1 + aux_2)
    return pmi.amax(-1) - pmi.amin(-1)


# %% 8.2 · makes NaN a zero
# says: was given a pmi of 0
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = (joint_aux - (aux_1 + aux_2)).nan_to_num(0.0)
    return pmi.amax(-1) - pmi.amin(-1)


# %% 8.2 · asks only the two whether a token is vetoed
# says: vetoed by joint_aux alone still counts
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi, both = joint_aux - (aux_1 + aux_2), (aux_1 + aux_2).isfinite()
    spread = pmi.masked_fill(~both, -torch.inf).amax(-1) - pmi.masked_fill(~both, torch.inf).amin(-1)
    return spread.clamp(min=0)


# %% 8.2 · forgets the place at which every token is vetoed
# says: where one token is left, none
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = joint_aux - (aux_1 + aux_2)
    finite = pmi.isfinite()
    return pmi.where(finite, -torch.inf).amax(-1) - pmi.where(finite, torch.inf).amin(-1)


# %% 8.2 · takes the spread over places
# says: the spread is over places
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = joint_aux - (aux_1 + aux_2)
    return pmi.amax(0) - pmi.amin(0)


# %% 8.2 · takes one of the two away and forgets the other
# says: the second auxiliary is not in the sum
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = joint_aux - aux_1
    return pmi.amax(-1) - pmi.amin(-1)


# %% 8.2 · drops the brackets
# says: brackets are missing
def pmi_spread(joint_aux, aux_1, aux_2):
    pmi = joint_aux - aux_1 + aux_2
    return pmi.amax(-1) - pmi.amin(-1)


# %% 8.3 · adds them up
# says: this is the plain sum
def style_once(each_aux, none_aux):
    return each_aux.sum(0)


# %% 8.3 · takes the mean, so that the style is in it once
# says: of each keyword only a quarter
def style_once(each_aux, none_aux):
    return each_aux.mean(0)


# %% 8.3 · frees every keyword from the style
# says: 4 times of 4
def style_once(each_aux, none_aux):
    return (each_aux - none_aux).sum(0)


# %% 8.3 · takes the style away once, as is right for two
# says: once, whatever N
def style_once(each_aux, none_aux):
    return each_aux.sum(0) - none_aux


# %% 8.3 · counts tokens in place of keywords
# says: N counts rows, not tokens
def style_once(each_aux, none_aux):
    return each_aux.sum(0) - (each_aux.shape[-1] - 1) * none_aux


# %% 8.3 · frees all but the first in place
# says: writes into each_aux
def style_once(each_aux, none_aux):
    each_aux[1:] -= none_aux
    return each_aux.sum(0)


# %% 8.4 · takes the best place there is
# says: is known only when all have gone by
def place(fits):
    return max(range(len(fits)), key=lambda index: fits[index])


# %% 8.4 · looks at a third, then takes the best of the rest
# says: what comes *later* changes your choice
def place(fits):
    return max(range(len(fits) // 3, len(fits)), key=lambda index: fits[index])


# %% 8.4 · takes the first place that is better than the one before it
# says: better than the place just before
def place(fits):
    for index in range(max(1, len(fits) // 3), len(fits)):
        if fits[index] > fits[index - 1]:
            return index
    return len(fits) - 1


# %% 8.4 · looks at half
# says: you look at half of the places
def place(fits):
    look = len(fits) // 2
    best = max(fits[:look], default=float("-inf"))
    return next((i for i in range(look, len(fits)) if fits[i] > best), len(fits) - 1)


# %% 8.4 · returns nothing when nothing is better
# says: must be taken: called with (list) it returned None
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look], default=float("-inf"))
    for index in range(look, len(fits)):
        if fits[index] > best:
            return index


# %% 8.4 · says -1 when nothing is better
# says: -1 is none of the places
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look], default=float("-inf"))
    return next((i for i in range(look, len(fits)) if fits[i] > best), -1)


# %% 8.4 · takes the last place of the look
# says: the last place of the look is taken
def place(fits):
    return max(len(fits) // 3 - 1, 0)


# %% 8.4 · goes back to the best one when nothing better came
# says: a place that is gone
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look], default=float("-inf"))
    return next((i for i in range(look, len(fits)) if fits[i] > best), fits.index(max(fits)))


# %% 8.4 · forgets that a third may be nothing
# says: nobody looks: called with (list) it raised ValueError
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look])
    return next((i for i in range(look, len(fits)) if fits[i] > best), len(fits) - 1)


# %% 8.4 · starts its best at zero
# says: a best that starts at 0 is never beaten
def place(fits):
    best = 0
    for index, fit in enumerate(fits):
        if index >= len(fits) // 3 and fit > best:
            return index
        best = max(best, fit)
    return len(fits) - 1


# %% 8.4 · counts from the end of the look
# says: counted from the end of the look
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look], default=float("-inf"))
    for index, fit in enumerate(fits[look:]):
        if fit > best:
            return index
    return len(fits) - 1


# %% 8.4 · returns the fit
# says: asked for is where
def place(fits):
    look = len(fits) // 3
    best = max(fits[:look], default=float("-inf"))
    return next((fit for fit in fits[look:] if fit > best), fits[-1])
