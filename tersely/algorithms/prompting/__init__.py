"""Prompting: the instruction, prefill and budget of each rollout, one method per file."""
