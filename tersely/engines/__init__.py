"""Rollout engines: token ids and one seed per sample in, token ids and log-probs out."""
