"""Does a completion end in a loop? By how far its text can be compressed, and by how few phrases its last tokens hold."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

TAIL, SHORTEST, RATIO = 4096, 200, 0.2
"""Bytes that are looked at; below `SHORTEST` nothing can be told; compressed to less than `RATIO` of them it is a loop.

A phrase that stands four times or more comes below 0.2 whatever its length up to a quarter of the tail; prose is
above 0.4, the embedded model's chains of sums that are done three times over above 0.45.
"""

PHRASE, FEWEST, MOST, DISTINCT = 4, 16, 1024, 0.25
"""Tokens of a phrase; the shortest and longest end that is looked at, tokens; distinct phrases for each of its tokens.

An end that repeats itself four times or more comes to 0.25 or below, whatever the cap and the tokenizer.
"""
PARTS = (2, 4)
"""The last half and the last quarter of the completion are looked at: a loop may begin late."""


def repetitive(text: str, tokens: Sequence[int] = ()) -> bool:
    """Either test on the end of a completion; about 0.1 ms. `tokens`: the sampled ones, without EOS or padding."""
    tail = text[-TAIL:].encode("utf-8", "replace")[-TAIL:]
    return (len(tail) >= SHORTEST and len(zlib.compress(tail, 1)) < RATIO * len(tail)) or loops(tokens)


def loops(tokens: Sequence[int]) -> bool:
    """Do the last tokens hold few distinct phrases?"""
    for part in PARTS:
        end = tokens[-min(max(len(tokens) // part, FEWEST), MOST) :]
        if len(end) < FEWEST:
            return False
        phrases = set(zip(*(end[i:] for i in range(PHRASE)), strict=False))
        if len(phrases) <= DISTINCT * len(end):
            return True
    return False
