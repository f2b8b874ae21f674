"""Losses of supervised fine-tuning, one method per file."""
