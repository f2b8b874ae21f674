r"""Parses a formula into a tree without redundant brackets, neutral elements, or an order of summands and factors.

`(5) + 17 \times 23 + 0` and `23 \cdot 17 + 5` have the same tree. No arithmetic is done: `396` has another one. Trees compare
how formulas are written. `numeric` and math-verify compare their values.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import factorial, fsum, gcd, prod
from typing import Any

Tree = tuple[Any, ...]
_LENGTH = 400
LARGEST_EXACT, _LARGEST_FACTORIAL = 2**53, 18
"""Above this value, a float64 cannot represent every integer."""
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[A-Za-z]+|\\%)|(?P<letter>[A-Za-z])"
    r"|(?P<sign>\*\*|[-+*/^(){}\[\]_:!%=]))"
)
_TIMES, _OVER = ("*", "\\cdot", "\\times", "\\ast"), ("/", "\\div")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_ONE, _ZERO, _HALF, _MINUS = (("num", Fraction(value)) for value in (1, 0, Fraction(1, 2), -1))


class _Unreadable(Exception):
    """Raised for a text that is not a formula of this grammar."""


@lru_cache(maxsize=4096)
def tree_of(text: str) -> Tree | None:
    """The tree of a tidied formula; None if it cannot be parsed."""
    if not text or len(text) > _LENGTH:
        return None
    if text.isascii() and text.isdigit():
        return ("num", Fraction(int(text)))
    try:
        return _Parser(_tokens(text)).read()
    except (_Unreadable, RecursionError, ZeroDivisionError):
        return None


def operators(tree: Tree) -> frozenset[str]:
    """The operators of a tree. A number, a fraction and a number in scientific notation have none."""
    if is_number(tree) or tree[0] == "sym":
        return frozenset()
    kind, *parts = tree
    if kind == "^" and _is_integer(parts[1]) and parts[1][1] < 0:
        kind = "/"
    if kind == "fn":
        kind, *parts = parts
    inner = [operators(part) for part in parts if isinstance(part, tuple)]
    return frozenset({kind} - {"_"}).union(*inner)


def is_number(tree: Tree) -> bool:
    """Whether the tree is a written number: 396, -0.5, 3/4, 2^{-1}, 1.5 x 10^6."""
    if tree[0] == "*":
        return (
            len(tree) <= 4
            and all(map(_is_part, tree[1:]))
            and sum(part[0] == "num" for part in tree[1:]) <= (2 if _MINUS in tree else 1)
        )
    return _is_part(tree)


def _is_part(tree: Tree) -> bool:
    if tree[0] != "^":
        return tree[0] == "num"
    base, exponent = tree[1:]
    return base[0] == "num" and _is_integer(exponent) and (exponent == _MINUS or base[1] == 10)


def lowest_terms(tree: Tree) -> bool:
    """False for a fraction or ratio that can be reduced (6/8, 4:6); True for all others."""
    if tree[0] == ":":
        terms = [part[1] for part in tree[1:] if _is_integer(part)]
        return len(terms) < len(tree) - 1 or gcd(*map(int, terms)) == 1
    if not is_number(tree) or tree[0] != "*":
        return True
    below = [part[1][1] for part in tree[1:] if part[0] == "^" and part[2] == _MINUS]
    above = [part[1] for part in tree[1:] if part[0] == "num" and part != _MINUS]
    if not below or not above or any(value.denominator != 1 for value in (*below, *above)):
        return True
    return gcd(int(above[0]), int(below[0])) == 1


def contains(tree: Tree, part: Tree) -> bool:
    """Whether a tree contains another one. A sum or product is also contained if all its members are among those of a longer
    one."""
    if tree == part:
        return True
    if tree[0] == part[0] and tree[0] in "+*" and set(part[1:]) <= set(tree[1:]):
        return True
    return any(contains(inner, part) for inner in tree[1:] if isinstance(inner, tuple))


def constant(tree: Tree) -> float | None:
    """The value of a formula of numbers, sums, products, powers and factorials; None for other formulas and huge values."""
    kind, *parts = tree
    if kind == "num":
        return float(parts[0]) if abs(parts[0]) < LARGEST_EXACT else None
    if kind not in ("+", "*", "^", "!"):
        return None
    values = [constant(part) for part in parts]
    if any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    try:
        if kind == "!":
            return float(factorial(int(known[0]))) if known[0] in range(_LARGEST_FACTORIAL + 1) else None
        value = fsum(known) if kind == "+" else prod(known) if kind == "*" else known[0] ** known[1]
    except (OverflowError, ZeroDivisionError):
        return None
    return value if isinstance(value, float) and abs(value) < LARGEST_EXACT else None


def is_sum(tree: Tree) -> bool:
    return tree[0] == "+"


def has_bracketed_sum(tree: Tree) -> bool:
    """Whether the tree has a sum inside a product or a power, so it is not expanded."""
    if tree[0] in ("*", "^") and any(part[0] == "+" for part in tree[1:]):
        return True
    return any(has_bracketed_sum(part) for part in tree[1:] if isinstance(part, tuple))


def _is_integer(tree: Tree) -> bool:
    return tree[0] == "num" and tree[1].denominator == 1


def _add(terms: list[Tree]) -> Tree:
    flat = [part for term in terms for part in (term[1:] if term[0] == "+" else (term,)) if part != _ZERO]
    if len(flat) < 2:
        return flat[0] if flat else _ZERO
    return ("+", *sorted(flat, key=repr))


def _multiply(factors: list[Tree]) -> Tree:
    flat = [part for factor in factors for part in (factor[1:] if factor[0] == "*" else (factor,))]
    negative = False
    powers: dict[tuple[Tree, bool], Fraction] = {}
    for part in flat:
        if part[0] == "num" and part[1] < 0:
            negative, part = not negative, ("num", -part[1])
        if part == _ONE:
            continue
        base, exponent = (part[1], part[2][1]) if part[0] == "^" and _is_integer(part[2]) else (part, Fraction(1))
        key = (base, exponent > 0 or base[0] == "num")  # 2/2 is 1; (x-1)/(x-1) stays
        powers[key] = powers.get(key, Fraction(0)) + exponent
    kept = sorted((_power(base, ("num", exponent)) for (base, _), exponent in powers.items() if exponent), key=repr)
    if negative and len(kept) == 1 and kept[0][0] == "num":
        return ("num", -kept[0][1])
    if negative:
        kept.insert(0, _MINUS)
    if len(kept) < 2:
        return kept[0] if kept else _ONE
    return ("*", *kept)


def _power(base: Tree, exponent: Tree) -> Tree:
    if exponent == _ONE or base == _ONE:
        return base
    if base[0] == "^" and base[2][0] == exponent[0] == "num" and _is_integer(exponent):
        return _power(base[1], ("num", base[2][1] * exponent[1]))
    if base[0] == "*" and exponent == _MINUS:
        return _multiply([_power(part, exponent) for part in base[1:]])
    if base[0] == "num" and base[1] < 0 and exponent == _MINUS:
        return _multiply([_MINUS, ("^", ("num", -base[1]), exponent)])
    return ("^", base, exponent)


def _tokens(text: str) -> list[str]:
    """The tokens, followed by an empty token that marks the end."""
    tokens, at = [], 0
    for match in _TOKEN.finditer(text):
        if match.start() != at:
            raise _Unreadable
        tokens.append(match[match.lastindex or 0])
        at = match.end()
    if at != len(text):
        raise _Unreadable
    return [*tokens, ""]


@lru_cache(maxsize=1024)
def _number(token: str) -> Tree:
    return ("num", Fraction(token.replace(",", "")))


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.at = tokens, 0

    def read(self) -> Tree:
        tree = self._relation()
        if self.at != len(self.tokens) - 1:
            raise _Unreadable
        return tree

    def _relation(self) -> Tree:
        """Parses a ratio or a chain of equalities; else a sum."""
        parts, sign = [self._sum()], self._peek()
        while sign in (":", "=") and self._peek() == sign:
            self.at += 1
            parts.append(self._sum())
        return parts[0] if len(parts) == 1 else (sign, *parts)

    def _peek(self) -> str:
        return self.tokens[self.at]

    def _take(self) -> str:
        token = self.tokens[self.at]
        if not token:
            raise _Unreadable
        self.at += 1
        return token

    def _sum(self) -> Tree:
        terms = [self._product()]
        if self._peek() not in ("+", "-"):
            return terms[0]
        while self._peek() in ("+", "-"):
            terms.append(_multiply([_MINUS, self._product()]) if self._take() == "-" else self._product())
        return _add(terms)

    def _product(self) -> Tree:
        factors = [self._signed()]
        while True:
            token = self._peek()
            if token in _TIMES:
                self.at += 1
                factors.append(self._signed())
            elif token in _OVER:
                self.at += 1
                factors.append(_power(self._signed(), _MINUS))
            elif token and token not in ("+", "-", ")", "]", "}", ":", "=", "^", "**", "_"):
                factors.append(self._signed())
            else:
                return factors[0] if len(factors) == 1 and factors[0][0] not in "*^" else _multiply(factors)

    def _signed(self) -> Tree:
        if self._peek() in ("+", "-"):
            return _multiply([_MINUS, self._signed()]) if self._take() == "-" else self._signed()
        base = self._atom()
        while self._peek() in ("^", "**", "_", "!", "%", "\\%"):
            token = self._take()
            if token in ("!", "%", "\\%"):
                base = (token.lstrip("\\"), base)
            elif token == "_":
                base = ("_", base, self._argument())
            else:
                base = _power(base, self._argument())
        return base

    def _argument(self) -> Tree:
        if self._peek() in _CLOSING:
            return self._atom()
        if self._peek() == "-":
            return self._signed()
        return self._atom()

    def _atom(self) -> Tree:
        token = self._take()
        if token in _CLOSING:
            inner = self._relation()
            if self._take() != _CLOSING[token]:
                raise _Unreadable
            return inner
        if token[0].isdigit() or token[0] == ".":
            return _number(token)
        if token == "\\frac":
            above = self._argument()
            return _multiply([above, _power(self._argument(), _MINUS)])
        if token == "\\sqrt":
            degree = self._atom() if self._peek() == "[" else ("num", Fraction(2))
            root = ("num", 1 / degree[1]) if degree[0] == "num" else _power(degree, _MINUS)
            return _power(self._argument(), root)
        if token[0] == "\\" and self._peek() == "{":
            arguments = []
            while self._peek() == "{":
                arguments.append(self._atom())
            return ("fn", token, *arguments)
        if token[0] == "\\" or token.isalpha():
            return ("sym", token)
        raise _Unreadable
