"""What is the truth? Worlds in which every probability that the course speaks of can be computed.

``letters`` enumerates every text of a handful of letters; identities hold there to machine precision. ``storyland`` is
a language of small stories with a grammar of our own: far too many sentences to list, and still nothing is estimated.
``story_lm`` is a language model of Storyland: an expert whose errors can be measured.
"""
