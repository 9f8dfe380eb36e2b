# %% setup
import torch


# %% 13.1 · goes from the truth to what is seen
# says: that is the way *to* the observed share
def true_rate(observed, sensitivity, specificity):
    return sensitivity * observed + (1 - specificity) * (1 - observed)


# %% 13.1 · forgets the false alarms
# says: leaves its false alarms in
def true_rate(observed, sensitivity, specificity):
    return observed / sensitivity


# %% 13.1 · exchanges the two errors
# says: sensitivity and specificity have changed places
def true_rate(observed, sensitivity, specificity):
    return (observed + sensitivity - 1) / (sensitivity + specificity - 1)


# %% 13.1 · takes the false alarms off and stops
# says: what remains is spread over
def true_rate(observed, sensitivity, specificity):
    return observed - (1 - specificity)


# %% 13.1 · takes the false alarms off, then divides by the hits
# says: of the distance between no positive and all
def true_rate(observed, sensitivity, specificity):
    return (observed + specificity - 1) / sensitivity


# %% 13.1 · has one accuracy for both errors
# says: as if both errors were alike
def true_rate(observed, sensitivity, specificity):
    accuracy = (sensitivity + specificity) / 2
    return (observed + accuracy - 1) / (2 * accuracy - 1)


# %% 13.1 · cuts off what is impossible
# says: you cut the share to [0, 1]
def true_rate(observed, sensitivity, specificity):
    return min(1.0, max(0.0, (observed + specificity - 1) / (sensitivity + specificity - 1)))


# %% 13.1 · divides by zero
# says: it raised ZeroDivisionError
def true_rate(observed, sensitivity, specificity):
    return (observed + specificity - 1) / (sensitivity + specificity - 1)


# %% 13.1 · believes a coin
# says: tosses a coin
def true_rate(observed, sensitivity, specificity):
    spread = sensitivity + specificity - 1
    return (observed + specificity - 1) / spread if spread else observed


# %% 13.2 · leaves the own run out
# says: without your own among them the p-value can be zero
def p_value(found, shuffled):
    return sum(other >= found for other in shuffled) / len(shuffled)


# %% 13.2 · lets a tie count for it
# says: a tie counts against you: at least as good
def p_value(found, shuffled):
    return (1 + sum(other > found for other in shuffled)) / (1 + len(shuffled))


# %% 13.2 · leaves the own run out, and ties as well
# says: a tie counts against you, and your own run
def p_value(found, shuffled):
    return sum(other > found for other in shuffled) / len(shuffled)


# %% 13.2 · adds the own run above only
# says: but not among all: divide by n + 1
def p_value(found, shuffled):
    return (1 + sum(other >= found for other in shuffled)) / len(shuffled)


# %% 13.2 · adds the own run below only
# says: add 1 above, too
def p_value(found, shuffled):
    return sum(other >= found for other in shuffled) / (1 + len(shuffled))


# %% 13.2 · looks at the wrong end
# says: that is the wrong end
def p_value(found, shuffled):
    return (1 + sum(other <= found for other in shuffled)) / (1 + len(shuffled))


# %% 13.2 · counts whom it has beaten
# says: the share of runs that you have beaten
def p_value(found, shuffled):
    return sum(other < found for other in shuffled) / (1 + len(shuffled))


# %% 13.2 · forgets the sign
# says: you count by size without sign
def p_value(found, shuffled):
    return (1 + sum(abs(other) >= abs(found) for other in shuffled)) / (1 + len(shuffled))


# %% 13.3 · draws without replacement
# says: every round gives the same difference
def difference_interval(first, second, rounds=1000):
    found = torch.stack([
        first[torch.randperm(len(first))].mean() - second[torch.randperm(len(second))].mean() for _ in range(200)
    ])  # fmt: skip
    low, high = found.round(decimals=9).quantile(torch.tensor([0.025, 0.975], dtype=found.dtype))
    return float(low), float(high)


# %% 13.3 · puts both groups into one pot
# says: you drew both groups from one pot
def difference_interval(first, second, rounds=1000):
    pot = torch.cat([first, second])
    means = [pot[torch.randint(len(pot), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)


# %% 13.3 · subtracts the other way round
# says: the interval lies around second minus first
def difference_interval(first, second, rounds=1000):
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[1] - means[0]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)


# %% 13.3 · gives one standard error
# says: which holds 68 %
def difference_interval(first, second, rounds=1000):
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    found = means[0] - means[1]
    return float(found.mean() - found.std()), float(found.mean() + found.std())


# %% 13.3 · cuts five per cent at each end
# says: that is the middle 90 %
def difference_interval(first, second, rounds=1000):
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.05, 0.95], dtype=first.dtype))
    return float(low), float(high)


# %% 13.3 · draws one group only
# says: only one of the groups was drawn anew
def difference_interval(first, second, rounds=1000):
    means = first[torch.randint(len(first), (rounds, len(first)))].mean(1)
    low, high = (means - second.mean()).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)


# %% 13.3 · draws too few of the larger group
# says: you draw as few of the second group
def difference_interval(first, second, rounds=1000):
    places = torch.randint(min(len(first), len(second)), (rounds, min(len(first), len(second))))
    other = torch.randint(len(second), places.shape)
    low, high = (first[places].mean(1) - second[other].mean(1)).quantile(
        torch.tensor([0.025, 0.975], dtype=first.dtype)
    )
    return float(low), float(high)


# %% 13.3 · draws too many of the smaller group
# says: you draw as many of the first group as there are in the second
def difference_interval(first, second, rounds=1000):
    many = max(len(first), len(second))
    means = [group[torch.randint(len(group), (rounds, many))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(low), float(high)


# %% 13.3 · returns the high end first
# says: return low first
def difference_interval(first, second, rounds=1000):
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    low, high = (means[0] - means[1]).quantile(torch.tensor([0.025, 0.975], dtype=first.dtype))
    return float(high), float(low)


# %% 13.3 · returns the width alone
# says: return two numbers, low and high
def difference_interval(first, second, rounds=1000):
    means = [group[torch.randint(len(group), (rounds, len(group)))].mean(1) for group in (first, second)]
    return 1.96 * float((means[0] - means[1]).std())
