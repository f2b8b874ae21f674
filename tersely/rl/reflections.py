"""Counts reflection words of a completion, as ARLCP does (arXiv 2602.12113, released code)."""

from __future__ import annotations

import re

WORDS = (
    *("wait", "alternatively", "hold on", "another thought", "verify", "think again", "but", "however", "alternative"),
    *("check", "double-check", "oh", "hmm"),
)
_ANY = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)


def reflection_count(text: str) -> int:
    """Number of whole-word matches of `WORDS`, without overlaps; at each place the first word that fits counts."""
    return sum(1 for _ in _ANY.finditer(text))
