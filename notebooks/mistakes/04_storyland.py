# %% setup
import math

import torch


# %% 4.1 · lets every place move on and forgets what the word says about where one was
# says: none lost weight
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        moves = arcs[:, word] / arcs[:, word].sum(-1, keepdim=True)
        beliefs.append(beliefs[-1] @ moves)
    return torch.stack(beliefs)


# %% 4.1 · a Markov chain's next place, whatever was said
# says: the word was not listened to
def read_on(start, arcs, words):
    beliefs = [start]
    for _ in words:
        beliefs.append(beliefs[-1] @ arcs.sum(1))
    return torch.stack(beliefs)


# %% 4.1 · does not divide by the probability of the word
# says: a belief sums to one, so divide by it
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        beliefs.append(beliefs[-1] @ arcs[:, word])
    return torch.stack(beliefs)


# %% 4.1 · decides for the likeliest place at each word
# says: only the most likely place was followed
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        row = arcs[beliefs[-1].argmax(), word]
        beliefs.append(row / row.sum())
    return torch.stack(beliefs)


# %% 4.1 · multiplies from the other side
# says: walked backwards
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        joint = arcs[:, word] @ beliefs[-1]
        beliefs.append(joint / joint.sum())
    return torch.stack(beliefs)


# %% 4.1 · weighs the places by the word but does not go on
# says: the story did not move on
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        joint = beliefs[-1] * arcs[:, word].sum(-1)
        beliefs.append(joint / joint.sum())
    return torch.stack(beliefs)


# %% 4.1 · begins again at every word
# says: has forgotten the first word
def read_on(start, arcs, words):
    beliefs = [start]
    for word in words:
        joint = start @ arcs[:, word]
        beliefs.append(joint / joint.sum())
    return torch.stack(beliefs)


# %% 4.1 · leaves out the belief before the first word
# says: the one before the first word is missing
def read_on(start, arcs, words):
    beliefs, belief = [], start
    for word in words:
        joint = belief @ arcs[:, word]
        belief = joint / joint.sum()
        beliefs.append(belief)
    return torch.stack(beliefs)


# %% 4.2 · averages the rows as if all states were visited alike
# says: counts as much as the start
def entropy_per_token(visits, probs):
    return float(-torch.special.xlogy(probs, probs).sum(-1).mean())


# %% 4.2 · the entropy of a sentence
# says: these are the nats of a whole sentence
def entropy_per_token(visits, probs):
    return float(-(visits @ torch.special.xlogy(probs, probs).sum(-1)))


# %% 4.2 · counts the end as a token
# says: where no token is said
def entropy_per_token(visits, probs):
    rows = -torch.special.xlogy(probs, probs).sum(-1)
    return float(visits @ rows / visits.sum())


# %% 4.2 · averages the distributions, then takes the entropy
# says: averaged before the logarithm
def entropy_per_token(visits, probs):
    mean = visits @ probs
    mean = mean / mean.sum()
    return float(-torch.special.xlogy(mean, mean).sum())


# %% 4.2 · p log p, with zeros in p
# says: came out as NaN
def entropy_per_token(visits, probs):
    rows = -(probs * probs.log()).sum(-1)
    return float(visits @ rows / (visits @ probs.sum(-1)))


# %% 4.2 · the logarithm of base two
# says: these are bits
def entropy_per_token(visits, probs):
    rows = -(probs * probs.clamp_min(1e-300).log2()).sum(-1)
    return float(visits @ rows / (visits @ probs.sum(-1)))


# %% 4.3 · solves with the whole matrix, so that a word said twice counts twice
# says: every saying is counted
def keyword_chance(arcs, word):
    A = arcs.sum(1)
    return torch.linalg.solve(torch.eye(len(A), dtype=A.dtype) - A, arcs[:, word].sum(-1))


# %% 4.3 · the chance of the word at the next step
# says: it may also come later
def keyword_chance(arcs, word):
    return arcs[:, word].sum(-1)


# %% 4.3 · looks back instead of ahead
# says: a transpose looks back
def keyword_chance(arcs, word):
    without = arcs.sum(1) - arcs[:, word]
    return torch.linalg.solve(torch.eye(len(arcs), dtype=arcs.dtype) - without.T, arcs[:, word].sum(-1))


# %% 4.3 · the chance to come to the end without the word
# says: the word is never said
def keyword_chance(arcs, word):
    without = arcs.sum(1) - arcs[:, word]
    ended = torch.zeros(len(arcs), dtype=arcs.dtype)
    ended[-1] = 1.0
    return torch.linalg.solve(torch.eye(len(arcs), dtype=arcs.dtype) - without, ended)


# %% 4.3 · makes a proper transition matrix of the other steps
# says: scaled up to sum to one
def keyword_chance(arcs, word):
    without = arcs.sum(1) - arcs[:, word]
    total = without.sum(-1, keepdim=True)
    without = without / total.where(total > 0, 1.0)
    return torch.linalg.solve(torch.eye(len(arcs), dtype=arcs.dtype) - without, arcs[:, word].sum(-1))


# %% 4.3 · a few rounds of dynamic programming, although the language has loops
# says: from 500 rounds
def keyword_chance(arcs, word):
    without = arcs.sum(1) - arcs[:, word]
    h = torch.zeros(len(arcs), dtype=arcs.dtype)
    for _ in range(5):
        h = without @ h + arcs[:, word].sum(-1)
    return h


# %% 4.4 · takes the keyword's entropy for what it tells
# says: this is H(C)
def information_ceiling(h, k):
    p = h / k
    return float(-torch.special.xlogy(p, p).sum())


# %% 4.4 · takes the chances of containing for a distribution
# says: not to one
def information_ceiling(h, k):
    return float(-torch.special.xlogy(h, h).sum())


# %% 4.4 · being in the sentence taken for being drawn
# says: is not being drawn
def information_ceiling(h, k):
    return float(-torch.special.xlogy(h, h).sum() - math.log(k))


# %% 4.4 · a yes or no for every word
# says: all at once
def information_ceiling(h, k):
    return float(-(torch.special.xlogy(h, h) + torch.special.xlogy(1 - h, 1 - h)).sum())


# %% 4.4 · shares the entropy out among the words
# says: it does not divide
def information_ceiling(h, k):
    p = h / k
    return float(-torch.special.xlogy(p, p).sum() / k)


# %% 4.4 · p log p, with words that never occur
# says: makes it NaN
def information_ceiling(h, k):
    p = h / k
    return float(-(p * p.log()).sum() - math.log(k))
