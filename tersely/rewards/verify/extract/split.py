r"""Splits the text of an answer at its outermost level: at commas, at relations, after a label."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_RELATION = re.compile(r"\\(?:le|ge|ne)(?![A-Za-z])|<=|>=|!=|<|>")
_NAMES = {"\\le": "<=", "\\ge": ">=", "\\ne": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!="}
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_VARIABLE = re.compile(r"(?:\\[A-Za-z]+|[A-Za-z])(?:_\{?\w+\}?)?'?")
_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|theta|lambda|mu|nu|xi|rho|sigma|tau|phi|varphi|omega|psi|eta|kappa"
    r"|Delta|Omega|Gamma|Theta|Lambda|Phi|Psi|Sigma|angle|text)(?![A-Za-z])"
)
_LABEL = re.compile(
    r"""(?:
      (?:\\[A-Za-z]+|[A-Za-z])[A-Za-z]{0,2}'{0,2}(?:\s*_\s*(?:\{[^{}]{1,12}\}|\w))?(?:\s*\^\{?-1\}?)?
        (?:\s*\(\s*[^()=]{1,24}\))?
    | \\text\s*\{[^{}]{1,60}\}(?:\s*_\s*(?:\{[^{}]{1,12}\}|\w))?
    | \\(?:overline|overrightarrow|vec|mathbf|widehat|hat|bar)\s*\{[^{}]{1,12}\}
    | \\frac\s*\{\s*(?:d|\\partial)\s*[A-Za-z]\s*\}\s*\{\s*(?:d|\\partial)\s*[A-Za-z]\s*\} | d[A-Za-z]\s*/\s*d[A-Za-z]
    | \\angle\s*[A-Z]{1,3}
    | [A-Za-z][A-Za-z .'\-]{1,40}
    | \|?[A-Z]{2}\|? | \|[A-Z]\| | \\det\s*(?:[A-Z]|\(\s*[A-Z]\s*\))
    )""",
    re.VERBOSE,
)
_COLON_LABEL = re.compile(
    r"(?:\\text\s*\{[^{}:]{1,60}:?\s*\}|[A-Za-z][A-Za-z .'\-]{1,40}|[A-Za-z](?:_\{?\w+\}?)?)\s*:\s*(?=\S)"
)
_EQUALS = re.compile(r"(?<![<>!:\\])=(?!=)|\\(?:equiv|approx|simeq|sim|coloneqq)(?![A-Za-z])")


def _levels(text: str) -> Iterator[tuple[int, str]]:
    """(index, char) of each character outside all brackets; a brace after a backslash does not count."""
    depth, hidden = 0, False
    for index, char in enumerate(text):
        if hidden:
            hidden = False
            if char in "{}":
                depth += 1 if char == "{" else -1
            continue
        if char == "\\":
            hidden = True
            if depth == 0:
                yield index, char
            continue
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0:
            yield index, char


def split_top(text: str, marks: str = ",;") -> list[str]:
    """The parts between commas and semicolons outside all brackets; thousands ("1,000") stay together."""
    if not any(mark in text for mark in marks):
        return [text.strip()]
    cuts = []
    for index, char in _levels(text):
        if char in marks and not _thousands(text, index):
            cuts.append(index)
    bounds = [-1, *cuts, len(text)]
    return [text[a + 1 : b].strip() for a, b in zip(bounds, bounds[1:], strict=False)]


def _thousands(text: str, index: int) -> bool:
    """Whether a comma without a space is between one to three digits and exactly three, so it is not a list."""
    if text[index] != ",":
        return False
    before = re.search(r"(?:^|[^\d,.])([1-9]\d{0,2}(?:,\d{3})*)$", text[max(0, index - 24) : index])
    after = re.match(r"\d{3}(?!\d)", text[index + 1 :])
    return bool(before and after)


def parts_at(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The parts around the matches of a pattern outside all brackets."""
    found = list(pattern.finditer(text))
    if not found:
        return [text.strip()]
    outside = {index for index, _ in _levels(text)}
    parts, last = [], 0
    for match in found:
        begin = match.start() + len(match.group()) - len(match.group().lstrip(" ,"))
        if begin in outside:
            parts.append(text[last : match.start()].strip())
            last = match.end()
    parts.append(text[last:].strip())
    return parts


def _outermost(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The matches that begin outside all brackets."""
    found = list(pattern.finditer(text))
    if not found:
        return []
    outside = {index for index, _ in _levels(text)}
    return [match for match in found if match.start() in outside]


def split_relation(text: str) -> tuple[str, str, str, str] | None:
    """(variable, low, high, brackets) of `a < x <= b`, `x > a`, `a >= x`; brackets "!=" with the value as low."""
    marks = _outermost(_RELATION, text)
    if not 1 <= len(marks) <= 2 or _EQUALS.search(_RELATION.sub(" ", text)):
        return None
    bounds = [0, *[edge for mark in marks for edge in mark.span()], len(text)]
    sides = [text[a:b].strip() for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    signs = [_NAMES[mark.group()] for mark in marks]
    if not all(sides):
        return None
    if len(signs) == 2:
        if not _is_variable(sides[1]) or signs[0][0] != signs[1][0] or "!=" in signs:
            return None
        if signs[0][0] == ">":
            sides, signs = sides[::-1], [_FLIP[sign] for sign in signs[::-1]]
        brackets = ("[" if signs[0] == "<=" else "(") + ("]" if signs[1] == "<=" else ")")
        return sides[1], sides[0], sides[2], brackets
    left, right = sides
    sign = signs[0]
    if not _is_variable(left):
        if not _is_variable(right) or sign == "!=":
            return None
        left, right, sign = right, left, _FLIP[sign]
    if sign == "!=":
        return left, right, "", "!="
    if _is_variable(right) and right < left:
        left, right, sign = right, left, _FLIP[sign]  # B > A as A < B
    if sign[0] == "<":
        return left, "-\\infty", right, "(]" if sign == "<=" else "()"
    return left, right, "\\infty", "[)" if sign == ">=" else "()"


def _is_variable(text: str) -> bool:
    return bool(_VARIABLE.fullmatch(text)) and (not text.startswith("\\") or bool(_GREEK.match(text)))


def strip_label(text: str) -> tuple[str, str]:
    """("x", "5") of "x = 5", "Paolo: 5", "x = y = 5"; ("", text) without a label.

    The value of a chain of equalities is its last member; the value of an approximation is the exact side. The text before the
    first sign must look like a name: "x^2 + y^2 = 4" is an equation and stays whole.
    """
    colon = _COLON_LABEL.match(text) if ":" in text else None
    if colon and not re.match(r"[\d:]", text):
        rest = text[colon.end() :].strip()
        if rest:
            return colon.group().rstrip(" :"), rest
    marks = _outermost(_EQUALS, text)
    if not marks:
        return "", text
    first = text[: marks[0].start()].strip()
    exact = [mark for mark in marks if mark.group() == "="]
    approximate = [mark for mark in marks if mark.group() != "="]
    end = approximate[0].start() if approximate and exact and approximate[0].start() > exact[0].start() else len(text)
    exact = [mark for mark in exact if mark.end() <= end]
    if not exact:
        if approximate and not _LABEL.fullmatch(first):
            return "", first  # the value of "1/3 \approx 0.33" is 1/3
        return (first, text[approximate[-1].end() :].strip()) if approximate else ("", text)
    if not _LABEL.fullmatch(first):
        last = text[exact[-1].end() : end].strip()
        if len(exact) == 1 and re.fullmatch(r"[A-Za-z]", last) and re.fullmatch(r"[-\d./\\{}a-z ]+", first):
            return last, first  # 5 = x
        return "", text
    return first, text[exact[-1].end() : end].strip()
