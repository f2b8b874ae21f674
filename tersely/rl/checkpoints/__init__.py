"""Whole checkpoints: written, checked, resumed from, rolled back to."""
