"""Advantages: from rewards to advantages, one method per file."""
