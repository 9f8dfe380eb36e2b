"""End-task aware training (TARTAN): MT and META beside fine-tuning, in Storyland and on real texts."""
