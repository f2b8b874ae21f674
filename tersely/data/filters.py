"""Selects rows of a source, by conditions on columns and named reasons to drop a row.

    filter: {level: {at_least: 2, at_most: 4}, subject: [Algebra, Number Theory], truncated: false}
    drop: [proof, multiple_choice, figure]

A condition is a value (equal), a list (one of) or a mapping of tests. A null value fails every condition except
equality with null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tersely.core.errors import ConfigError, nearest, require_range, typed


def _number(value: Any, bound: Any, name: str) -> float:
    try:
        return float(value)  # CSV columns are text
    except (TypeError, ValueError) as error:
        raise ValueError(f"got {value!r}; expected a number for the filter {name}: {bound}") from error


TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "at_least": lambda value, bound: _number(value, bound, "at_least") >= bound,
    "at_most": lambda value, bound: _number(value, bound, "at_most") <= bound,
    "above": lambda value, bound: _number(value, bound, "above") > bound,
    "below": lambda value, bound: _number(value, bound, "below") < bound,
    "not": lambda value, other: value not in (other if isinstance(other, list) else [other]),
    "contains": lambda value, text: text in value,
    "lacks": lambda value, text: text not in value,
    "max_characters": lambda value, bound: len(str(value)) <= bound,
    "any": lambda value, other: other in value,
}


def matches(value: Any, condition: Any) -> bool:
    """True if a value meets a condition."""
    if isinstance(condition, Mapping):
        try:
            return value is not None and all(TESTS[name](value, bound) for name, bound in condition.items())
        except TypeError as error:
            raise ValueError(f"{value!r} cannot be compared by {dict(condition)!r} ({error})") from error
    if isinstance(condition, list):
        return value in condition
    return value == condition


def check_conditions(conditions: Mapping[str, Any], where: str) -> None:
    """Raise `ConfigError` for an unknown test, or a bound of the wrong type."""
    for column, condition in conditions.items():
        for name, bound in condition.items() if isinstance(condition, Mapping) else ():
            there = f"{where}: filter on {column}"
            if name not in TESTS:
                raise ConfigError(f"{there}: unknown test {name!r}; {nearest(str(name), TESTS)}")
            if name in ("at_least", "at_most", "above", "below", "max_characters"):
                require_range(f"{there}: {name}", typed(bound, float, f"{there}: {name}"))
            elif name in ("contains", "lacks") and not isinstance(bound, str):
                raise ConfigError(f"{there}: {name}: got {bound!r}; expected text")


_PROOF = re.compile(r"\b(prove|show) that\b|\bprove\b[^.?]*[.?]?\s*\Z", re.IGNORECASE)
_CHOICE = re.compile(
    r"(?:^|\s)\(?A\)?[.):\s].{0,300}?(?:^|\s|\})\(?B\)?[.):\s].{0,300}?(?:^|\s|\})\(?C\)?[.):\s]", re.DOTALL
)
_CHOICE_TEX = re.compile(r"\\text(?:bf|rm)?\s*\{\s*\(?A\)?|\\textbf\{\(A\)")
_FIGURE = re.compile(
    r"\b(see|in|from|refer to|shown in|using) the (following |above |attached )?(figure|diagram|picture|graph)\b"
    r"|\[img|!\[|https?://\S+\.(?:png|jpe?g|gif|svg)|\bas shown (in|below|above)\b",
    re.IGNORECASE,
)
_PARTS = re.compile(r"(?:^|\s)\(?(?:a|i|1)\)\s.+?(?:^|\s)\(?(?:b|ii|2)\)\s", re.DOTALL)


def _yes_no(problem: str, answer: str, row: Mapping[str, Any]) -> bool:
    return re.sub(r"\\text|[{}.\s]", "", answer).casefold() in ("yes", "no", "true", "false")


def _choice(problem: str, answer: str, row: Mapping[str, Any]) -> bool:
    letter = re.fullmatch(r"(?:\\(?:text|mathrm|textbf))?\{?\(?([A-E])\)?\}?", answer.strip())
    options = bool(_CHOICE_TEX.search(problem) or _CHOICE.search(problem))
    return options and letter is not None


def _no_verified_generation(problem: str, answer: str, row: Mapping[str, Any]) -> bool:
    """OpenR1: no generation is both complete and correct. The flags are two parallel lists."""
    right, complete = row.get("correctness_math_verify"), row.get("is_reasoning_complete")
    if right is None or complete is None:
        raise ValueError("needs the columns correctness_math_verify and is_reasoning_complete, one flag per generation")
    if len(right) != len(complete):
        raise ValueError(
            f"got {len(right)} correctness flags and {len(complete)} completeness flags; lengths must match"
        )
    return not any(a and b for a, b in zip(right, complete, strict=True))


DROPS: dict[str, Callable[[str, str, Mapping[str, Any]], bool]] = {
    "proof": lambda problem, answer, row: bool(_PROOF.search(problem)),
    "multiple_choice": _choice,
    "multi_part": lambda problem, answer, row: bool(_PARTS.search(problem)),
    "yes_no": _yes_no,
    "figure": lambda problem, answer, row: bool(_FIGURE.search(problem)),
    "long_answer": lambda problem, answer, row: len(answer) > 30,
    "no_verified_generation": _no_verified_generation,
}
"""Name -> function of (problem, answer, raw row) that is True for a dropped row. `long_answer`: above 30 characters."""


def check_drops(names: list[str], where: str) -> None:
    """Raise `ConfigError` for an unknown reason."""
    for name in names:
        if name not in DROPS:
            raise ConfigError(f"{where}: drop: unknown reason {name!r}; {nearest(str(name), DROPS)}")
