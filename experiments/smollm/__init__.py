"""Writing around a keyword with SmolLM2: prompts, fine-tuning, LoRA and the auxiliary; and the headline figures."""
