r"""Finds the last `\boxed{...}` of a text, from its end, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator

BOXES = ("\\boxed", "\\fbox", "\\framebox")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\\?[A-Za-z]+|[^\s${}\\]")
# What may stand between two boxes that together are one answer.
_GAP = re.compile(
    r"(?:[\s,;$.]|\\[()\[\],;!: ]|\\q?quad(?![A-Za-z])|and|or"
    r"|\\(?:text|mathrm|textrm)\s*\{\s*,?(?:and|or)?,?\s*\}|[a-zA-Z](?:_\{?\w\}?)?\s*=)*"
)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_NAMED = re.compile(r"(?:[A-Za-z]\w{0,8}\s*=\s*)?(?=\\(?:boxed|fbox|framebox)(?![A-Za-z]))")
_NEW_STATEMENT = re.compile(r"\b(?:thus|but|so|hence|then|therefore|not)\b")
_NESTED = 8
_GAP_LIMIT = 60
_MERGE_LIMIT = 24
_CONTENT_LIMIT = 1_000_000


def last_box(text: str) -> str | None:
    """The content of the last box, see `box_span`; None where there is no box."""
    span = box_span(text)
    return None if span is None else span[0]


def box_span(text: str) -> tuple[str, int, int] | None:
    r"""(content, start, end) of the last balanced box; neighbouring boxes are joined by commas. None without a box.

    `\boxed{5} and \boxed{7}` is the list "5,7", which pays only where the gold is that list. Boxes with other text
    between them: the last one. A box inside a box belongs to the outer one. A box that never closes (a truncated text)
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
        if start_of_next is None or end > last_end:  # the last box, or one that holds all that was found
            around += 1
            found, last_end = [_unboxed(content)], end
            if around > _NESTED:
                return None
            if not content:
                return content, start, end  # an empty last box takes back what came before
        elif end > start_of_next:  # it holds a part of them
            break
        else:
            gap = text[end:start_of_next]
            joined += 1
            if len(gap) > _GAP_LIMIT or joined > _MERGE_LIMIT or not _GAP.fullmatch(gap):
                break
            if content not in found:
                found.append(content)
        start_of_next = start
    if not found or start_of_next is None:
        return None
    return ",".join(reversed(found)), start_of_next, last_end


def all_boxes(text: str) -> str:
    """The contents of the boxes of a short reference answer, joined by commas, back to where another statement begins."""
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
    r"""`3 + \boxed{5}`, the content of a box, is `3 + {5}`; `\boxed{5}` and `x = \boxed{5}` are 5."""
    for _ in range(_NESTED):
        named = _NAMED.match(content)
        inner = _content(content, named.end(), len(content)) if named else None
        if inner is None or inner[1] != len(content):
            break
        content = inner[0]
    return _BOX.sub("", content) if has_box(content) else content


def has_box(text: str) -> bool:
    return any(command in text for command in BOXES)


def _starts(text: str) -> Iterator[int]:
    """Where the box commands stand, last first. Each `rfind` resumes where that command was last seen."""
    at = {command: text.rfind(command) for command in BOXES}
    while True:
        command = max(at, key=at.__getitem__)
        start = at[command]
        if start < 0:
            return
        yield start
        at[command] = text.rfind(command, 0, start)


def _content(text: str, start: int, limit: int) -> tuple[str, int] | None:
    """(content, end) of the box at `start`; None where it does not close before `limit`.

    A box that is still open where the next, unclosed one begins can never close: so no text is read twice.
    """
    index = start + 1
    while index < len(text) and text[index].isalpha():
        index += 1
    while index < len(text) and text[index].isspace():
        index += 1
    if text[index : index + 1] != "{":
        token = _TOKEN.match(text, index)
        return (token.group(), token.end()) if token else None
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
