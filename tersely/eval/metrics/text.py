"""Metrics of one response text: position of the first answer, loops, marker words.

The statement rule is our own: an answer counts as stated after `\\boxed{`, `=`, `is` or `answer`, not when a number only
occurs in the text; 12 is not found in `= 123`, `= 12.5`, `= 12,000` or `= -12`.
Pitfall: three adjacent `\\s*` make a plain regex cubic in a run of spaces, and model text is hostile input. The possessive
`\\s*+` consumes each run; the matches are the same, because an answer never begins with a space.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from tersely.eval.metrics.arrays import NAN

LONGEST = 10_000
"""Characters of an answer that is searched: a longer one is a text, and its pattern takes seconds to compile."""
_KEY = r"(?:\\boxed\{|=|\bis\b|\banswer\b)"
_STATED = _KEY + r"\s*+:?\s*+(?:\$|\*\*|\\\()?\s*+"


def first_answer_position(text: str, answer: str) -> int | None:
    """Character index just past the first statement of `answer` in `text`; None if it is not stated, empty or very long."""
    return search_statement(text, answer, 0)


def search_statement(text: str, answer: str, start: int) -> int | None:
    """The same, for statements that begin at character `start` or later."""
    answer = answer.strip()
    if not answer or len(answer) > LONGEST:
        return None
    found = _statement(answer).search(text, start)
    return found.end() if found else None


@lru_cache(maxsize=8192)
def _statement(answer: str) -> re.Pattern[str]:
    return re.compile(_STATED + re.escape(answer) + r"(?![A-Za-z0-9])(?![.,]\d)", re.IGNORECASE)


def tokens_until(end: int, token_ends: Sequence[int]) -> int:
    """Tokens needed to reach character `end`: the smallest t with token_ends[t-1] >= end, all of them if there is none.

    token_ends[i] is the character end of token i, non-decreasing (ValueError otherwise).
    """
    ends = np.asarray(token_ends).reshape(-1)
    if np.any(ends[1:] < ends[:-1]):
        raise ValueError("token_ends: got decreasing values; expected the running character end of each token")
    return min(int(np.searchsorted(ends, end, side="left")) + 1, len(ends))


def has_loop(text: str, n: int = 10, times: int = 10) -> bool:
    """True if some n-gram of whitespace-separated words starts at `times` or more positions."""
    if n < 1 or times < 1:
        raise ValueError(f"n: got {n}, times: got {times}; expected 1 or more for both")
    words = text.split()
    ends = Counter(zip(words, words[n - 1 :], strict=False))  # first and last words: cheaper, and most texts end here
    if not ends or max(ends.values()) < times:
        return False
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    return max(grams.values()) >= times


def marker_count(text: str, markers: Iterable[str]) -> int:
    """Marker words in a text: whole words, any case, non-overlapping, longest first."""
    pattern = _any_of(tuple(markers))
    return len(pattern.findall(text.lower())) if pattern else 0


@lru_cache(maxsize=64)
def _any_of(markers: tuple[str, ...]) -> re.Pattern[str] | None:
    words = sorted({marker.lower() for marker in markers if marker}, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)") if words else None


def marker_rate(text: str, token_count: int, markers: Iterable[str]) -> float:
    """`marker_count` per 1000 tokens. token_count 0 -> nan."""
    if token_count < 0:
        raise ValueError(f"token_count: got {token_count}; expected 0 or more")
    if token_count == 0:
        return NAN
    return 1000.0 * marker_count(text, [markers] if isinstance(markers, str) else markers) / token_count
