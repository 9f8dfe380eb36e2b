"""What is the truth? Small worlds in which every probability that the course speaks of can be computed.

``letters`` enumerates every text of a handful of letters; identities hold there to machine precision.
Real models are graded on real text elsewhere; here they are graded against what is true.
"""
