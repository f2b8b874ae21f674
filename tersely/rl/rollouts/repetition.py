"""Detects completions that end in a loop, by text compression and by the number of distinct phrases at the end."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

TAIL, SHORTEST, RATIO = 4096, 200, 0.2
"""Bytes to check; shorter texts than `SHORTEST` are never a loop; a text compressed below `RATIO` is a loop.

A phrase that occurs four times or more gives less than 0.2 for any length up to a quarter of the tail; prose is above
0.4, and the embedded model's sums repeated three times are above 0.45.
"""

PHRASE, FEWEST, MOST, DISTINCT = 4, 16, 1024, 0.25
"""Tokens per phrase; shortest and longest checked end, tokens; maximum distinct phrases per token.

An end that repeats four times or more gives 0.25 or less, for any cap and tokenizer.
"""
PARTS = (2, 4)
"""Parts to check: the last half and the last quarter of the completion, because a loop may start late."""


def repetitive(text: str, tokens: Sequence[int] = (), ended: bool = False) -> bool:
    """True if either test finds a loop; takes about 0.05 ms. `tokens`: the sampled tokens; ended: the last one is EOS."""
    tail = text[-TAIL:].encode("utf-8", "replace")[-TAIL:]
    return (len(tail) >= SHORTEST and len(zlib.compress(tail, 1)) < RATIO * len(tail)) or loops(tokens, ended)


def loops(tokens: Sequence[int], ended: bool = False) -> bool:
    """True if the last tokens, without EOS, have few distinct phrases."""
    count = max(0, len(tokens) - ended)
    if count < FEWEST:
        return False
    sizes = {min(max(count // part, FEWEST), MOST) for part in PARTS}
    return any(_few_phrases(tokens[count - size : count]) for size in sizes)


def _few_phrases(end: Sequence[int]) -> bool:
    """True for at most `DISTINCT` distinct phrases per token. Text without a loop is detected before all phrases are counted:
    there are at least as many phrases as first tokens, and a part of the text has no more than the whole.
    """
    few = int(DISTINCT * len(end))
    if len(set(end[: len(end) - PHRASE + 1])) > few:
        return False
    return all(
        len(set(zip(*(end[i : i + many] for i in range(PHRASE)), strict=False))) <= few for many in (2 * few, len(end))
    )
