"""The processes that run sympy, with a time limit for each answer."""
