"""Checks of a run before it costs GPU hours (`preflight`), and of the machine (`doctor`)."""
