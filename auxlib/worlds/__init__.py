"""Storyland, a language whose probabilities are all known.

``storyland`` computes them exactly from a grammar, without listing sentences. ``story_lm`` is a language model trained
on its sentences, an expert whose errors can be measured.
"""
