r"""Parses the outer form of an answer: list, tuple, set, interval, union, labelled value, or an atom.

It does not parse mathematics. It only finds commas, brackets, relations and labels at the outermost level; math-verify
parses the atoms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product

from tersely.rewards.verify.compare.number_sets import named_reals
from tersely.rewards.verify.compare.numbers import read_quantity
from tersely.rewards.verify.extract.parts import in_parts
from tersely.rewards.verify.extract.split import parts_at, split_relation, split_top, strip_label

_DEPTH = 6
_BRACKETS = {("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")}
_TURNED = {("[", "["): "[)", ("]", "["): "()", ("]", "]"): "(]"}  # French notation of intervals
_FRENCH = re.compile(r"(?P<open>[\[\]])(?P<ends>[^\[\]()]+[,;][^\[\]()]+)(?P<close>[\[\]])")
_OR = re.compile(
    r"\s*(?:,\s*)?(?:\\text\s*\{\s*,?\s*(?:or|OR)\s*,?\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z]))\s*"
)
_AND = re.compile(r"\s*(?:,\s*)?(?:\\text\s*\{\s*,?\s*and\s*,?\s*\}|(?<![A-Za-z\\])and(?![A-Za-z]))\s*")
_ENVIRONMENT = re.compile(
    r"(?:\\\{\s*)?\\begin\{(cases|aligned|align\*?|array|gathered)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL
)
_COLUMN = re.compile(r"\\begin\{([pb]matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_BUILDER = re.compile(
    r"\\\{\s*(?:\(?[A-Za-z](?:\s*\\in\s*[^|:]{1,24}?)?\)?)\s*(?:\\mid|\\vert|\||:)\s*(.+)\\\}", re.DOTALL
)
_MEMBER = re.compile(r"(?P<name>\\?[A-Za-z]+(?:_\{?\w+\}?)?)\s*\\in\s*(?P<set>.+)", re.DOTALL)
_REALS = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?|\\mathbf\{R\}|"
    r"(?:\\text\s*\{\s*)?(?:(?:all )?real(?:s| numbers)|all real(?: numbers?)?)\s*\}?\s*[a-z]?|R",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"(?:(?P<name>[A-Za-z])\s*\\in\s*)?(?:\\mathbb\s*\{?\s*R\s*\}?|\\mathbf\{R\})\s*"
    r"(?:(?:\\setminus|-)\s*\\\{(?P<point>[^{},]+(?:\{[^{}]*\}[^{},]*)*)\\\}|,\s*(?:[A-Za-z])\s*(?:\\ne|!=)\s*(?P<other>[^,<>=]+))"
    r"|\\text\s*\{\s*(?:all )?real numbers except(?: for)?\s*\}\s*(?:[A-Za-z]\s*=)?\s*(?P<said>[^,<>=]+)"
)
_ABSOLUTE = re.compile(r"\|\s*(?P<name>[A-Za-z])\s*\|\s*(?P<sign><|>|\\le|\\ge)(?![A-Za-z])\s*(?P<bound>[^<>|=]+)")
_NAMED_POINT = re.compile(r"(?:(?P<name>[A-Z])|(?:\\text\s*\{\s*)?(?:the )?point\s*\}?)\s*(?P<at>\([^()]+,[^()]+\))")
_POINT = re.compile(r"\(\s*[A-Za-z](?:\s*,\s*[A-Za-z]){1,3}\s*\)\s*=\s*(?=\()")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_PM = re.compile(r"\\pm(?![A-Za-z])")
_SIGNS = 3


@dataclass(frozen=True)
class Shape:
    kind: str
    """atom | list | tuple | set | interval | union"""
    text: str = ""
    parts: tuple[Shape, ...] = ()
    brackets: str = ""
    """Of an interval: "[]", "(]", ... ; of a tuple: "()", "[]", or "parts" for an answer in parts (a), (b)."""
    label: str = ""
    """Name of the value: "x", "f(x)", "Paolo"; of an interval also the variable of the inequality."""
    relation: bool = False
    """The interval was written as an inequality or with reversed brackets, so it cannot be a point."""


def shape_of(text: str, depth: int = 0, label: str = "") -> Shape:
    """The shape of a tidied answer."""
    text = text.lstrip(" ;,").rstrip(" .;,")
    if depth > _DEPTH or not text:
        return Shape("atom", text, label=label)
    parts = in_parts(text) if text.startswith("(1) ") else None
    if parts:
        return Shape("tuple", text, tuple(shape_of(part, depth + 1) for part in parts), "parts", label)
    if "\\cup" in text and (text[0] == "]" or text[-1] == "["):
        text = _turned_round(text)
    punctured = _EXCEPT.fullmatch(text)
    if punctured:
        point = punctured.group("point") or punctured.group("other") or punctured.group("said")
        return _punctured(point, punctured.group("name") or label)
    column = _COLUMN.fullmatch(text) if "\\begin" in text else None
    if column and "&" not in text:
        rows = [row.strip() for row in column.group(2).split("\\\\") if row.strip()]
        if len(rows) > 1:
            return _many("tuple", rows, depth, label, "()")
    environment = _ENVIRONMENT.fullmatch(text) if "\\begin" in text else None
    if environment:
        rows = [row.replace("&", " ").strip(" ,;") for row in re.split(r"\\\\", environment.group(2))]
        return _many("list", [row for row in rows if row], depth, label)
    point = _NAMED_POINT.fullmatch(text)
    if point:
        return shape_of(point.group("at"), depth + 1, point.group("name") or label)
    whole = _bracketed(text, depth, label)
    if whole is not None:
        return whole
    member = _MEMBER.fullmatch(text) if "\\in" in text else None
    if member:
        inner = shape_of(member.group("set"), depth + 1)
        if inner.kind in ("interval", "tuple", "set", "union"):
            return Shape(inner.kind, inner.text, inner.parts, inner.brackets, member.group("name"), inner.relation)
    for find, kind in ((_OR, "or"), (_CUP, "union")):
        parts = parts_at(text, find)
        if len(parts) > 1:
            return _union(parts, depth, label, kind)
    parts = split_top(_AND.sub(",", text) if "and" in text else text)
    if len(parts) > 1:
        return _list(parts, depth, label)
    return _single(text, depth, label)


def _turned_round(text: str) -> str:
    """]a,b[ as (a,b), also in a union, because reversed brackets break the count of depth."""
    parts = [_FRENCH.fullmatch(part.strip()) for part in _CUP.split(text)]
    if not all(parts):
        return text
    opening, closing = {"]": "(", "[": "["}, {"[": ")", "]": "]"}
    return "\\cup ".join(opening[part["open"]] + part["ends"] + closing[part["close"]] for part in parts if part)


def _many(kind: str, parts: list[str], depth: int, label: str, brackets: str = "") -> Shape:
    if kind == "tuple" and any(_PM.search(part) for part in parts):
        return _sign_tuples(parts, depth, label, brackets)
    items: list[Shape] = []
    for part in parts:
        item = shape_of(part, depth + 1)
        items.extend(
            item.parts if kind != "tuple" and item.kind == "list" and item.text.startswith("\\pm:") else [item]
        )
    return Shape(kind, ", ".join(parts), tuple(items), brackets, label)


def _sign_tuples(parts: list[str], depth: int, label: str, brackets: str) -> Shape:
    r"""The points of a tuple with signs: (\pm 3, \pm 2) is four points, (\pm 3, \mp 2) is two."""
    count = sum(len(_PM.findall(part)) for part in parts)
    joined = any("\\mp" in part for part in parts)
    if count > _SIGNS:
        return Shape("atom", f"({', '.join(parts)})", label=label)
    points = []
    for signs in product("+-", repeat=1 if joined else count):
        point, turned = ", ".join(parts).replace("\\mp", "-" if signs[0] == "+" else "+"), iter(signs * count)
        while _PM.search(point):
            point = _PM.sub(next(turned), point, count=1)
        spelled = [re.sub(r"^\+\s*|(?<=-)\s+", "", part.strip()) for part in split_top(point)]
        points.append(_many("tuple", spelled, depth + 1, label, brackets))
    return Shape("list", "\\pm: " + ", ".join(parts), tuple(points))


def _list(parts: list[str], depth: int, label: str) -> Shape:
    if any(not part.strip() or set(part) <= set(". ") or "dots" in part for part in parts):
        return Shape("atom", ", ".join(parts), label=label)
    parts = _points(parts)
    items: list[Shape] = []
    for part in parts:
        item = shape_of(part, depth + 1)
        items.extend(item.parts if item.kind == "list" and item.text.startswith("\\pm:") else [item])
    if all(item.kind in ("interval", "union") and item.relation for item in items):
        if len(items) == 2 and (joined := _joined(items, label)):
            return joined
        return Shape("atom", ", ".join(parts), label=label)  # "and" or "or": math-verify decides
    return Shape("list", ", ".join(parts), tuple(items), "", label)


def _points(parts: list[str]) -> list[str]:
    """The points of a labelled list: "(x,y) = (0,1), (1,0)" is both points."""
    named = _POINT.match(parts[0])
    if named and all(part.startswith("(") and not _POINT.match(part) for part in parts[1:]):
        return [parts[0][named.end() :], *parts[1:]]
    return parts


def _joined(items: list[Shape], label: str) -> Shape | None:
    """The set of two inequalities: "x < 2, x > 5" can only be a union, "x > 2, x < 5" only an interval; None if unclear."""
    low, high = sorted(items, key=lambda item: "\\infty" in item.parts[0].text if item.parts else False)
    if any(item.kind != "interval" for item in items) or low.label != high.label:
        return None
    if "\\infty" not in low.parts[1].text or "\\infty" not in high.parts[0].text:
        return None
    start, stop = read_quantity(low.parts[0].text), read_quantity(high.parts[1].text)
    if start is None or stop is None or start.value == stop.value:
        return None
    if start.value > stop.value:
        return Shape("union", "", (high, low), "", low.label, True)
    ends = (low.parts[0], high.parts[1])
    return Shape("interval", "", ends, low.brackets[0] + high.brackets[1], low.label, True)


def _punctured(point: str, name: str) -> Shape:
    """The set of all real numbers except one."""
    ends = (("-\\infty", point.strip()), (point.strip(), "\\infty"))
    pieces = tuple(Shape("interval", "", (Shape("atom", a), Shape("atom", b)), "()", name, True) for a, b in ends)
    return Shape("union", point, pieces, "", name, True)


def _absolute(match: re.Match[str]) -> Shape:
    """The set of an inequality with an absolute value: |x| < a."""
    name, bound, strict = match.group("name"), match.group("bound").strip(), match.group("sign") in "<>"
    minus = Shape("atom", bound[1:] if bound.startswith("-") else f"-{bound}")
    plus = Shape("atom", bound)
    if match.group("sign") in ("<", "\\le"):
        return Shape("interval", "", (minus, plus), "()" if strict else "[]", name, True)
    below = Shape("interval", "", (Shape("atom", "-\\infty"), minus), "()" if strict else "(]", name, True)
    above = Shape("interval", "", (plus, Shape("atom", "\\infty")), "()" if strict else "[)", name, True)
    return Shape("union", "", (below, above), "", name, True)


def _union(parts: list[str], depth: int, label: str, kind: str) -> Shape:
    items: list[Shape] = []
    for part in _points(parts):
        item = shape_of(part, depth + 1)
        values = kind == "or" and item.kind == "list" and not any(member.label for member in item.parts)
        items.extend(item.parts if item.kind == "union" or values else [item])
    if kind == "or" and not all(item.relation for item in items):
        return Shape("list", ", ".join(parts), tuple(items), "", label)
    names = {item.label for item in items if item.label}
    return Shape("union", " ".join(parts), tuple(items), "", names.pop() if len(names) == 1 else label, kind == "or")


def _bracketed(text: str, depth: int, label: str) -> Shape | None:
    """The shape of a text that is one pair of brackets."""
    builder = _BUILDER.fullmatch(text)
    if builder and len(split_top(text[2:-2])) == 1:
        inner = shape_of(builder.group(1), depth + 1)
        if inner.relation or inner.kind in ("interval", "union"):
            return inner
        return None
    if text.startswith("\\{") and text.endswith("\\}") and _closes_at_end(text, 2):
        return _many("set", split_top(_AND.sub(",", text[2:-2])), depth, label)
    if text.startswith("\\langle") and text.endswith("\\rangle"):
        return _many("tuple", split_top(text[7:-7]), depth, label, "()")
    turned = _TURNED.get((text[0], text[-1]))
    if turned and len(parts := split_top(text[1:-1])) == 2:
        return replace(_many("interval", parts, depth, label, turned), relation=True)
    if (text[0], text[-1]) not in _BRACKETS or not _closes_at_end(text, 1):
        return None
    parts = split_top(text[1:-1])
    if len(parts) < 2:
        return None
    brackets = text[0] + text[-1]
    infinite = any("\\infty" in part for part in parts)
    if len(parts) == 2 and (brackets in ("(]", "[)") or brackets == "[]" or infinite):
        return _many("interval", parts, depth, label, brackets)
    if brackets not in ("()", "[]"):
        return Shape("atom", text, label=label)
    return _many("tuple", parts, depth, label, brackets)


def _closes_at_end(text: str, width: int) -> bool:
    depth = 0
    for index, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return index == len(text) - 1
    return False


def _single(text: str, depth: int, label: str) -> Shape:
    if _REALS.fullmatch(text) and len(text) > 1:
        return Shape("interval", text, (Shape("atom", "-\\infty"), Shape("atom", "\\infty")), "()", label)
    part = named_reals(text)
    if part is not None:
        low, high, brackets = part
        if brackets == "!=":
            return _punctured(low, label)
        return Shape("interval", text, (Shape("atom", low), Shape("atom", high)), brackets, label)
    absolute = _ABSOLUTE.fullmatch(text) if "|" in text else None
    if absolute:
        return _absolute(absolute)
    relation = split_relation(text)
    if relation is not None:
        name, low, high, brackets = relation
        if brackets == "!=":
            return _punctured(low, name)
        return Shape("interval", text, (Shape("atom", low), Shape("atom", high)), brackets, name, True)
    named, value = strip_label(text)
    if value != text:
        return shape_of(value, depth + 1, named)
    if len(_PM.findall(text)) == 1:
        both = tuple(Shape("atom", _PM.sub(sign, text, 1).strip().lstrip("+"), label=label) for sign in ("+", "-"))
        return Shape("list", f"\\pm: {text}", both, "", label)
    return Shape("atom", text, label=label)
