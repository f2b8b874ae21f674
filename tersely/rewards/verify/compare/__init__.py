"""Compares an answer with the reference answer: rules by kind of answer, then math-verify and sympy."""
