"""Parses numbers in words: "twenty-one", "one half", "two hundred five", "1.5 million", and the noun that follows."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen",
        )
    )
}
_TENTHS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * (i + 2) for i, word in enumerate(_TENTHS)}
SMALL = {**_UNITS, **_TENS}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_IRREGULAR = {"three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
_NAMED = {word: size for word, size in {**SMALL, **SCALES}.items() if size > 2 and word != "dozen"}
_PART = {
    "half": 2,
    "quarter": 4,
    **{_IRREGULAR.get(word, re.sub("y$", "ie", word) + "th"): size for word, size in _NAMED.items()},
}
_PARTS = {**_PART, **{f"{word}s": size for word, size in _PART.items()}, "halves": 2}
_COUNTED_PARTS = frozenset(("quarter", "quarters", "fourth"))  # coins, quarters of a year; the fourth of July
_SCALE = re.compile(rf"\s*(?:\\text\s*\{{\s*)?({'|'.join(SCALES)})s?(?![A-Za-z])\s*(?P<close>\}})?")
_NO_UNIT = frozenset(("or", "and", "of", "to", "more", "less", "than", "times", "percent", "half", "halves", "point"))
_SIGNS = ("minus", "negative")
_FIRST = frozenset((*_SIGNS, *SMALL, "half", "a", "an"))
_WORD = re.compile(r"[a-z]+|[^a-z\s-]")
_LONGEST = 80


def value_of(text: str) -> tuple[Fraction, str] | None:
    """(number, the word after it or "") of a text that is a number in words; else None."""
    first = _WORD.search(text)
    if len(text) > _LONGEST or first is None or first.group() not in _FIRST:
        return None
    words = _WORD.findall(text)
    if words[:1] and words[0] in _SIGNS:
        found = _value(words[1:])
        return (-found[0], found[1]) if found else None
    return _value(words)


def _value(words: list[str]) -> tuple[Fraction, str] | None:
    if words[:1] == ["half"]:
        words = ["one", "half", *words[2 if words[1:2] == ["a"] else 1 :]]
    if len(words) > 1 and words[0] in ("a", "an") and words[1] in {**_PARTS, **SCALES}:
        words = ["one", *words[1:]]
    if not words or words[0] not in SMALL:
        return None
    total, current, at, last = 0, 0, 0, ""
    while at < len(words):
        word = words[at]
        if word in SMALL:
            if last in _UNITS or (last in _TENS and not 1 <= SMALL[word] <= 9):
                return None  # "two three"; "twenty thirty"
            current += SMALL[word]
        elif word in SCALES:
            current = max(current, 1) * SCALES[word]
            if SCALES[word] > 100:
                total, current = total + current, 0
        elif not (word == "and" and last in SCALES and at + 1 < len(words) and words[at + 1] in SMALL):
            break
        last, at = word, at + 1
    number, rest = Fraction(total + current), words[at:]
    if rest and rest[0] in _PARTS and number and not total:
        number, rest = number / _PARTS[rest[0]], rest[1:]
        if rest and rest[0] in SCALES:
            number, rest = number * SCALES[rest[0]], rest[1:]  # half dozen
    elif rest[:1] == ["and"] and (part := _value(rest[1:])) and 0 < part[0] < 1:
        return number + part[0], part[1]  # one and a half
    if len(rest) > 1 or (rest and (not rest[0].isalpha() or rest[0] in _NO_UNIT)):
        return None
    return number, rest[0] if rest else ""


def scale_of(rest: str) -> tuple[int, str]:
    """(scale, rest) of the text after digits: (10^6, " dollars") of " million dollars"; (1, rest) without such a word."""
    found = _SCALE.match(rest)
    if found is None:
        return 1, rest
    after = rest[found.end() :]
    opened = "\\text" in found.group() and not found.group("close")
    return SCALES[found.group(1)], f" \\text{{{after}" if opened else after


def part_of(rest: str) -> int:
    """The divisor that a word after digits names: 3 of " thirds"; 1 without such a word."""
    word = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", rest).strip()
    return 1 if word in _COUNTED_PARTS else _PARTS.get(word, 1)
