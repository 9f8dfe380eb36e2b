# %% setup
import torch

P_OF_C = 0.414  # what the notebook prints for the share of texts with a k


# %% 2.1 · averages the probabilities instead of multiplying them
# says: this is the average of the two distributions
def combine_two(lm_logits, aux_logits):
    return (lm_logits.softmax(-1) + aux_logits.softmax(-1)) / 2


# %% 2.1 · multiplies the probabilities and forgets to renormalise
# says: probabilities sum to one in each row
def combine_two(lm_logits, aux_logits):
    return lm_logits.softmax(-1) * aux_logits.softmax(-1)


# %% 2.1 · takes softmax over the batch
# says: lets sentences compete
def combine_two(lm_logits, aux_logits):
    return (lm_logits + aux_logits).softmax(0)


# %% 2.1 · adds probabilities and takes softmax again
# says: softmax was taken twice
def combine_two(lm_logits, aux_logits):
    return (lm_logits.softmax(-1) + aux_logits.softmax(-1)).softmax(-1)


# %% 2.1 · adds in place
# says: writes in place
def combine_two(lm_logits, aux_logits):
    lm_logits += aux_logits
    return lm_logits.softmax(-1)


# %% 2.1 · writes softmax out without subtracting the maximum
# says: the product of logits near 1,000 holds NaN
def combine_two(lm_logits, aux_logits):
    weights = (lm_logits + aux_logits).exp()
    return weights / weights.sum(-1, keepdim=True)


# %% 2.1 · makes the result finite at any price
# says: the vetoed letter got a probability
def combine_two(lm_logits, aux_logits):
    return (lm_logits + aux_logits.clamp(min=-20)).softmax(-1)


# %% 2.2 · divides by p(c), as some print it
# says: the denominator is what is known *so far*
def step_posterior(prior, h_next, h_now):
    return prior * h_next / P_OF_C


# %% 2.2 · leaves the denominator out
# says: which is h_now itself
def step_posterior(prior, h_next, h_now):
    return prior * h_next


# %% 2.2 · normalises by its own sum
# says: you divide by your own sum
def step_posterior(prior, h_next, h_now):
    joint = prior * h_next
    return joint / joint.sum()


# %% 2.2 · forgets what the language model thinks
# says: the language model's prior is missing
def step_posterior(prior, h_next, h_now):
    return h_next / h_now


# %% 2.2 · softmax, out of habit
# says: it makes them nearly equal
def step_posterior(prior, h_next, h_now):
    return (prior * h_next).softmax(-1)


# %% 2.2 · turns the ratio over
# says: h_next goes above the line
def step_posterior(prior, h_next, h_now):
    return prior * h_now / h_next


# %% 2.2 · stays in log space
# says: these are log-probabilities
def step_posterior(prior, h_next, h_now):
    return prior.log() + h_next.log() - torch.tensor(h_now).log()


# %% 2.3 · multiplies zero by minus infinity
# says: the row of λ = 0 is NaN
def turn_dial(lm_logits, aux_logits, weights):
    return (lm_logits + weights[:, None] * aux_logits).softmax(-1)


# %% 2.3 · blends from one distribution to the other
# says: the rows blend two distributions
def turn_dial(lm_logits, aux_logits, weights):
    start, end = lm_logits.softmax(-1), (lm_logits + aux_logits).softmax(-1)
    return (1 - weights[:, None]) * start + weights[:, None] * end


# %% 2.3 · takes from one expert what it gives the other
# says: at λ = 1 the language model is gone
def turn_dial(lm_logits, aux_logits, weights):
    return ((1 - weights[:, None]) * lm_logits + weights[:, None] * aux_logits).softmax(-1)


# %% 2.3 · turns both experts up
# says: that is a temperature
def turn_dial(lm_logits, aux_logits, weights):
    return (weights[:, None] * (lm_logits + aux_logits)).softmax(-1)


# %% 2.3 · removes every infinity, and the veto with it
# says: at λ = 1 a vetoed letter keeps
def turn_dial(lm_logits, aux_logits, weights):
    quiet = aux_logits.masked_fill(aux_logits.isinf(), 0.0)
    return (lm_logits + weights[:, None] * quiet).softmax(-1)


# %% 2.3 · replaces minus infinity by a large number
# says: a large negative number is no veto
def turn_dial(lm_logits, aux_logits, weights):
    return (lm_logits + weights[:, None] * aux_logits.clamp(min=-1000)).softmax(-1)


# %% 2.3 · scales before the new axis is there
# says: the λ family must have the shape
def turn_dial(lm_logits, aux_logits, weights):
    return (lm_logits[:, None] + weights * aux_logits[:, None]).softmax(0)


# %% 2.4 · averages as if all letters were equally likely
# says: as if all letters were equally likely
def look_ahead(tables, score):
    levels = [score]
    for table in reversed(tables):
        levels.insert(0, levels[0].view_as(table).mean(-1))
    return levels


# %% 2.4 · hopes for the best future
# says: this is the best future
def look_ahead(tables, score):
    levels = [score]
    for table in reversed(tables):
        levels.insert(0, levels[0].view_as(table).max(-1).values)
    return levels


# %% 2.4 · averages the logarithms
# says: the average was taken of log h
def look_ahead(tables, score):
    levels = [score.log()]
    for table in reversed(tables):
        levels.insert(0, (table * levels[0].view_as(table)).sum(-1))
    return [level.exp() for level in levels[:-1]] + [score]


# %% 2.4 · folds along the wrong letter
# says: the last letter runs fastest
def look_ahead(tables, score):
    levels = [score]
    for table in reversed(tables):
        levels.insert(0, (table.T * levels[0].view(table.T.shape)).sum(0))
    return levels


# %% 2.4 · appends, so that the empty prefix comes last
# says: there is one empty prefix, and it comes first
def look_ahead(tables, score):
    levels = [score]
    for table in reversed(tables):
        levels.append((table * levels[-1].view_as(table)).sum(-1))
    return levels


# %% 2.4 · leaves the whole texts out
# says: texts of 3 letters have 4 levels
def look_ahead(tables, score):
    levels, h = [], score
    for table in reversed(tables):
        h = (table * h.view_as(table)).sum(-1)
        levels.insert(0, h)
    return levels


# %% 2.4 · goes through the tables from the first to the last
# says: it raised RuntimeError
def look_ahead(tables, score):
    levels = [score]
    for table in tables:
        levels.insert(0, (table * levels[0].view_as(table)).sum(-1))
    return levels
