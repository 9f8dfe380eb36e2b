"""Y-Tuning (a label decoder on frozen states) beside probes, LoRA and full fine-tuning of MiniLM."""
