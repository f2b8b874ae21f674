"""Which problem is which: the normalised text, the stable id, the fingerprint of a set.

Two rows are the same problem when their texts agree after Unicode compatibility folding, case folding and collapsing
white space. The id hashes that text with the gold and the name of the source, so it survives another order, another
filter, another machine and a restart, and changes when the row does.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

_SPACE = re.compile(r"\s+")
ID_LENGTH = 16
"""Hexadecimal digits of an id: 64 bits, a collision among a million rows has odds of 3e-8."""


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, case folded, white space collapsed to single blanks."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def prompt_id(problem: str, answer: str, source: str) -> str:
    """16 hexadecimal digits of sha256 over the normalised problem, the answer and the source."""
    parts = (normalise(problem), _SPACE.sub(" ", answer).strip(), source)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


def fingerprint(ids: Iterable[str]) -> str:
    """16 hexadecimal digits over the ids in their order: equal sets in equal order, and no others, agree."""
    digest = hashlib.sha256()
    for identity in ids:
        digest.update(identity.encode() + b"\n")
    return digest.hexdigest()[:ID_LENGTH]
