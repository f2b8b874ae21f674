"""Is this answer the reference answer? Rules by kind of answer, then math-verify and sympy."""
