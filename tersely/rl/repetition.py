"""Does a completion end in a loop? By how far its end can be compressed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

TAIL, SHORTEST, RATIO = 4096, 200, 0.2
"""Bytes that are looked at; below `SHORTEST` nothing can be told; compressed to less than `RATIO` of them it is a loop.

A phrase that stands four times or more comes below 0.2 whatever its length up to a quarter of the tail; prose is
above 0.4, the embedded model's chains of sums that are done three times over above 0.45.
"""


def repetitive(text: str) -> bool:
    """zlib, level 1, on the last bytes: some 40 microseconds, whatever the text."""
    tail = text[-TAIL:].encode("utf-8", "replace")[-TAIL:]
    return len(tail) >= SHORTEST and len(zlib.compress(tail, 1)) < RATIO * len(tail)


def repetitive_share(texts: Sequence[str]) -> float:
    """Share of `texts` that end in a loop; 0 where there is none."""
    return sum(map(repetitive, texts)) / max(len(texts), 1)
