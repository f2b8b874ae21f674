"""Mixes sources into one sequence by weight, without repeating rows.

With weights w_s and n_s rows, the mix takes N * w_s / sum(w) rows of each source, N as large as the scarcest source
allows; every prefix of the result has shares within one row of the weights. Without weights, the sources are
concatenated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def draw(items: Sequence[Item], count: int, seed: int, label: str) -> list[Item]:
    """`count` items, chosen by (seed, label), in their original order; all items if there are no more."""
    if count >= len(items):
        return list(items)
    chosen = random.Random(f"{seed}/{label}").sample(range(len(items)), count)
    return [items[index] for index in sorted(chosen)]


def interleave(sources: Sequence[Sequence[Item]], weights: Sequence[float], seed: int) -> list[tuple[int, Item]]:
    """(source index, item) pairs. Rows within a source are shuffled by the seed, so that the cut-off rows are random.

    Row counts are floors of the shares; no source contributes more rows than it has.
    """
    total = sum(weights)
    shares = [weight / total for weight in weights]
    whole = min(len(items) / share for items, share in zip(sources, shares, strict=True))
    counts = [min(len(items), int(whole * share + 1e-9)) for items, share in zip(sources, shares, strict=True)]
    shuffled = []
    for index, items in enumerate(sources):
        order = list(range(len(items)))
        random.Random(f"{seed}/mix/{index}").shuffle(order)
        shuffled.append([items[position] for position in order])
    # The k-th row of a source is at position (k + 1/2) / count: an even spread, ties by source order.
    places = [((k + 0.5) / count, index, k) for index, count in enumerate(counts) for k in range(count)]
    return [(index, shuffled[index][k]) for _, index, k in sorted(places)]
