"""Counts of one completion's text: segments, reflecting segments, reflection markers, and whether it loops.

Model text is hostile input: every count is linear in its length, and loops are searched in the last `TAIL` characters.
"""

from __future__ import annotations

from typing import NamedTuple

from tersely.eval.metrics.segments import kind_of, segments
from tersely.eval.metrics.text import has_loop, marker_count

TAIL, WORDS = 30_000, 3000
"""Characters and words at the end of a text in which loops are searched."""
MARKERS = (
    "wait",
    "hmm",
    "alternatively",
    "however",
    "double-check",
    "let me check",
    "let me verify",
    "actually",
    "again",
)


class TextFacts(NamedTuple):
    segments: int
    """Segments of the thinking, see `tersely.eval.metrics.segments`."""
    reflecting: int
    """Segments that reflect or change the approach."""
    markers: int
    """Whole-word occurrences of `MARKERS`, any case."""
    loop: bool
    """Some ten words occur ten times or more near the end."""


def text_facts(text: str) -> TextFacts:
    """Count what a text consists of."""
    pieces = segments(text)
    reflecting = sum(kind_of(piece) != "execution" for _, piece in pieces)
    return TextFacts(
        len(pieces), reflecting, marker_count(text, MARKERS), has_loop(" ".join(text[-TAIL:].split()[-WORDS:]))
    )
