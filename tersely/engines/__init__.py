"""Rollout engines: token ids and one seed a sample in, token ids and log-probs out."""
