"""Comparison inside a worker: math-verify, with rules that overrule its false positives and false negatives."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare import rules
from tersely.rewards.verify.compare.collections import Structure, both_collections
from tersely.rewards.verify.compare.compound_units import compound
from tersely.rewards.verify.compare.domains import same_domain, split_domain
from tersely.rewards.verify.compare.quick import prepare, quick_match
from tersely.rewards.verify.compare.rewrites import natural_log, renamed, split_condition, without_asides
from tersely.rewards.verify.compare.shapes import shape_of
from tersely.rewards.verify.compare.symbolic import (
    closed_value,
    equals_as_equation,
    math_verify_equal,
    same_inside_domain,
    solves,
)

_ATOMS = 400  # maximum comparisons of elements per item
_UNIONS = 8  # with more, sympy needs seconds


class Engine:
    """Decides the items that `quick_match` leaves open. It runs only in worker processes, which can be killed."""

    def __init__(self, policy: Policy | dict[str, Any] | None = None):
        self.policy = Policy.of(policy)
        self._left = 0
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)

    def compare(self, gold: str, answer: str) -> tuple[str, str]:
        """Return (status, path)."""
        fast = quick_match(gold, answer, self.policy)
        if fast is not None:
            return ("correct" if fast[0] else "incorrect"), fast[1]
        self._left = _ATOMS
        if self._incomparable(prepare(gold), prepare(answer)) and not compound(
            prepare(gold)[0], prepare(answer)[0], self.policy
        ):
            return "incorrect", "structure"
        for spelled in rules.gold_spellings(prepare(gold)[0], prepare(answer)[1] is not None):
            for written in rules.answer_spellings(prepare(gold)[0], prepare(answer)[0]):
                fast = quick_match(spelled, written, self.policy) if written != answer else None
                path = (
                    "choice"
                    if fast and fast[0]
                    else self._decide(spelled, written) or self._rewritten(spelled, written)
                )
                if path is not None:
                    return "correct", path
        return "incorrect", "engine"

    def _incomparable(self, gold: tuple[Any, ...], answer: tuple[Any, ...]) -> bool:
        """Whether one side is a number and the other a collection of several elements."""
        for (_, number), (other, none) in ((gold, answer), (answer, gold)):
            if number is not None and none is None:
                shape = shape_of(other)
                return shape.kind in ("list", "tuple", "set", "interval", "union") and len(shape.parts) > 1
        return False

    def _rewritten(self, gold: str, answer: str) -> str | None:
        """Compare again without conditions and asides, and with the letters of the reference; returns the path or None."""
        bare_gold, gold_domain = split_domain(without_asides(gold))
        bare_answer, answer_domain = split_domain(without_asides(answer))
        if not same_domain(gold_domain, answer_domain):
            return None
        declared = (
            bare_gold != gold or bare_answer != answer or bool(split_condition(gold)[1] or split_condition(answer)[1])
        )
        tries = [(bare_gold, bare_answer)] if (bare_gold, bare_answer) != (gold, answer) else []
        free = renamed(split_condition(bare_gold)[0], split_condition(bare_answer)[0], declared)
        if free is not None:
            tries.append((split_condition(bare_gold)[0], free))
        natural = natural_log(gold, answer)
        if natural is not None:
            tries.append((gold, natural))
        for one, other in tries:
            fast = quick_match(one, other, self.policy)
            if (fast is not None and fast[0]) or (fast is None and self._decide(one, other)):
                return "rewritten"
        return None

    def _decide(self, gold: str, answer: str) -> str | None:
        """Return the name of the rule that accepts the answer; None if no rule does."""
        if rules.refused(gold, answer, self.policy) is not None:
            return None
        gold, gold_set = split_condition(gold)
        answer, answer_set = split_condition(answer)
        if gold_set and answer_set and gold_set != answer_set:
            return None
        gold_shape, answer_shape = shape_of(gold), shape_of(answer)
        structure = Structure(self.policy, self.same)
        if both_collections(gold_shape, answer_shape):
            # math-verify ignores labels, duplicates and brackets of collections, so elements are compared one by one.
            return "structure" if structure.equal(gold_shape, answer_shape) else self._accepting_rule(gold, answer)
        unions = max(gold.count("\\cup"), answer.count("\\cup"))
        if unions <= _UNIONS and math_verify_equal(gold, answer) and not structure.refuses(gold_shape, answer_shape):
            return "engine"
        trivial = (
            gold_shape.kind == answer_shape.kind == "atom" and gold_shape.text == gold and answer_shape.text == answer
        )
        if not trivial and structure.equal(gold_shape, answer_shape):
            return "structure"
        name = self._accepting_rule(gold, answer)
        if name is not None:
            return name
        if self._rounded(gold, answer):
            return "rounded"
        if "=" not in gold and "=" in answer:
            last = rules.last_member(answer)
            if last and self.same(gold, last):
                return "last_member"
        if same_inside_domain(gold, answer):
            return "domain"
        return "equation" if equals_as_equation(gold, answer) or solves(gold, answer) else None

    def _accepting_rule(self, gold: str, answer: str) -> str | None:
        return next((name for name, repair in rules.ACCEPTING_RULES.items() if repair(gold, answer, self.policy)), None)

    def same(self, gold: str, answer: str) -> bool:
        """Whether two elements of a list, or two ends of an interval, are equal."""
        self._left -= 1
        if self._left < 0:
            return False
        fast = quick_match(gold, answer, self.policy)
        if fast is not None:
            return fast[0]
        if rules.refused(gold, answer, self.policy) is not None:
            return False
        return math_verify_equal(gold, answer) or self._rounded(gold, answer)

    def _rounded(self, gold: str, answer: str) -> bool:
        """Whether one side is a decimal, and is the closed form of the other side rounded correctly."""
        gold_number, answer_number = prepare(gold)[1], prepare(answer)[1]
        if not self.policy.rounded or (gold_number is None) == (answer_number is None):
            return False
        number, other, least = (
            (gold_number, answer, self.policy.rounded - 1)
            if gold_number
            else (answer_number, gold, self.policy.rounded)
        )
        if not number.decimals or number.significant < least:  # type: ignore[union-attr]
            return False
        value = closed_value(other)
        if value is None or value.denominator == 1:
            return False
        value, step = value * (100 if number.percent else 1), Fraction(1, 10**number.decimals)  # type: ignore[union-attr]
        if abs(value - number.value) * 2 <= step:  # type: ignore[union-attr]
            return True
        cut = abs(value) - abs(number.value)  # type: ignore[union-attr]
        return gold_number is not None and value * number.value > 0 and 0 <= cut < step  # type: ignore[union-attr]


_WARM = (
    (r"\frac{1}{2}+\sqrt{3}", r"x^2+2x+1"),
    (r"(1,2)", r"\{1,2\}"),
    (r"[0,1) \cup (2,\infty)", r"x \le 3"),
    (r"x=\frac{\pi}{6}", r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}"),
    (r"2\sin(x)\cos(x)", r"\sin(2x)"),
    (r"1 \pm \sqrt{19}", r"\log_2 8 + e^{x}"),
    (r"[-1,-\frac12) \cup (-\frac12,0) \cup (1,\infty)", r"\lfloor\frac{2n}{3}\rfloor+1"),
    (r"x(t) = -\frac{1}{18} e^{-t} + \frac{25}{54} e^{5t}", r"(4\sqrt{2}, 4\sqrt{2}, \sqrt{3})"),
    (r"\frac{s+\sigma}{(s+\sigma)^{2}+\omega_{d}^{2}}", r"-\sin (3 t) / 5+ C_{1} \sin (2 t)"),
    (r"\sqrt{4 \pi G \rho_{0} r_{0}^{2}}", r"90^\circ"),
    (r"-3 + 8i", r"|x-2| \ge 3"),
    (r"\binom{n}{2} + n!", r"( \frac{4}{3}, -\frac{7}{3} )"),
    (r"\arctan(\frac{x}{2})", r"2^{n+1}-\ln(x)"),
    (r"f(n)=n^2", r"x \ne 0"),
    (r"-1 < a \le \frac{1}{2}", r"\log_{10} x"),
    (r"\begin{bmatrix}x & 1 \\ 2 & y\end{bmatrix}", r"\max(x, 3) + 1"),
    (r"(n+1)! + 2", r"3x + 4y = 5"),
)


def warm_up(engine: Engine) -> None:
    """Fill the parser's tables before workers are forked, because this makes the first parses slow."""
    for gold, answer in _WARM:
        engine.compare(gold, answer)
