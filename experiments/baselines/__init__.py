"""Against what? Every system that the course compares, with one face: `reading` (what it may look at, and how it
writes), `prefix` (the model's own weights change), `beside` (the model is frozen and something stands beside it)."""
