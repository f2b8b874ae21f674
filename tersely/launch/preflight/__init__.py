"""Checks before a run: the recipe (`preflight`), and installation and hardware (`doctor`)."""
