r"""Compares measures of several parts: 1 hour 30 minutes is 90 minutes, 1.5 hours, 1 h 30 min; 5 ft 6 in is 66 inches."""

from __future__ import annotations

import re
from fractions import Fraction

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.numbers import read_quantity
from tersely.rewards.verify.normalize.units import KNOWN

_FAMILIES: dict[str, dict[str, int]] = {
    "time": {"s": 1, "min": 60, "h": 3600, "day": 86400, "week": 604800},
    "length": {"in": 1, "ft": 12, "yd": 36},
    "weight": {"oz": 1, "lb": 16},
    "money": {"cent": 1, "dollar": 100},
}
_IN_FAMILY = {unit: (family, size) for family, units in _FAMILIES.items() for unit, size in units.items()}
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)\.?")
_BETWEEN = re.compile(r"\s*(?:,|and|,\s*and)?\s*")
_PARTS = 4


def compound(gold: str, answer: str, policy: Policy) -> bool:
    """Whether both totals are equal and at least one side is a sum of units. Single units: see `Policy.units`."""
    left, right = _measure(gold), _measure(answer)
    if left is None or right is None or max(left[2], right[2]) < 2:
        return False
    return left[:2] == right[:2]


def _measure(text: str) -> tuple[str, Fraction, int] | None:
    """(family, total in its smallest unit, parts)."""
    opened = _TEXT.sub(r" \1 ", text).strip()
    parts: list[tuple[Fraction, str]] = []
    at = 0
    while at < len(opened) and len(parts) < _PARTS:
        found = _PART.match(opened, at)
        if found is None:
            break
        parts.append((Fraction(found.group(1)), found.group(2)))
        between = _BETWEEN.match(opened, found.end())
        at = between.end() if between else found.end()
    if at < len(opened) or not parts:
        return _single(text)
    units = [_IN_FAMILY.get(KNOWN.get(word) or KNOWN.get(word.lower()) or "") for _, word in parts]
    known = [unit for unit in units if unit is not None]
    if len(known) < len(units) or len({family for family, _ in known}) > 1:
        return None
    sizes = [size for _, size in known]
    if sizes != sorted(set(sizes), reverse=True):
        return None  # from large to small, each unit once
    total = sum((value * size for (value, _), size in zip(parts, sizes, strict=True)), Fraction(0))
    return known[0][0], total, len(parts)


def _single(text: str) -> tuple[str, Fraction, int] | None:
    number = read_quantity(text)
    unit = _IN_FAMILY.get(number.unit.removeprefix("sign:")) if number else None
    if number is None or unit is None or number.percent:
        return None
    return unit[0], number.value * unit[1], 1
