r"""Parses plain numbers exactly: integers, decimals, fractions, mixed numbers, powers of ten, percent, currency, units.

A quantity is a normalised answer that is a number with at most a unit or sign. Two quantities are compared here, as
fractions, without sympy. Other files compare all other answers.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from tersely.configs.verifier import Policy
from tersely.rewards.verify.extract.number_words import SMALL, part_of, scale_of, value_of
from tersely.rewards.verify.normalize.units import KNOWN, currency, split_unit, units_agree

_INTEGER = r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,2}(?:[ ]\d{3})+|\d+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?:(?:(?:US|USD|EUR|GBP|Rs\.?|INR)\s*)?(?P<money>\\?[$€£¥₹])\s*|(?:USD?|EUR|GBP|Rs\.?|INR)\s*)?(?P<sign2>-?)
    (?:
      (?:(?P<whole>\d+)[ ]?)?\\frac\s*\{{\s*(?P<a>-?\d+)\s*\}}\s*\{{\s*(?P<b>-?\d+)\s*\}}
    | (?P<mixed>\d+)[ ](?:and[ ])?(?P<c>\d+)\s*/\s*(?P<d>\d+)
    | (?P<e>{_DECIMAL})\s*(?:/|out[ ]of(?=[ ])|\\text\s*\{{\s*out[ ]of\s*\}})\s*(?P<f>{_DECIMAL})
    | (?P<number>{_DECIMAL})
      (?:\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*(?P<p>[-+]?\d{{1,4}})\s*\}}|\((?P<p2>[-+]?\d{{1,4}})\)|(?P<p3>[-+]?\d{{1,3}}))
        |[eE](?P<p4>[-+]?\d{{1,3}}))?
    )
    (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_PERCENT = re.compile(r"\s*(?:\\?%|(?:\\text\s*\{)?\s*(?:percent|pct|percentage)(?![A-Za-z])\s*\}?)")
_BASE = re.compile(r"\s*_\s*(?:\{\s*(?:\\text\s*\{)?\s*(\w{1,12})\s*\}?\s*\}|(\d))\s*$")
PREFIXED = re.compile(r"0(?:[xX][\dA-Fa-f]{1,64}|[bB][01]{1,64}|[oO][0-7]{1,64})")
_ALL_TEXT = re.compile(r"^\\text\s*\{([^{}]*)\}$")
_GLUED = re.compile(r"(-?\d[\d.,]*)([A-Za-z])")
_ONE = Fraction(1)
_DIGITS = 2000  # maximum digits of an integer; longer ones are compared as text
_BASES = {**SMALL, "decimal": 10, "binary": 2, "octal": 8}
_REPEATING = re.compile(
    r"(?P<sign>-?)(?P<whole>\d*)\.(?P<fixed>\d*)(?:\((?P<bracket>\d+)\)|\\(?:overline|bar|dot)\s*\{?(?P<period>\d+)\}?|(?:(?P<digit>\d)(?P=digit){2,}|(?P<cycle>\d{2,8}?)(?P=cycle)+)\\[lc]?dots)"
)


class Quantity(NamedTuple):
    value: Fraction
    decimals: int | None
    """Digits after the point if it was written as a decimal."""
    significant: int
    """Significant digits written, for decimals."""
    percent: bool
    unit: str
    """The canonical unit; "" if there is none or it is unknown."""
    base: str
    """The number base written as an index; "" for none."""


def read_quantity(tidied: str) -> Quantity | None:
    """Parse a tidied answer as a number; None if it is not one."""
    if not tidied or len(tidied) > _DIGITS + 200:
        return None
    if tidied.isascii() and tidied.removeprefix("-").isdigit():
        return Quantity(Fraction(int(tidied)), None, 0, False, "", "")
    if tidied[:1] == "0" and PREFIXED.fullmatch(tidied):
        return Quantity(Fraction(int(tidied, 0)), None, 0, False, "", "")
    if "." in tidied and (repeating := _REPEATING.fullmatch(tidied)):
        return Quantity(_repeating(repeating), None, 0, False, "", "")
    base = ""
    if "_" in tidied and (based := _BASE.search(tidied)):
        base = based.group(1) or based.group(2)
        tidied = tidied[: based.start()]
        if tidied.startswith("(") and tidied.endswith(")"):
            tidied = tidied[1:-1]
        if not re.fullmatch(r"-?\d[\d ]*", tidied):
            return None
    match = _NUMBER.fullmatch(tidied)
    if match is None:
        if tidied.startswith("\\text"):
            tidied = _ALL_TEXT.sub(r"\1", tidied)
        return _in_words(tidied.strip().lower())
    value, decimals, significant = _value(match)
    if value is None:
        return None
    percent, unit = None, ""
    if match.group("rest"):
        scale, rest = scale_of(match.group("rest"))
        part = part_of(rest)
        if scale > 1 or part > 1:
            value, decimals, significant, rest = value * scale / part, None, 0, "" if part > 1 else rest
        percent = _PERCENT.match(rest)
        found = split_unit(rest[percent.end() :] if percent else rest)
        if found is None:
            return None
        unit = found
    unit = unit or (currency(match.group("money")) if match.group("money") else "")
    if (match.group("sign") == "-") != (match.group("sign2") == "-"):
        value = -value
    return Quantity(value, decimals, significant, bool(percent), unit, base)


def read_glued_unit(text: str, other: Quantity | None) -> Quantity | None:
    """Read "100m" as a quantity if the other side is in metres; otherwise it is a product."""
    glued = _GLUED.fullmatch(text) if other is not None else None
    if other is None or glued is None or KNOWN.get(glued.group(2)) != other.unit:
        return None
    return read_quantity(f"{glued.group(1)} {glued.group(2)}")


def _in_words(text: str) -> Quantity | None:
    """Parse a number in words: "twelve", "two hours", "one half"."""
    found = value_of(text)
    if found is None:
        return None
    number, counted = found
    unit = split_unit(f" {counted}")
    return None if unit is None else Quantity(number, None, 0, False, unit, "")


def _repeating(match: re.Match[str]) -> Fraction:
    r"""Parse a repeating decimal: 0.1\overline{6} is 1/6."""
    fixed = match.group("fixed")
    period = next(filter(None, map(match.group, ("bracket", "period", "digit", "cycle"))))
    scale = 10 ** len(fixed)
    value = Fraction(int(match.group("whole") + fixed or 0), scale)
    value += Fraction(int(period), (10 ** len(period) - 1) * scale)
    return -value if match.group("sign") else value


def _value(match: re.Match[str]) -> tuple[Fraction | None, int | None, int]:
    get = match.group
    if get("a") is not None:
        if int(get("b")) == 0:
            return None, None, 0
        fraction = Fraction(int(get("a")), int(get("b")))
        return fraction + int(get("whole")) if get("whole") else fraction, None, 0
    if get("c") is not None:
        return (
            (Fraction(int(get("mixed"))) + Fraction(int(get("c")), int(get("d"))) if int(get("d")) else None),
            None,
            0,
        )
    if get("e") is not None:
        below = _decimal(get("f"))
        return (_decimal(get("e")) / below if below else None), None, 0
    text = get("number").replace(",", "").replace(" ", "")
    value = _decimal(text)
    power = get("p") or get("p2") or get("p3") or get("p4")
    decimals = len(text.partition(".")[2]) if "." in text else None
    significant = len(text.replace(".", "").lstrip("0")) if "." in text else 0
    if power is not None:
        exponent = int(power)
        if abs(exponent) > 400:
            return None, None, 0
        value *= Fraction(10) ** exponent
        decimals = None if decimals is None else max(0, decimals - exponent)
    return value, decimals, significant


def _decimal(text: str) -> Fraction:
    return Fraction(int(text)) if text.isdecimal() else Fraction(text.replace(",", "").replace(" ", ""))


def same_quantity(gold: Quantity, answer: Quantity, policy: Policy) -> bool:
    """Whether two numbers are the same answer under the policy."""
    if not _bases_agree(gold, answer, policy) or not units_agree(gold.unit, answer.unit, policy.units):
        return False
    for scale in _scales(gold, answer, policy):
        value = answer.value if scale is _ONE else answer.value * scale
        if value == gold.value or _rounds(gold, answer, value, scale, policy):
            return True
    return False


def _scales(gold: Quantity, answer: Quantity, policy: Policy) -> tuple[Fraction, ...]:
    """The factors to try for the answer. It may omit the gold's percent sign, or add one to a whole number above 1, which is a
    number of percent. In all other cases 50% is only 1/2, because an answer must not have two chances.
    """
    if gold.percent == answer.percent:
        return (_ONE,)
    share = Fraction(1, 100) if answer.percent else Fraction(100)
    counted = gold.percent or (gold.value.denominator == 1 and abs(gold.value) > 1)
    either = (_ONE, share) if counted else (share,)
    return {"either": either, "ratio": (share,), "sign": ()}[policy.percent]


def _bases_agree(gold: Quantity, answer: Quantity, policy: Policy) -> bool:
    if gold.base == answer.base or policy.bases == "drop":
        return True
    left, right = (str(_BASES.get(side.base, side.base)) for side in (gold, answer))
    if left == right or (policy.bases == "optional" and not right):
        return True
    return not left and right == "10"


def _rounds(gold: Quantity, answer: Quantity, value: Fraction, scale: Fraction, policy: Policy) -> bool:
    """Whether one side is the other one rounded correctly at its last digit, with enough digits."""
    if not policy.rounded or not (gold.decimals or answer.decimals):
        return False
    if (
        gold.decimals
        and gold.significant >= policy.rounded - 1
        and (answer.decimals is None or answer.decimals > gold.decimals)
    ):
        step, cut = Fraction(1, 10**gold.decimals), abs(value) - abs(gold.value)
        near = abs(gold.value - value) * 2 <= step or (
            0 <= cut < step and value * gold.value > 0
        )  # rounded, or cut off
        return near and not _is_short(value, answer)
    if answer.decimals and answer.significant >= policy.rounded and gold.decimals is None:
        exact = gold.value / scale
        return abs(answer.value - exact) <= Fraction(1, 2 * 10**answer.decimals) and not _is_short(exact, gold)
    return False


def _is_short(value: Fraction, written: Quantity) -> bool:
    """Whether the exact side is an integer: 18 is never 18.04, for any number of digits."""
    return value.denominator == 1
