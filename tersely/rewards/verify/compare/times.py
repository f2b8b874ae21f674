"""Compares times of day and dates: 3:30 PM is 15:30 and 3:30 p.m.; March 14 is 14 March and the 14th of March."""

from __future__ import annotations

import re

from tersely.configs.verifier import Policy

_CLOCK = re.compile(
    r"(?P<h>\d{1,2})(?::(?P<m>\d{2})(?P<s>:\d{2})?|(?=[^:\d]*[AaPp]\.?\s?[Mm]))\s*(?:\\text\s*\{\s*)?(?:(?P<half>[AaPp])\.?\s?[Mm]\.?|h(?:ours|rs)?|o'clock|Uhr)?\s*\}?"
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?P<year>\d{4}))?"
_DATES = [
    re.compile(rf"{_MONTH} {_DAY}{_YEAR}"),
    re.compile(rf"{_DAY}(?: of)? {_MONTH}{_YEAR}"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"),
]


def clock(gold: str, answer: str, policy: Policy) -> bool:
    """Whether two times of day agree; "PM" may be missing, and 14:30 implies it."""
    left, right = _hours(gold), _hours(answer)
    return left is not None and right is not None and bool(left & right)


def is_clock(text: str) -> bool:
    return bool(_CLOCK.fullmatch(text))


def _hours(text: str) -> frozenset[tuple[int, str]] | None:
    """The possible times of the text, in 24 hours."""
    time = _CLOCK.fullmatch(text)
    if time is None or int(time["m"] or 0) > 59:
        return None
    hour, rest = int(time["h"]), (time["m"] or "00") + (time["s"] or ":00")
    if hour > 12 or hour == 0:
        return frozenset({(hour, rest)})
    halves = time["half"].lower() if time["half"] else "ap"
    return frozenset((hour % 12 + (12 if half == "p" else 0), rest) for half in halves)


def date(gold: str, answer: str, policy: Policy) -> bool:
    """Whether both are the same day, in any notation. The answer may omit the year only if the gold has none."""
    left, right = _date(gold), _date(answer)
    if left is None or right is None or left[:2] != right[:2]:
        return False
    return left[2] == right[2] or not left[2]


def _date(text: str) -> tuple[int, int, str] | None:
    said = re.sub(r"\s+", " ", re.sub(r"\^\s*\{?\s*(st|nd|rd|th)\s*\}?", r"\1", _TEXT.sub(r"\1", text))).strip().lower()
    found = next(filter(None, (form.fullmatch(said) for form in _DATES)), None)
    if found is None:
        return None
    month = found["month"]
    number = int(month) if month.isdigit() else _MONTHS.index(month[:3]) + 1
    return number, int(found["day"]), found["year"] or ""
