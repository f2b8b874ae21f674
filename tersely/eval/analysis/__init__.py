"""Trace analysis: what recorded completions consist of, and how much of them follows their first correct answer."""
