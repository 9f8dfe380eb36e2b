"""Assets, text corpora, classification tasks, and how computed results are stored."""
