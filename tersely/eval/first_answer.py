"""Position of the first correct answer in a response, in tokens: recorded, or estimated from the text.

A record may have `first_correct` (tokens). Otherwise the first statement of the reference answer (or of the extracted
answer, in a correct sample) is searched, and its share of the characters is applied to the tokens: an estimate, counted
as such.
"""

from __future__ import annotations

from typing import Any

from tersely.eval.metrics.text import search_statement

REACH = 64  # characters in front of an answer that can state it


def first_statement(text: str, answer: str) -> int | None:
    """Like first_answer_position, but fast on long texts: starts just before the first mention of the answer."""
    answer = answer.strip()
    if not answer:
        return None
    start = text.find(answer) if not answer.isalpha() and answer.upper() == answer.lower() else 0
    if start < 0:
        return None
    return search_statement(text, answer, max(0, start - REACH))


def first_correct_position(record: dict[str, Any], correct: float | None) -> int | None:
    """Character index just past the first correct answer of a record; None if it is never stated."""
    text = record.get("text") or ""
    known = (record.get("gold"), record.get("answer") if correct == 1 else None)
    found = [first_statement(text, answer) for answer in {str(answer) for answer in known if answer is not None}]
    return min((end for end in found if end is not None), default=None)


def first_correct_tokens(record: dict[str, Any], correct: float | None) -> tuple[float, bool]:
    """(tokens up to the first correct answer or nan, True if estimated)."""
    if "first_correct" in record:
        known = record["first_correct"]
        return (float("nan") if known is None else float(known)), False
    text = record.get("text") or ""
    end = first_correct_position(record, correct)
    if end is None or not text:
        return float("nan"), False
    return max(1.0, round(end / len(text) * float(record["tokens"]))), True
