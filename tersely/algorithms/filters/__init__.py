"""Filters: which groups are trained on."""
