"""Decoding strategies: a prompt into finished token ids without touching the weights. The registry is in registry.py."""
