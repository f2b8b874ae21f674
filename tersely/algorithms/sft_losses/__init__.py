"""Losses of supervised training, one method per file."""
