"""From scored rollouts to one optimizer step: log-probs, micro-batches, batch sizes."""
