"""Speed and memory of training and decoding, as ratios of calls that were timed in turn on one machine."""
