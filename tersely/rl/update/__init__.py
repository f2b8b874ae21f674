"""Turns scored rollouts into optimizer steps: log-probs, micro-batches, batch sizes."""
