"""Decoding strategies: from a prompt to finished token ids without changing the weights. Listed in registry.py."""
