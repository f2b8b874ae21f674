"""Normalises the spellings of answers: LaTeX and units."""
