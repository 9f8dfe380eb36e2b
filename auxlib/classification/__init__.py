"""Text classification beside a frozen encoder: cached states, training and Y-Tuning."""
