r"""Cost limits: rejects expressions that sympy cannot evaluate within the time or memory limit.

A static check of the text, linear in its length. It rejects towers of powers, huge exponents, factorials and binomials, sums
with huge bounds, deep nesting, thousands of terms, and very long numbers. A rejected item is undecided, not incorrect,
because its value was not computed.
"""

from __future__ import annotations

import re

LENGTH = 4000
DEPTH = 60
TERMS = 400
DIGITS = 400
EXPONENT = 10_000
FACTORIAL = 2_000
EXPANDED = 60
SYMBOLS = 800

_POWER = re.compile(r"(?:\^|\*\*)\s*")
_FACTORIAL = re.compile(r"(\d+|[)}\]])\s*!(?![=])")
_BINOMIAL = re.compile(r"\\[dt]?binom|\\choose|\\Gamma|\bfactorial|\bgamma\(|\bbinomial")
_BOUNDED = re.compile(r"\\(?:sum|prod)(?![A-Za-z])")
_BIG = re.compile(r"\d{5,}|10\s*\^\s*\{?\s*\d")
_LONG = re.compile(rf"\d{{{DIGITS},}}")
_TERM = re.compile(r"[-+*/,&;=<>]|\\(?:cdot|times|frac|le|ge|cup)(?![A-Za-z])")
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_FIRST_OPERAND = re.compile(r"[-+]?(?:\d+|\\[A-Za-z]+|.)", re.DOTALL)
_OPEN, _CLOSE = frozenset("({["), frozenset(")}]")


def exceeded_limit(text: str) -> str | None:
    """Return the limit that the text exceeds: length, digits, depth, terms, sum, power, factorial or binomial; else None."""
    if len(text) > LENGTH:
        return "length"
    if len(text) > DEPTH:  # a shorter text cannot exceed these limits
        if _LONG.search(text):
            return "digits"
        if _depth(text) > DEPTH:
            return "depth"
        if len(_TERM.findall(text)) > TERMS or len(_SYMBOL.findall(text)) > SYMBOLS:
            return "terms"
    if _BOUNDED.search(text) and (_BIG.search(text) or _BOUNDED.sub("", text, 1) != _BOUNDED.sub("", text)):
        return "sum"
    if _huge_power(text):
        return "power"
    if "!" in text and any(_huge_factorial(text, match) for match in _FACTORIAL.finditer(text)):
        return "factorial"
    if _BIG.search(text) and _BINOMIAL.search(text):
        return "binomial"
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSE:
            depth -= 1
    return deepest


def _huge_power(text: str) -> bool:
    """Whether an exponent is too large, or is itself a power of numbers."""
    for match in _POWER.finditer(text):
        exponent, after = _operand(text, match.end())
        if any(int(digits[:9]) > EXPONENT or len(digits) > 5 for digits in re.findall(r"\d+", exponent)):
            return True
        numeric = not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", exponent))
        if numeric and (_POWER.search(exponent) or text[after : after + 1] in ("^", "!")):
            return True
        if "!" in exponent:
            return True
        if _expands(text, match.start(), exponent):
            return True
        base = text[max(0, match.start() - 12) : match.start()]
        digits = re.search(r"(\d+)\s*[)}]?\s*$", base)
        power = re.fullmatch(r"[-+]?\s*(\d+)", exponent.strip("{}() "))
        if digits and power and len(digits.group(1)) * int(power.group(1)) > 3 * EXPONENT:
            return True
    return False


def _expands(text: str, at: int, exponent: str) -> bool:
    """Whether the text is a high power of a bracketed sum, which `simplify` would expand."""
    if text[:at].rstrip()[-1:] not in (")", "}", "]"):
        return False
    power = re.fullmatch(r"\d+", exponent.strip("{}() "))
    return (
        power is not None
        and int(power.group()) > EXPANDED
        and bool(re.search(r"[A-Za-z]\s*[-+]|[-+]\s*[\d.]*\s*[A-Za-z]", text[:at]))
    )


def _operand(text: str, start: int) -> tuple[str, int]:
    """Return the exponent that begins at `start`, and its end."""
    if text[start : start + 1] not in ("{", "("):
        match = _FIRST_OPERAND.match(text, start)
        return (match.group(), match.end()) if match else ("", start)
    depth = 0
    for index in range(start, len(text)):
        if text[index] in _OPEN:
            depth += 1
        elif text[index] in _CLOSE:
            depth -= 1
            if depth == 0:
                return text[start : index + 1], index + 1
    return text[start:], len(text)


def _huge_factorial(text: str, match: re.Match[str]) -> bool:
    operand = match.group(1)
    if text[match.end() : match.end() + 1] == "!":
        return True
    if operand.isdigit():
        return len(operand) > 4 or int(operand) > FACTORIAL
    return bool(re.search(r"\d{4,}|[!^]", _bracket_before(text, match.start(1))))


def _bracket_before(text: str, end: int) -> str:
    """Return the content of the bracket that closes at `end`."""
    depth = 0
    for index in range(end, -1, -1):
        if text[index] in _CLOSE:
            depth += 1
        elif text[index] in _OPEN:
            depth -= 1
            if depth == 0:
                return text[index:end]
    return text[:end]
