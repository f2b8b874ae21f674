"""The processes in which sympy runs, with a deadline for each answer."""
