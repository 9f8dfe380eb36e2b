"""Experiments: everything that makes a record in `data/results`; uses `auxlib`, and is used by the course alone."""
