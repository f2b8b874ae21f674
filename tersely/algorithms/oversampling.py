"""Predictive oversampling (DOT): how many prompts to sample, so that about a whole batch of groups passes the filter.

Paper: arXiv 2601.03969, predictive dynamic sampling, from the released code.
    factor = clip((1 / mean s)(1 + std s), 1.2, most) ;   1.5 before the first batch ;   prompts = floor(P factor)
Symbols: s share of sampled groups that the filter keeps, of the last 20 batches; std is the population's; P prompts of a batch.
    Shares and factors have no unit.
Against GRPO: GRPO samples P prompts and trains on all of them.
Degenerate: mean s = 0 -> most. most below 1.2 (or 1.5) is still the largest factor. P = 1 with a factor below 2: nothing
    more is sampled.
Pitfalls: groups beyond the batch are sampled and thrown away. A filter that keeps everything makes all of them waste.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FIRST, LEAST, WINDOW = 1.5, 1.2, 20
"""Factor before the first batch, smallest factor, and number of batches that are remembered."""


def oversampling_factor(shares: Sequence[float], most: float) -> float:
    """Prompts to sample per prompt of the batch. `shares`: kept shares in [0, 1], oldest first; only the last 20 count."""
    recent = shares[-WINDOW:]
    if not recent:
        return min(FIRST, most)
    mean = math.fsum(recent) / len(recent)
    if mean <= 0:
        return most
    spread = math.sqrt(math.fsum((share - mean) ** 2 for share in recent) / len(recent))
    return min(max((1 + spread) / mean, LEAST), most)
