r"""Compares formulas numerically, without sympy, by their values at two points, to fifty digits.

Parsing one formula takes math-verify ten to fifty milliseconds; its values take a tenth of one. Sums, products, powers,
fractions, roots, letters and \pi are evaluated at pseudo-random points. Values equal to forty digits at both points are an
identity, and values far apart at one point are a difference. To prove an identity, functions are replaced by pseudo-random
values of their arguments. To prove a difference, they are computed. math-verify decides ambiguous formulas (2^10, 1/2x,
3\frac{1}{2}) and all that this file cannot parse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, localcontext
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from tersely.rewards.verify.normalize.units import KNOWN

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628621")
_E = Decimal("2.71828182845904523536028747135266249775724709369995957496696762772407663035355")
_DIGITS, _MOST_DIGITS = 50, 1000  # digits that are computed
_CONSTANT_DIGITS = 75  # of pi and e
_SAME = 10  # digits that may be lost to rounding
_TOLERANCE = Decimal(1).scaleb(_SAME - _DIGITS)
_LARGE = 30  # with this many digits in all numbers and powers together, more digits are computed
_FAR, _FAR_DECIMALS = Decimal("1e-8"), Decimal("1e-2")  # decimals may be rounded
_TINY = Decimal("1e-9")
_LENGTH, _POWER = 300, 200
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[A-Za-z]+)|(?P<letter>[A-Za-z](?:_(?:\w|\{\w{1,4}\}))?)"
    r"|(?P<sign>\*\*|[-+*/^(){}\[\]|_]))"
)
_COMPUTED: dict[str, Callable[[float], float]] = {
    "\\sin": math.sin,
    "\\cos": math.cos,
    "\\tan": math.tan,
    "\\cot": lambda x: 1 / math.tan(x),
    "\\sec": lambda x: 1 / math.cos(x),
    "\\csc": lambda x: 1 / math.sin(x),
    "\\ln": math.log,
    "\\log": math.log,
    "\\exp": math.exp,
    "\\arcsin": math.asin,
    "\\arccos": math.acos,
    "\\arctan": math.atan,
    "\\sinh": math.sinh,
    "\\cosh": math.cosh,
    "\\tanh": math.tanh,
}
_FUNCTIONS = frozenset(_COMPUTED)
_ENCLOSED: dict[str, tuple[str, Callable[..., Any]]] = {
    "|": ("|", abs),
    "\\lfloor": ("\\rfloor", math.floor),
    "\\lceil": ("\\rceil", math.ceil),
}
_NAMED = frozenset("fghFGHPQ")  # a function if a bracket follows, unless the letter also occurs alone
_BINOMIAL = 20
_PLUS_MINUS = frozenset("+-")
_ENDS_PRODUCT = frozenset(("", "+", "-", ")", "}", "]", "^", "**", "\\rfloor", "\\rceil"))
_GREEK = frozenset(
    re.findall(r"\\\w+", r"\alpha\beta\gamma\delta\epsilon\theta\lambda\mu\nu\rho\sigma\tau\phi\varphi\omega\psi")
)
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])|\\[A-Za-z]+")
_ARITHMETIC = re.compile(r"(?:[-\d+*/^(){} ]|\\(?:frac|cdot|times|div|binom)(?![A-Za-z]))+")
_UNIT_TAIL = re.compile(r"[\d\s})]([A-Za-z]{2,})(?:\s*\^\s*\{?[23]\}?)?$")


class _Unknown(Exception):
    """Raised for a formula that this file cannot parse."""


def probe(gold: str, answer: str) -> bool | None:
    """Compare two tidied answers. True: equal. False: different. None: math-verify has to decide."""
    if len(gold) > _LENGTH or len(answer) > _LENGTH or gold.isalpha() or answer.isalpha():
        return None  # too long, or words, which are not products
    left, right = _values(gold), _values(answer)
    if left is None or right is None:
        return None
    digits = _DIGITS + 2 * max(left[2], right[2])
    if digits > _DIGITS:  # huge or tiny numbers: enough digits to separate 3^100 from 3^100 + 2
        left, right = _values(gold, digits=digits), _values(answer, digits=digits)
        if left is None or right is None:
            return None
    with localcontext(_context(digits)):
        sizes = [max(abs(a), abs(b)) for a, b in zip(left[0], right[0], strict=True)]
        if min(sizes) < _TINY:
            return None  # the difference may be rounding
        gaps = [abs(a - b) / size for a, b, size in zip(left[0], right[0], sizes, strict=True)]
        same = _TOLERANCE if digits == _DIGITS else Decimal(1).scaleb(_SAME - digits)
        if all(gap <= same for gap in gaps):
            return True
        if _ARITHMETIC.fullmatch(gold) and _ARITHMETIC.fullmatch(answer):
            return False
        return _apart(gold, answer)


def same_equation(gold: str, answer: str) -> bool:
    """Whether two equations in several letters are multiples of each other. False for one letter ("2x = 8")."""
    if gold.count("=") != 1 or answer.count("=") != 1 or max(len(gold), len(answer)) > _LENGTH:
        return False
    if len({letter for letter in _LETTERS.findall(gold) if letter != "e"}) < 2:
        return False
    sides = [_values("({})-({})".format(*text.split("="))) for text in (gold, answer)]
    if any(side is None or not side[1] or side[2] or min(map(abs, side[0])) < _TINY for side in sides):
        return False
    with localcontext(_context(_DIGITS)):
        factors = [a / b for a, b in zip(*(side[0] for side in sides if side), strict=True)]
        return abs(factors[0] - factors[1]) <= _TOLERANCE * abs(factors[0])


def _apart(gold: str, answer: str) -> bool | None:
    """False if the formulas, with their functions computed, have values far apart at one of the points; else None."""
    left, right = (_values(text, functions=True) if _computes(text) else _values(text) for text in (gold, answer))
    if left is None or right is None or not left[1] or not right[1]:
        return None
    sizes = [max(abs(a), abs(b)) for a, b in zip(left[0], right[0], strict=True)]
    if min(sizes) < _TINY:
        return None
    far = _FAR_DECIMALS if "." in gold or "." in answer else _FAR
    return False if max(abs(a - b) / size for a, b, size in zip(left[0], right[0], sizes, strict=True)) > far else None


@lru_cache(maxsize=4096)
def _values(text: str, functions: bool = False, digits: int = _DIGITS) -> tuple[tuple[Decimal, ...], bool, int] | None:
    """(values at the points, whether the formula has only one reading, the digits that its numbers and powers may need if there
    are many); None if it cannot be parsed.
    """
    tail = _UNIT_TAIL.search(text)
    if len(text) < 2 or digits > _MOST_DIGITS or (tail and tail.group(1) in KNOWN):
        return None
    try:
        tokens = _tokens(text)
        variables = {token for token, after in zip(tokens, tokens[1:], strict=False) if after != "("}
        with localcontext(_context(digits)):
            readers = [_Reader(tokens, variables, point, functions, digits) for point in (1, 2)]
            values = tuple(reader.read() for reader in readers)
    except (_Unknown, DecimalException, RecursionError, ArithmeticError, ValueError):
        return None
    largest = max(reader.largest for reader in readers)
    return (
        (values, readers[0].unambiguous, largest if largest > _LARGE else 0)
        if all(map(Decimal.is_finite, values))
        else None
    )


@lru_cache(maxsize=64)
def _context(digits: int) -> Context:
    return Context(prec=digits, Emax=9999, Emin=-9999)


def _computes(text: str) -> bool:
    """Whether the text may contain a function, which is computed only to prove a difference."""
    return "|" in text or ("\\" in text and any(name in text for name in (*_COMPUTED, *_ENCLOSED)))


def _tokens(text: str) -> list[str]:
    """The tokens, followed by an empty token that marks the end."""
    tokens, at = [], 0
    for match in _TOKEN.finditer(text):
        if match.start() != at:
            raise _Unknown
        tokens.append(match[match.lastindex or 0])
        at = match.end()
    if at != len(text):
        raise _Unknown
    return [*tokens, ""]


class _Reader:
    """Recursive descent over the tokens, evaluated at one point."""

    def __init__(self, tokens: list[str], variables: set[str], point: int, functions: bool, digits: int):
        self.tokens, self.variables, self.at = tokens, variables, 0
        self.point, self.functions, self.digits = point, functions, digits
        self.largest = 0
        self.unambiguous = True
        self.bars = False

    def read(self) -> Decimal:
        value = self._sum()
        if self.at != len(self.tokens) - 1:
            raise _Unknown
        return value

    def _peek(self) -> str:
        return self.tokens[self.at]

    def _take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def _sum(self) -> Decimal:
        negative = False
        while self.tokens[self.at] in _PLUS_MINUS:
            negative ^= self._take() == "-"
        value = -self._product() if negative else +self._product()
        while self.tokens[self.at] in _PLUS_MINUS:
            if self._take() == "+":
                value += self._product()
            else:
                value -= self._product()
        return value

    def _product(self) -> Decimal:
        value, divided = self._power(), False
        while True:
            token = self.tokens[self.at]
            if token in _ENDS_PRODUCT or (token == "|" and self.bars):
                return value
            if token in ("*", "\\cdot", "\\times"):
                self.at += 1
                value *= self._signed()
            elif token in ("/", "\\div"):
                self.at += 1
                value /= self._signed()
                divided = True
            else:
                if divided or token[0].isdigit() or token == ".":
                    raise _Unknown  # 1/2x; 2 3
                before = self.tokens[self.at - 1]
                if token == "\\frac" and before[0].isdigit():
                    raise _Unknown  # a mixed number, or a product
                if token == "(" and before[0].isalpha() and before not in self.variables:
                    self.unambiguous = False  # x(x+1), or a function of x + 1
                value *= self._power()

    def _signed(self) -> Decimal:
        if self._peek() == "-":
            self._take()
            return -self._power()
        return self._power()

    def _power(self) -> Decimal:
        base = self._atom()
        if self.tokens[self.at] not in ("^", "**"):
            return base
        self._take()
        exponent = self._exponent()
        if self._peek() in ("^", "**"):
            raise _Unknown
        value = _raise(base, exponent)
        self.largest += abs(value.adjusted()) if value else 0
        return value

    def _constant(self, value: Decimal) -> Decimal:
        if self.digits > _CONSTANT_DIGITS:
            raise _Unknown
        return +value

    def _exponent(self) -> Decimal:
        if self._peek() in ("{", "("):
            return self._group()
        token = self._take()
        if len(token) == 1 and (token.isdecimal() or (token.isascii() and token.isalpha())):
            return self._number_or_letter(token)
        raise _Unknown  # 2^10 may be 2^{10}, or 2^1 times 0

    def _group(self) -> Decimal:
        closing = {"{": "}", "(": ")", "[": "]"}[self._take()]
        value = self._sum()
        if self._take() != closing:
            raise _Unknown
        return value

    def _braced(self) -> Decimal:
        if self._peek() != "{":
            raise _Unknown
        return self._group()

    def _atom(self) -> Decimal:
        token = self.tokens[self.at]
        if token in ("(", "{", "["):
            return self._group()
        self.at += 1
        if token == "\\frac":
            above = self._braced()
            return above / self._braced()
        if token[:1] != "\\" and token != "|" and token not in _NAMED:
            return self._number_or_letter(token)
        if token == "\\sqrt":
            return self._root()
        if token == "\\pi":
            return self._constant(_PI)
        if token in _FUNCTIONS:
            return self._function(token)
        if token in _ENCLOSED:
            return self._enclosed(token)
        if token == "\\binom":
            return self._binomial()
        if token in _NAMED and token not in self.variables and self._peek() == "(":
            self.unambiguous = False
            return self._opaque(token, self._group())
        if token in _GREEK:
            return self._letter(token)
        return self._number_or_letter(token)

    def _number_or_letter(self, token: str) -> Decimal:
        if not token:
            raise _Unknown
        if token[0].isdigit() or token[0] == ".":
            self.largest += len(token)
            return +Decimal(token)
        if token == "e":
            return self._constant(_E)
        if token[0].isalpha() and token[0] not in "iIE":
            return self._letter(token)
        raise _Unknown

    def _letter(self, name: str) -> Decimal:
        """A number between 1/2 and 3/2, determined by the name and the point."""
        return _letter_value(name.replace("{", "").replace("}", ""), self.point)

    def _root(self) -> Decimal:
        degree = Decimal(2)
        if self._peek() == "[":
            degree = self._group()
        value = self._braced()
        if value < 0 or not degree:
            raise _Unknown
        return value.sqrt() if degree == 2 else _raise(value, 1 / degree)

    def _opaque(self, name: str, *arguments: Decimal) -> Decimal:
        """A pseudo-random value, determined by the function and its arguments."""
        rounded = ",".join(str(argument.quantize(Decimal("1e-38"))) for argument in arguments)
        return _scatter(f"{name}({rounded})@{self.point}")

    def _enclosed(self, opening: str) -> Decimal:
        if opening == "|":
            if self.bars:
                raise _Unknown
            self.bars = True
        closing, computed = _ENCLOSED[opening]
        value = self._sum()
        if self._take() != closing:
            raise _Unknown
        if opening == "|":
            self.bars, value = False, abs(value)
        return Decimal(computed(value)) if self.functions else self._opaque(opening, value)

    def _binomial(self) -> Decimal:
        above, below = self._braced(), self._braced()
        if below != below.to_integral_value() or not 0 <= below <= _BINOMIAL:
            raise _Unknown
        value = Decimal(1)
        for k in range(int(below)):
            value *= (above - k) / (k + 1)
        return value

    def _function(self, name: str) -> Decimal:
        base = None
        if name == "\\log" and self._peek() == "_":
            self._take()
            base = self._exponent()
        power = Decimal(1)
        if self._peek() == "^":
            self._take()
            power = self._exponent()
            if power < 0:
                raise _Unknown
        if self._peek() in ("(", "{"):
            argument = self._group()
        else:
            argument = self._atom()
            if self._peek() not in ("", "+", "-", ")", "}", "\\cdot", "*", "/") and self._peek() not in _FUNCTIONS:
                raise _Unknown  # sin x y
        if self.functions:
            self.unambiguous = self.unambiguous and (name != "\\log" or base is not None)  # the base is unknown
            scale = math.log(float(base)) if base is not None else 1.0
            return _raise(Decimal(str(_COMPUTED[name](float(argument)) / scale)), power)
        return _raise(self._opaque(name, argument, *([] if base is None else [base])), power)


@lru_cache(maxsize=1024)
def _letter_value(name: str, point: int) -> Decimal:
    return _scatter(f"{name}@{point}")


def _scatter(key: str) -> Decimal:
    """A pseudo-random number from 1/2 to 3/2 with thirty-eight digits."""
    number = int.from_bytes(blake2b(key.encode(), digest_size=16).digest(), "big")
    return Decimal("0.5") + Decimal(number).scaleb(-39)


def _raise(base: Decimal, exponent: Decimal) -> Decimal:
    if (
        abs(exponent) > _POWER
        or (exponent != exponent.to_integral_value() and base <= 0)
        or (not base and exponent <= 0)
    ):
        raise _Unknown
    return base**exponent
