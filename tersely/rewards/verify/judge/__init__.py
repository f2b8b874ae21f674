"""A language model as a second opinion on answers, and the filter before it."""
