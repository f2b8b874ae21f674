r"""Finds the last `\boxed{...}` of a text, from its end, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator

BOXES = ("\\boxed", "\\fbox", "\\framebox")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\\?[A-Za-z]+|[^\s${}\\]")
# Text that may separate two boxes that are one answer together.
_GAP = re.compile(
    r"(?:[\s,;$.]|\\[()\[\],;!: ]|\\q?quad(?![A-Za-z])|and|or"
    r"|\\(?:text|mathrm|textrm)\s*\{\s*,?(?:and|or)?,?\s*\}|[a-zA-Z](?:_\{?\w\}?)?\s*=)*"
)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_NAMED = re.compile(r"(?:[A-Za-z]\w{0,8}\s*=\s*)?(?=\\(?:boxed|fbox|framebox)(?![A-Za-z]))")
_NEW_STATEMENT = re.compile(r"\b(?:thus|but|so|hence|then|therefore|not)\b")
_NESTED = 8
_GAP_LIMIT = 60
_BEFORE = 120  # characters before a box in which a neighbour without braces begins
_MERGE_LIMIT = 24
_PLAIN_LIMIT = 60  # maximum characters of a content without LaTeX, for which braces need no count
_CONTENT_LIMIT = 1_000_000


def last_box(text: str) -> str | None:
    """The content of the last box, see `box_span`; None without a box."""
    span = box_span(text)
    return None if span is None else span[0]


def box_span(text: str) -> tuple[str, int, int] | None:
    r"""(content, start, end) of the last balanced box; neighbouring boxes are joined by commas. None without a box.

    `\boxed{5} and \boxed{7}` is the list "5,7", which is correct only if the gold is that list. Of boxes with other text
    between them, the last one counts. A box inside a box belongs to the outer one. A box that never closes (a truncated text)
    is passed over.
    """
    found: list[str] = []
    start_of_next, last_end = None, 0
    limit, joined, around = len(text), 0, 0
    for start in _starts(text):
        span = _content(text, start, limit)
        if span is None:
            if found:
                break
            limit = start
            continue
        content, end = span
        if start_of_next is None or end > last_end:  # the last box, or one that contains all found so far
            around += 1
            found, last_end = [_unboxed(content)], end
            if around > _NESTED:
                return None
            if not content:
                return content, start, end  # an empty last box retracts the earlier ones
        elif end > start_of_next:  # it contains a part of them
            break
        else:
            gap = text[end:start_of_next]
            joined += 1
            if len(gap) > _GAP_LIMIT or joined > _MERGE_LIMIT or not _GAP.fullmatch(gap):
                break
            if content not in found:
                found.append(content)
        start_of_next = start
        if _stands_alone(text, start, last_end):
            break  # saves the search through the whole text before it
    if not found or start_of_next is None:
        return None
    return ",".join(reversed(found)), start_of_next, last_end


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no earlier box can contain the box at `start` or be joined to it, because no brace closes near it."""
    if text.find("}", end) >= 0 or text.find("}", max(0, start - _GAP_LIMIT - 1), start) >= 0:
        return False
    return text.find("box", max(0, start - _BEFORE), start) < 0


def all_boxes(text: str) -> str:
    """The contents of the boxes of a short reference answer, joined by commas. The search ends at a word such as "but"."""
    found: list[str] = []
    limit = len(text)
    for start in _starts(text):
        span = _content(text, start, limit)
        if span is not None and span[1] <= limit:
            if found and _NEW_STATEMENT.search(text, span[1], limit):
                break
            found.append(_unboxed(span[0]))
            limit = start
    return ",".join(reversed(found))


def _unboxed(content: str) -> str:
    r"""Removes boxes inside a content: `3 + \boxed{5}` is `3 + {5}`; `\boxed{5}` and `x = \boxed{5}` are 5."""
    if "box" not in content:
        return content
    for _ in range(_NESTED):
        named = _NAMED.match(content)
        inner = _content(content, named.end(), len(content)) if named else None
        if inner is None or inner[1] != len(content):
            break
        content = inner[0]
    return _BOX.sub("", content) if has_box(content) else content


def has_box(text: str) -> bool:
    return "box" in text and any(command in text for command in BOXES)


def _starts(text: str) -> Iterator[int]:
    """The positions of the box commands, last first. All of them contain "box", so one search finds them."""
    at = text.rfind("box")
    while at >= 0:
        if text.startswith("\\boxed", at - 1):
            yield at - 1
        elif text.startswith("\\fbox", at - 2):
            yield at - 2
        elif text.startswith("\\framebox", at - 6):
            yield at - 6
        at = text.rfind("box", 0, at)


def _content(text: str, start: int, limit: int) -> tuple[str, int] | None:
    """(content, end) of the box at `start`; None if it does not close before `limit`.

    A box that is still open at the start of the next, unclosed one can never close, so no text is read twice.
    """
    if text.startswith("\\boxed{", start):
        index = start + 6
    else:
        index = start + 1
        while index < len(text) and text[index].isalpha():
            index += 1
        while index < len(text) and text[index].isspace():
            index += 1
    if text[index : index + 1] != "{":
        token = _TOKEN.match(text, index)
        return (token.group(), token.end()) if token else None
    close = text.find("}", index, min(limit, index + _PLAIN_LIMIT))
    if close > 0 and (plain := text[index + 1 : close].strip()).isalnum():
        return plain, close + 1
    depth = 0
    for match in _BRACES.finditer(text, index, min(limit, index + _CONTENT_LIMIT)):
        brace = match.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return text[index + 1 : match.start()].strip(), match.end()
    return None
