"""Quick match without sympy: equal texts, two plain numbers, or formulas that a numeric comparison decides."""

from __future__ import annotations

import re
from functools import lru_cache

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.collections import Structure, both_collections
from tersely.rewards.verify.compare.numbers import PREFIXED, Quantity, read_glued_unit, read_quantity, same_quantity
from tersely.rewards.verify.compare.numeric import probe, same_equation
from tersely.rewards.verify.compare.rewrites import renamed
from tersely.rewards.verify.compare.rules import refused
from tersely.rewards.verify.compare.shapes import shape_of
from tersely.rewards.verify.extract.boxes import all_boxes, has_box, last_box
from tersely.rewards.verify.extract.find import find_answer
from tersely.rewards.verify.normalize.latex import LIMIT, same_text, tidy, unescaped

_SHORT = 500
_SOLUTION = 200  # a gold with at least this many characters is a solution, not an answer


def prepare(text: str) -> tuple[str, Quantity | None]:
    """(tidied text, its number or None)."""
    tidied = tidied_text(text)
    return tidied, number_of(tidied)


def tidied_text(text: str) -> str:
    """`tidy` with a cache for short texts: a reference answer recurs once per rollout."""
    return _tidy(text) if len(text) <= _SHORT else tidy(text)


def number_of(tidied: str) -> Quantity | None:
    """`read_quantity` with a cache for short texts."""
    return _read_quantity(tidied) if len(tidied) <= _SHORT else read_quantity(tidied)


_tidy, _read_quantity = lru_cache(maxsize=8192)(tidy), lru_cache(maxsize=8192)(read_quantity)


def gold_text(gold: str) -> str:
    """The answer in a gold: the content of its boxes, or the final answer of a whole solution."""
    gold = unescaped(gold)
    if has_box(gold):
        found = last_box(gold) if len(gold) > _SOLUTION else all_boxes(gold)
        if found:
            return found
    if len(gold) > _SOLUTION:
        found = find_answer(gold, "answer")
        if found:
            return found
    return gold.strip(" \n")  # a tab may have been a backslash and a t


def quick_match(gold: str, answer: str, policy: Policy) -> tuple[bool, str] | None:
    """Return (correct, path) if text, numbers or values at points decide; None if math-verify has to decide."""
    if len(answer) > LIMIT:
        return None
    gold_tidy, tidied = tidied_text(gold), tidied_text(answer)
    if policy.units != "required" and same_text(gold_tidy, tidied, policy.case):
        return True, "exact"
    if gold_tidy[:1] == "0" and PREFIXED.fullmatch(gold_tidy):
        return same_digits(gold_tidy, tidied, policy), "exact"
    gold_number, number = number_of(gold_tidy), number_of(tidied)
    number, gold_number = (
        number or read_glued_unit(tidied, gold_number),
        gold_number or read_glued_unit(gold_tidy, number),
    )
    if gold_number is not None and number is not None:
        return same_quantity(gold_number, number, policy), "number"
    digits = _HEXADECIMAL.fullmatch(gold_tidy)
    if digits and policy.bases == "optional" and tidied.lower().removeprefix("0x") == digits.group(1).lower():
        return True, "exact"
    if policy.decimal_comma and _comma_twins(gold_tidy, tidied):
        return True, "decimal_comma"
    tidied = with_constant(gold_tidy, tidied)
    if same_equation(gold_tidy, tidied):
        return True, "probe"
    same = probe(gold_tidy, tidied)
    found = _by_shape(gold_tidy, tidied, policy) if same is None else (same, "probe")
    free = found is not None and not found[0] and ("\\pi" in gold_tidy or "C" in gold_tidy)
    if free and renamed(gold_tidy, tidied, False) is not None:
        return None  # k\pi and n\pi may be the same parameter
    return found


def same_digits(gold: str, answer: str, policy: Policy) -> bool:
    """Whether an answer is the integer of a reference with a prefix, in its base: 0xFF, FF_{16} or FF for 0xFF."""
    base = {"x": "16", "b": "2", "o": "8"}[gold[1].lower()]
    if PREFIXED.fullmatch(answer):
        return answer[1].lower() == gold[1].lower() and int(answer, 0) == int(gold, 0)
    digits, mark, index = answer.replace(" ", "").partition("_")
    base_given = re.sub(r"\\text|[{}]", "", index)
    if (mark and base_given != base) or (not mark and policy.bases == "required"):
        return False
    return re.sub(r"\\text|[{}]", "", digits).lstrip("0").lower() == gold[2:].lstrip("0").lower()


_HEXADECIMAL = re.compile(r"(?:\\text\s*\{\s*)?([\dA-F]*[A-F][\dA-F]*)\s*\}?_\{?1[1-6]\}?")
_CONSTANT = re.compile(r"\+\s*(?:([A-Za-z])|\\text\s*\{\s*(?:const(?:ant)?\.?|C)\s*\})$")


def with_constant(gold: str, answer: str) -> str:
    """The answer with its constant of integration renamed to the C of the gold."""
    left, right = _CONSTANT.search(gold[-_SHORT:]), _CONSTANT.search(answer[-_SHORT:])
    if not left or not right or left.group(1) != "C" or right.group(1) not in (None, "c", "K", "k"):
        return answer
    heads = gold[: -len(left.group())], answer[: -len(right.group())]
    letters = {char for head in heads for char in re.sub(r"\\[A-Za-z]+", "", head)}
    return answer if {"C", right.group(1)} & letters or not heads[1].strip() else f"{heads[1]}+ C"


class _Open(Exception):
    """Raised for an element that only math-verify can decide."""


def _by_shape(gold: str, answer: str, policy: Policy) -> tuple[bool, str] | None:
    """Compare collections and labelled values whose elements can all be decided here."""
    if max(len(gold), len(answer)) > _SHORT:
        return None  # prose, not an answer: it would be split at one label after another
    shapes = _shape(gold), _shape(answer)
    whole = all(found.kind == "atom" and found.text == text for found, text in zip(shapes, (gold, answer), strict=True))
    if whole or refused(gold, answer, policy) is not None:
        return None

    def same(left: str, right: str) -> bool:
        if len(left) + len(right) >= len(gold) + len(answer):
            raise _Open  # no elements, so the comparison would repeat
        decided = quick_match(left, right, policy)
        if decided is None:
            raise _Open
        return decided[0]

    try:
        equal = Structure(policy, same).equal(*shapes)
    except (_Open, RecursionError):
        return None
    if equal:
        return True, "structure"
    final = both_collections(*shapes) and not any(mark in text for mark in ("\\pm", ":") for text in (gold, answer))
    return (False, "structure") if final else None


_shape = lru_cache(maxsize=2048)(shape_of)


def _comma_twins(gold: str, answer: str) -> bool:
    """Whether two numbers have the same digits and differ only in the decimal mark: 1,22 and 1.22."""
    if gold.count(",") == answer.count(","):
        return False
    with_comma, with_point = (gold, answer) if "," in gold else (answer, gold)
    digits = with_comma.replace(",", "", 1).lstrip("-")
    return digits.isdigit() and with_comma.replace(",", ".", 1) == with_point
