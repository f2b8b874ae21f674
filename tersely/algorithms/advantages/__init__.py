"""Advantages: turn rewards into advantages, one method per file."""
