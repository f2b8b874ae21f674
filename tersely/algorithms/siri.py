"""SIRI's schedule: a token cap that falls and rises in cycles.

Paper: arXiv 2509.25176.
    cosine        (longest + shortest)/2 + (longest - shortest)/2 cos(2 pi t / cycle)
    stair         shortest in the first half of the cycle, longest in the second        (the order is read from the text)
    stair_cosine  phi = 2 pi (t mod cycle)/cycle;  longest for phi < pi/4 or phi >= 7 pi/4;
                  shortest for 3 pi/4 <= phi < 5 pi/4;
                  between: mid + half cos 2(phi - pi/4), on the way up mid + half cos 2(phi - 3 pi/4)
Symbols: t optimizer steps; cycle steps; longest, shortest tokens; mid, half of their sum and difference.
"""

from __future__ import annotations

import math

SHAPES = ("cosine", "stair", "stair_cosine")


def siri_cap(step: int, longest: int, shortest: int, cycle: int, shape: str = "cosine") -> int:
    """The cap (tokens) at this optimizer step, rounded half up."""
    place = step % cycle
    middle, half, phi = (longest + shortest) / 2, (longest - shortest) / 2, 2 * math.pi * place / cycle
    eighths = 8 * place  # of a cycle, in steps: exact at the corners of the stairs
    if shape == "stair":
        return shortest if 2 * place < cycle else longest
    if shape == "cosine":
        cap = middle + half * math.cos(phi)
    elif eighths < cycle or eighths >= 7 * cycle:
        return longest
    elif 3 * cycle <= eighths < 5 * cycle:
        return shortest
    else:
        start = math.pi / 4 if eighths < 3 * cycle else 3 * math.pi / 4
        cap = middle + half * math.cos(2 * (phi - start))
    return math.floor(cap + 0.5 + 1e-9)
