"""Symbolic comparison: the only file that calls math-verify and sympy. Runs in worker processes."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from functools import lru_cache
from math import log10
from typing import Any

from tersely.rewards.verify.normalize.units import without_unit

_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?")
_PROBES = 2
_FAR = 1e-4
_APART = 1e-3  # math-verify may accept numbers closer than this, because it rounds to six decimals


def math_verify_equal(gold: str, answer: str) -> bool:
    """Whether math-verify accepts the answer. Its result depends on the order of the arguments.

    sympy simplifies with random numbers. Its generator is seeded here, so a verdict does not depend on earlier items.
    """
    from math_verify import verify
    from sympy.core.random import seed

    seed(0)
    golds, answers = parsed(gold), parsed(answer)
    if not golds or not answers:
        return False
    gap = _exact_gap(golds[0], answers[0])
    if gap is not None:
        return bool(gap == 0)
    if golds[0] != answers[0] and any(check(golds[0], answers[0]) for check in _DIFFER):
        return _same_complex(golds[0], answers[0])
    return bool(verify(list(golds), list(answers), timeout_seconds=None)) or _same_complex(golds[0], answers[0])


def _same_complex(gold: Any, answer: Any) -> bool:
    """Whether two complex numbers are equal: math-verify reads i as a letter, so it rejects 1 + i\\sqrt{3} for 2e^{i\\pi/3}."""
    from sympy import Expr, I

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return False
    if (
        {symbol.name for symbol in gold.free_symbols | answer.free_symbols} - {"i"}
        or _unusual(gold)
        or _unusual(answer)
    ):
        return False
    try:
        numbers = [side.xreplace(dict.fromkeys(side.free_symbols, I)).evalf(40) for side in (gold, answer)]
        complex_ = any(number.has(I) for number in numbers) or bool(gold.free_symbols | answer.free_symbols)  # i^2 = -1
        return complex_ and bool(abs(numbers[0] - numbers[1]) <= 1e-30 * max(1, abs(numbers[0])))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False


@lru_cache(maxsize=512)
def parsed(text: str) -> tuple[Any, ...]:
    """Parse one boxed answer with math-verify: the expression and its text; empty if it cannot be parsed."""
    from math_verify import parse

    if "\\circ" in text and _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"{(\\frac{\1 \\pi}{180})}", text)
    found = parse(
        f"\\boxed{{{without_unit(text)}}}", [_extraction()], extraction_mode="first_match", parsing_timeout=None
    )
    return tuple(_one_letter(part) for part in found)


def _one_letter(part: Any) -> Any:
    """Use one symbol per name: math-verify parses the i of "-4 i" as not real and that of "4i" as real."""
    from sympy import Expr, Symbol

    if not isinstance(part, Expr):
        return part
    return part.xreplace({s: Symbol(s.name, real=True) for s in part.free_symbols if s.is_real is False})


@lru_cache(maxsize=1)
def _extraction() -> Any:
    """Settings of math-verify for boxed LaTeX. They leave units alone, because math-verify would remove the c of a + b + c."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig

    config = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    return LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False, normalization_config=config)


def _exact_gap(gold: Any, answer: Any) -> Any:
    """The exact difference of two expressions if sympy finds it without `simplify`; else None.

    math-verify keeps the order of terms as written, so `==` is False for `n! + 1` and `1 + n!`.
    """
    from sympy import Expr

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)) or _unusual(gold) or _unusual(answer):
        return None
    try:
        gap = _rebuilt(gold) - _rebuilt(answer)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return gap if gap.is_Rational else None


def _rebuilt(expression: Any) -> Any:
    """The expression with its terms and factors in sympy's order."""
    return expression.func(*map(_rebuilt, expression.args)) if expression.args else expression


def _one_infinite(gold: Any, answer: Any) -> bool:
    """Whether only one expression computes with infinity: their difference may simplify to 0 by mistake."""
    from sympy import Expr, nan, oo, zoo

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return False
    return gold.has(oo, -oo, zoo, nan) != answer.has(oo, -oo, zoo, nan)


def _far_apart(gold: Any, answer: Any) -> bool:
    """Whether two expressions certainly differ: their values at random points are far from each other.

    This only saves `simplify` on incorrect answers. Only math-verify accepts an answer.
    """
    from sympy import Expr, Symbol

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return False
    if isinstance(gold, Symbol) or isinstance(answer, Symbol) or _unusual(gold) or _unusual(answer):
        return False
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    source = random.Random(len(symbols))
    far = 0
    for _ in range(_PROBES if symbols else 1):
        point = {symbol: Fraction(source.randint(11, 97), 53) for symbol in symbols}
        values = [_value(expression, point) for expression in (gold, answer)]
        if values[0] is None or values[1] is None:
            return False
        scale = max(abs(values[0]), abs(values[1]))
        floor = 0.0 if values[0] and values[1] else 1e-2  # math-verify rounds both 2^-98 and 6^-98 to 0
        if not abs(values[0] - values[1]) > _FAR * max(scale, floor):
            return False
        far += 1
    return far > 0


def _unequal_numbers(gold: Any, answer: Any) -> bool:
    """Whether two exact numbers differ, by any amount: math-verify compares only fifteen digits."""
    from sympy import Expr, Float

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return False
    if any(side.free_symbols or side.has(Float) or _unusual(side) for side in (gold, answer)):
        return False
    try:
        if gold.is_Rational and answer.is_Rational:
            return gold != answer
        gap = (gold - answer).evalf(15)
        return bool(gap.is_Float and gap != 0 and gap._prec > 1)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False


def _far_equations(gold: Any, answer: Any) -> bool:
    """Whether two equations with transcendental functions, which sympy cannot solve, are not multiples of each other."""
    from sympy import Eq
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if not all(isinstance(side, Eq) and side.has(TrigonometricFunction) for side in (gold, answer)):
        return False
    if gold.free_symbols != answer.free_symbols:
        return False
    try:
        sides = [equation.lhs - equation.rhs for equation in (gold, answer)]
    except TypeError:
        return False
    symbols, source = sorted(gold.free_symbols, key=str), random.Random(7)
    factors = []
    for _ in range(3):
        point = {symbol: Fraction(source.randint(11, 97), 53) for symbol in symbols}
        values = [_value(side, point) for side in sides]
        if not values[0] or not values[1]:
            return False
        factors.append(values[0] / values[1])
    return max(abs(factor - factors[0]) for factor in factors) > _FAR * abs(factors[0])


def _other_lines(gold: Any, answer: Any) -> bool:
    """Whether two linear equations with exact coefficients in the same letters are not multiples of each other.

    math-verify returns the same verdict, but first solves both equations for every letter.
    """
    from sympy import Eq, Float, Poly, PolynomialError

    if not all(isinstance(side, Eq) and not side.has(Float) for side in (gold, answer)):
        return False
    letters = sorted(gold.free_symbols, key=str)
    if not letters or answer.free_symbols != gold.free_symbols:
        return False
    try:
        lines = [Poly(equation.lhs - equation.rhs, *letters) for equation in (gold, answer)]
        if any(line.total_degree() != 1 or line.free_symbols_in_domain for line in lines):
            return False
        left, right = ([line.coeff_monomial(term) for term in (*letters, 1)] for line in lines)
        if not all(number.is_Rational for number in (*left, *right)):
            return False
        first = next(index for index, number in enumerate(left) if number)
        return any(a * right[first] != b * left[first] for a, b in zip(left, right, strict=True))
    except (TypeError, ValueError, AttributeError, ArithmeticError, PolynomialError):
        return False


def _far_matrices(gold: Any, answer: Any) -> bool:
    """Whether two matrices of one shape have an entry whose values are far apart."""
    from sympy import MatrixBase

    if not (isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase)) or gold.shape != answer.shape:
        return False
    pairs = [(a, b) for a, b in zip(gold, answer, strict=True) if a != b]
    return any(
        _far_apart(a, b) and (a.free_symbols or b.free_symbols or abs(complex(a - b)) > _APART) for a, b in pairs
    )


def _other_statements(gold: Any, answer: Any) -> bool:
    """Whether two equations differ that math-verify takes as equal: without letters ("2 + 2 = 4", "5 = 7"), or with
    derivatives, which it evaluates to 0 (dy/dx = x, dy/dx = 2x).
    """
    from sympy import Derivative, Eq

    if all(isinstance(side, Eq) and side.has(Derivative) for side in (gold, answer)):
        return gold != answer
    if not all(isinstance(side, Eq) and not side.free_symbols for side in (gold, answer)):
        return False
    try:
        pairs = [[complex(side.evalf(15)) for side in equation.args] for equation in (gold, answer)]
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return gold != answer
    close = [abs(a - b) <= 1e-9 * max(1.0, abs(a)) for a, b in zip(pairs[0], pairs[1], strict=True)]
    return not all(close)


_DIFFER = (
    _one_infinite,
    _far_apart,
    _unequal_numbers,
    _far_equations,
    _other_lines,
    _far_matrices,
    _other_statements,
)


def _unusual(expression: Any) -> bool:
    """Whether an expression has percentages, undefined functions, integrals, sums or limits, which only math-verify handles."""
    from sympy import Integral, Limit, Product, Sum, UnevaluatedExpr
    from sympy.core.function import AppliedUndef

    return bool(expression.has(UnevaluatedExpr, AppliedUndef, Integral, Limit, Product, Sum))


def _value(expression: Any, point: dict[str, Any]) -> complex | None:
    from sympy import Rational

    try:
        numbers = {symbol: Rational(value.numerator, value.denominator) for symbol, value in point.items()}
        value = complex(expression.doit().evalf(12, subs=numbers))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return value if value == value and abs(value) < 1e300 and (not value or abs(value) > 1e-200) else None


def closed_value(text: str) -> Fraction | None:
    """The real value of an expression without variables, to 30 digits."""
    from sympy import Expr

    found = parsed(text)
    if not found or not isinstance(found[0], Expr) or found[0].free_symbols or _unusual(found[0]):
        return None
    try:
        value = found[0].doit().evalf(30)
        return Fraction(str(value)) if value.is_Float or value.is_Rational else None
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None


def equals_as_equation(gold: str, answer: str) -> bool:
    """Compares a gold that is an equation for one letter with an answer that is its value: y + 1 = -(2x-1)^2, -4x^2 + 4x - 2.

    The letter is alone on one side, except for a constant, and the answer has exactly the other letters.
    """
    from sympy import Eq, Expr, Symbol, simplify

    if "=" in answer or gold.count("=") != 1:
        return False
    golds, answers = parsed(gold), parsed(answer)
    if not golds or not answers or not isinstance(golds[0], Eq) or not isinstance(answers[0], Expr):
        return False
    left, right = golds[0].lhs, golds[0].rhs
    letters = [symbol for symbol in left.free_symbols if symbol not in right.free_symbols]
    if len(letters) != 1 or left.free_symbols != set(letters) or not right.free_symbols:
        return False
    shift = left - letters[0]
    if not isinstance(letters[0], Symbol) or shift.free_symbols or answers[0].free_symbols != right.free_symbols:
        return False
    target = right - shift
    return not _far_apart(target, answers[0]) and bool(simplify(target - answers[0]) == 0)


_POINTS = (0.137, 0.291, 0.463, 0.618, 0.853, 1.213, 1.734, 2.619, 4.127, -0.173, -0.482, -0.771, -1.371, -2.913)
_AGREE = 5
_LARGE, _MOST_DIGITS = 1e6, 330


def same_inside_domain(gold: str, answer: str) -> bool:
    """Whether two expressions in one or two letters are equal wherever both are real: `2\\arcsin\\sqrt{a}`, `\\arccos(1-2a)`.

    False if they differ at one point, or if most points are outside of the domain.
    """
    from sympy import Expr

    golds, answers = parsed(gold), parsed(answer)
    if not golds or not answers or not isinstance(golds[0], Expr) or not isinstance(answers[0], Expr):
        return False
    letters = sorted(golds[0].free_symbols, key=str)
    if not 1 <= len(letters) <= 2 or golds[0].free_symbols != answers[0].free_symbols:
        return False
    if any(_unusual(side) or side.is_Symbol for side in (golds[0], answers[0])):
        return False
    agree = 0
    for index, first in enumerate(_POINTS):
        point = dict(zip(letters, (first, _POINTS[index * 5 % len(_POINTS)]), strict=False))
        values = [_real(side, point) for side in (golds[0], answers[0])]
        if values[0] is None or values[1] is None:
            continue
        size = abs(values[0])
        if size > _LARGE:  # enough digits to separate (n+37)! + 42 from (n+37)! + 43
            digits = 30 + int(log10(float(size)))
            values = [_real(side, point, digits) for side in (golds[0], answers[0])] if digits < _MOST_DIGITS else []
            if not values or None in values:
                continue
            size = 1
        if abs(values[0] - values[1]) > 1e-20 * max(1, size):
            return False
        agree += 1
    return agree >= _AGREE


def _real(expression: Any, point: dict[str, Any], digits: int = 30) -> Any:
    from sympy import Rational

    try:
        value = expression.evalf(digits, subs={symbol: Rational(str(number)) for symbol, number in point.items()})
        return value if value.is_Float and value._prec > 1 else None
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None


def solves(gold: str, answer: str) -> bool:
    """Compares a reference that is an equation, linear in one letter, with the value of that letter: `xy = 6` and `6/x`."""
    from sympy import Expr

    if "=" in answer or gold.count("=") != 1:
        return False
    golds, answers = parsed("{} - ({})".format(*gold.split("="))), parsed(answer)
    if not golds or not answers or not isinstance(golds[0], Expr) or not isinstance(answers[0], Expr):
        return False
    side = golds[0]
    missing = side.free_symbols - answers[0].free_symbols
    if len(missing) != 1 or not answers[0].free_symbols or side.free_symbols - missing != answers[0].free_symbols:
        return False
    letter = missing.pop()
    try:
        if side.diff(letter).has(letter):
            return False
        left = side.subs(letter, answers[0])
        for first in _POINTS[:4]:
            point = {
                symbol: first + 0.1 * index for index, symbol in enumerate(sorted(answers[0].free_symbols, key=str))
            }
            value, slope = (abs(complex(part.evalf(25, subs=point))) for part in (left, side.diff(letter)))
            if not slope > 1e-9 or not value < 1e-12:
                return False
        return True
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False
