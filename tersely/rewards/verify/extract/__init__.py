"""Finds the answer in a text."""
