"""Sampling: the temperature of each token, one method per file."""
