"""Worlds with known probabilities.

``letters`` enumerates all texts over a few letters: identities hold to machine precision. ``storyland`` is a language
of small stories with a grammar: far too many sentences to list, but every probability is computed exactly. ``story_lm``
is a language model trained on Storyland, an expert whose errors can be measured.
"""
