"""Trims: shorten sampled rows before scoring, one method per file."""
