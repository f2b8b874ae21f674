"""Trims: how many sampled tokens of each row are kept."""
