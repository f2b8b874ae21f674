"""Detects completions that end in a loop, by compression of the text and by the number of distinct phrases at its end."""

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


def repetitive(text: str, tokens: Sequence[int] = (), ended: bool = False) -> bool:
    """Either test on the end of a completion; about 0.05 ms. `tokens`: the sampled ones; ended: the last one is EOS."""
    tail = text[-TAIL:].encode("utf-8", "replace")[-TAIL:]
    return (len(tail) >= SHORTEST and len(zlib.compress(tail, 1)) < RATIO * len(tail)) or loops(tokens, ended)


def loops(tokens: Sequence[int], ended: bool = False) -> bool:
    """Do the last tokens, without EOS, hold few distinct phrases?"""
    count = max(0, len(tokens) - ended)
    if count < FEWEST:
        return False
    sizes = {min(max(count // part, FEWEST), MOST) for part in PARTS}
    return any(_few_phrases(tokens[count - size : count]) for size in sizes)


def _few_phrases(end: Sequence[int]) -> bool:
    """At most `DISTINCT` different phrases per token? Text without a loop is recognised before all of them are counted:
    there are as many phrases as first tokens at least, and no more in a part of the text than in the whole.
    """
    few = int(DISTINCT * len(end))
    if len(set(end[: len(end) - PHRASE + 1])) > few:
        return False
    return all(
        len(set(zip(*(end[i : i + many] for i in range(PHRASE)), strict=False))) <= few for many in (2 * few, len(end))
    )
