"""How fast is it? What is timed is timed in turn with what it is compared with, A B A B, and told as a ratio: a noisy
machine is noisy for both."""
