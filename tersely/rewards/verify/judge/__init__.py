"""A language model as the second opinion, and what it is never asked."""
