"""Compares structured answers: lists element by element, intervals by their ends, labels by name.

It accepts what math-verify rejects by mistake (an inequality for an interval, labelled values, lists with plus-minus) and
rejects what it accepts by mistake (an open interval for a set). Elements are compared like scalars.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.shapes import Shape
from tersely.rewards.verify.normalize.latex import squeeze

Same = Callable[[str, str], bool]
_ITEMS = 40
_UNORDERED = 12


class Structure:
    """Compares two shapes under the policy. `same(gold, answer)` compares two atoms."""

    def __init__(self, policy: Policy, same: Same):
        self.policy, self.same = policy, same

    def equal(self, gold: Shape, answer: Shape) -> bool:
        """True if shape and elements prove that the answer equals the gold. False: not proven."""
        if not labels_agree(gold.label, answer.label):
            return False
        gold, answer = _single(gold), _single(answer)
        if gold.kind == "atom" and answer.kind == "atom":
            if gold.label and not answer.label and _about_another(gold.label, answer.text):
                return False
            text = _with_argument(gold.label, answer.label, answer.text)
            return bool(gold.text and text) and self.same(gold.text, text)
        if gold.kind == "interval" or answer.kind == "interval":
            return self._interval(gold, answer)
        if gold.kind == "union" or answer.kind == "union":
            return gold.kind == answer.kind and self._matched(gold.parts, answer.parts)
        gold, answer = _points_once(gold), _points_once(answer)
        if not self.kinds_agree(gold, answer) or len(gold.parts) != len(answer.parts):
            return False
        if len(gold.parts) > _ITEMS:
            return False
        if "tuple" in (gold.kind, answer.kind):
            return self._in_order(_by_name(gold), _by_name(answer))
        if self.policy.list_order == "kept" and "list" in (gold.kind, answer.kind):
            return self._in_order(gold.parts, answer.parts)
        nouns = _nouns(gold.parts), _nouns(answer.parts)
        if nouns[0] and nouns[1] and set(nouns[0]) == set(nouns[1]):  # "5 red and 3 blue": each number with its noun
            return all(self.equal(part, nouns[1][noun]) for noun, part in nouns[0].items())
        return self._labelled(gold.parts, answer.parts) and self._matched(gold.parts, answer.parts)

    def kinds_agree(self, gold: Shape, answer: Shape) -> bool:
        """Whether the kinds match. A tuple is not a set unless the policy allows it; a bare list matches either."""
        kinds = {gold.kind, answer.kind}
        if "atom" in kinds:
            return False
        if kinds == {"tuple", "set"}:
            return self.policy.interval_as_set
        if kinds == {"tuple"}:
            return gold.brackets == answer.brackets or len(gold.parts) != 2
        return True

    def refuses(self, gold: Shape, answer: Shape) -> bool:
        """Whether the answer is incorrect even if math-verify accepts it."""
        gold, answer = _single(gold), _single(answer)
        kinds = {gold.kind, answer.kind}
        if "atom" in kinds and "parts" in (gold.brackets, answer.brackets):
            return True
        if kinds == {"tuple", "set"} and not self.policy.interval_as_set:
            return True
        if "interval" in kinds and kinds & {"set", "list"} and not self.policy.interval_as_set:
            return True
        if "list" in kinds and kinds <= {"list", "set"}:
            if len(gold.parts) != len(answer.parts) and not _has_pm(gold, answer):
                return True
            if self.policy.list_order == "kept" and len(gold.parts) == len(answer.parts):
                return not self._in_order(gold.parts, answer.parts)
        return False

    def _interval(self, gold: Shape, answer: Shape) -> bool:
        if {gold.kind, answer.kind} <= {"interval", "tuple"} and len(gold.parts) == len(answer.parts) == 2:
            if gold.kind != answer.kind and not (
                gold.relation or answer.relation or _infinite(gold) or _infinite(answer)
            ):
                return False
            return gold.brackets == answer.brackets and self._in_order(gold.parts, answer.parts)
        return False

    def _in_order(self, gold: tuple[Shape, ...], answer: tuple[Shape, ...]) -> bool:
        return all(self.equal(left, right) for left, right in zip(gold, answer, strict=True))

    def _matched(self, gold: tuple[Shape, ...], answer: tuple[Shape, ...]) -> bool:
        """Whether both are equal as multisets. Long lists must have the same order, because matching is quadratic."""
        if len(gold) != len(answer):
            return False
        if len(gold) > _UNORDERED:
            return self._in_order(gold, answer)
        left = list(answer)
        for item in gold:
            found = next((other for other in left if self.equal(item, other)), None)
            if found is None:
                return False
            left.remove(found)
        return True

    def _labelled(self, gold: tuple[Shape, ...], answer: tuple[Shape, ...]) -> bool:
        """Whether the labels agree: two lists that label all their values must use the same labels."""
        names = [sorted(name_of(item.label) for item in items) for items in (gold, answer)]
        bases = [{_base(name) for name in side} for side in names]
        bare = [set(side) <= bases[0] | bases[1] for side in names]  # "x = 3, x = -2": one unknown, its values
        return (
            not all(map(all, names))
            or names[0] == names[1]
            or (bases[0] == bases[1] and any(bare) and len(bases[0]) == 1)
        )


_COUNTED = re.compile(r"(?:[A-Za-z][A-Za-z' ]*\s)?-?\d[\d.,/]*\s*(?:\\text\s*\{\s*)?(?P<noun>[A-Za-z]{3,})")


def _nouns(parts: tuple[Shape, ...]) -> dict[str, Shape]:
    """The parts of "7 goats and 4 helicopters" by counted noun; empty unless each part counts a different noun."""
    found = [_COUNTED.match(part.text) for part in parts]
    nouns = {
        match.group("noun").lower().removesuffix("s"): part for match, part in zip(found, parts, strict=True) if match
    }
    return nouns if len(nouns) == len(parts) else {}


def both_collections(gold: Shape, answer: Shape) -> bool:
    """Whether both are lists, tuples or sets of several elements, or both are intervals."""
    kinds = {_single(gold).kind, _single(answer).kind}
    return kinds <= {"list", "tuple", "set"} or kinds == {"interval"}


def labels_agree(gold: str, answer: str) -> bool:
    """Whether one label is missing, or both name the same value: x1 and x, y and f(x), f(t) and f(x)."""
    left, right = name_of(gold), name_of(answer)
    function = "y" in (left, right) and _ARGUMENT.fullmatch(left if right == "y" else right)
    if (function and function.group(2) == "x") or _same_function(left, right):
        return True
    return not left or not right or left == right or _base(left) == right or left == _base(right)


def _same_function(left: str, right: str) -> bool:
    names = [_ARGUMENT.fullmatch(name) for name in (left, right)]
    return all(name and name.group(2).isalpha() for name in names) and names[0].group(1) == names[1].group(1)  # type: ignore


def _by_name(shape: Shape) -> tuple[Shape, ...]:
    """The tuple of named values in alphabetical order: "y = 3, x = 2" is the point (2, 3)."""
    names = [part.label for part in shape.parts]
    if shape.kind != "list" or not all(len(name) == 1 and name.isalpha() for name in names):
        return shape.parts
    return tuple(sorted(shape.parts, key=lambda part: part.label))


def _about_another(label: str, text: str) -> bool:
    """Whether the text is an equation for an expression other than the label, such as "2x = 4" for x."""
    first, sign, _ = text.partition("=")
    return bool(sign) and name_of(label) != name_of(first.strip()) and bool(re.search(r"[A-Za-z]", first))


_ARGUMENT = re.compile(r"(\w+(?:\^-1)?)\((\w)\)")


def _with_argument(gold: str, answer: str, text: str) -> str:
    """Renames the argument of a function to that of the gold: "f(t) = t^2" to "f(x) = x^2"."""
    left, right = (_ARGUMENT.fullmatch(re.sub(r"[\s{}]", "", label)) for label in (gold, answer))
    if not left or not right or left.group(1) != right.group(1) or left.group(2) == right.group(2):
        return text
    old, new = (rf"(?<![A-Za-z\\]){match.group(2)}(?![A-Za-z])" for match in (right, left))
    return text if re.search(new, text) else re.sub(old, left.group(2), text)


def _base(name: str) -> str:
    """The letter of a label with an index: x of x1."""
    return name.rstrip("0123456789")


_DERIVATIVE = re.compile(r"(?:\\frac)?(?:d|\\partial)([a-z])/?(?:d|\\partial)[a-z]")


def name_of(label: str) -> str:
    return _DERIVATIVE.sub(r"\1'", _bare_name(label))


def _bare_name(label: str) -> str:
    return re.sub(r"[\s{}_]|\\(?:text|left|right)", "", squeeze(label)).casefold() if len(label) > 1 else label


def _single(shape: Shape) -> Shape:
    """The only element of a list, set or union with one element; another shape as it is."""
    while shape.kind in ("list", "set", "union") and len(shape.parts) == 1:
        shape = shape.parts[0]
    return shape


def _points_once(shape: Shape) -> Shape:
    """Removes repeated points. Repeated numbers stay, because roots have multiplicities."""
    if shape.kind not in ("list", "set") or any(part.kind != "tuple" for part in shape.parts):
        return shape
    once = {squeeze(part.text): part for part in shape.parts}
    return replace(shape, parts=tuple(once.values()))


def _infinite(shape: Shape) -> bool:
    return any("\\infty" in part.text for part in shape.parts)


def _has_pm(*shapes: Shape) -> bool:
    return any("\\pm" in shape.text or "\\mp" in shape.text for shape in shapes)
