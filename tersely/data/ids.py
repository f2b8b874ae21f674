"""Problem identity: normalised text, stable id, and the fingerprint of a dataset.

Two rows are the same problem if their texts agree after Unicode compatibility folding, case folding and collapsing of
white space. The id is a hash of that text, the reference answer and the source's name: it does not depend on order,
filters, machine or restarts, and it changes when the row changes.
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
    """Text for comparison: NFKC, case folded, white space collapsed to single blanks."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def prompt_id(problem: str, answer: str, source: str) -> str:
    """Id of a problem: 16 hexadecimal digits over the normalised problem, the answer and the source. With 64 bits, a
    collision among a million rows has probability 3e-8."""
    return stable_id(normalise(problem), _SPACE.sub(" ", answer).strip(), source)


def data_fingerprint(data: Any) -> str:
    """Fingerprint of a loaded dataset: its ids, the columns that a component reads, and what its scorers get."""
    parts = [data[name] for name in ("prompt_id", "columns", "scorer") if name in data.column_names]
    return fingerprint("".join(part or "" for part in row) for row in zip(*parts, strict=True))


def fingerprint(ids: Iterable[str]) -> str:
    """16 hexadecimal digits over the ids in order: equal only for equal sets in equal order."""
    digest = hashlib.sha256()
    for identity in ids:
        digest.update(identity.encode() + b"\n")
    return digest.hexdigest()[:16]
