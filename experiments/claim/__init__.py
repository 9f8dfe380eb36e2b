"""The paper's claim as an experiment: the rule that decides it, the compared systems, one trial, the results."""
