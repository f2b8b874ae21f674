r"""Finds the last `\boxed{...}` of a text, from its end, in time linear in its length."""

from __future__ import annotations

import re

BOXES = ("\\boxed", "\\fbox", "\\framebox")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\\?[A-Za-z]+|[^\s${}\\]")
# What may stand between two boxes that together are one answer.
_GAP = re.compile(
    r"(?:[\s,;$.]|\\[()\[\],;!: ]|\\q?quad(?![A-Za-z])|and|or"
    r"|\\(?:text|mathrm|textrm)\s*\{\s*,?(?:and|or)?,?\s*\}|[a-zA-Z](?:_\{?\w\}?)?\s*=)*"
)
_GAP_LIMIT = 60
_MERGE_LIMIT = 24
_CONTENT_LIMIT = 1_000_000


def last_box(text: str) -> str | None:
    r"""The content of the last balanced box; neighbouring boxes are joined by commas. None where there is no box.

    `\boxed{5} and \boxed{7}` is the list "5,7", which pays only where the gold is that list. Boxes with other text
    between them: the last one. A box that never closes (a truncated text) is passed over.
    """
    found: list[str] = []
    start_of_next = None
    limit, joined = len(text), 0
    for start in _starts(text):
        span = _content(text, start, limit)
        if span is None:
            if found:
                break
            limit = start
            continue
        content, end = span
        if start_of_next is None:
            if not content:
                return content  # an empty last box takes back what came before
            found.append(content)
        elif end > start_of_next:  # it holds the box already taken
            break
        else:
            gap = text[end:start_of_next]
            joined += 1
            if len(gap) > _GAP_LIMIT or joined > _MERGE_LIMIT or not _GAP.fullmatch(gap):
                break
            if content not in found:
                found.append(content)
        start_of_next = start
    if not found:
        return None
    return ",".join(reversed(found))


def has_box(text: str) -> bool:
    return any(command in text for command in BOXES)


def _starts(text: str):
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
