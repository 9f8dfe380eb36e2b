"""Storyland: a language of small stories with a grammar, in which every probability is computed exactly."""
