"""Problem identity: normalised text, stable id, and the fingerprint of a set.

Two rows are the same problem when their texts agree after Unicode compatibility folding, case folding and collapsing
white space. The id hashes that text with the gold and the name of the source, so it survives another order, another
filter, another machine and a restart, and changes when the row does.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from tersely.core.seeds import stable_id

_SPACE = re.compile(r"\s+")


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, case folded, white space collapsed to single blanks."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def prompt_id(problem: str, answer: str, source: str) -> str:
    """16 hexadecimal digits over the normalised problem, the answer and the source; 64 bits: a collision among a
    million rows has odds of 3e-8."""
    return stable_id(normalise(problem), _SPACE.sub(" ", answer).strip(), source)


def data_fingerprint(data: Any) -> str:
    """Of a loaded data set: its ids, and the columns that a component reads."""
    columns = data["columns"] if "columns" in data.column_names else [""] * len(data)
    return fingerprint(identity + read for identity, read in zip(data["prompt_id"], columns, strict=True))


def fingerprint(ids: Iterable[str]) -> str:
    """16 hexadecimal digits over the ids in their order: equal sets in equal order, and no others, agree."""
    digest = hashlib.sha256()
    for identity in ids:
        digest.update(identity.encode() + b"\n")
    return digest.hexdigest()[:16]
