"""Decoding strategies: turn a prompt into finished token ids without training. The list is in registry.py."""
