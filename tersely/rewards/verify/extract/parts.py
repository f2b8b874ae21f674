r"""Answers in labelled parts, such as "(a) 3 (b) 5" or `\text{(i) } 3 \quad \text{(ii) } 5`, and the options of a prompt."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")
_FAMILIES = (tuple("abcdefgh"), tuple("12345678"), _NUMERALS, tuple("ⅠⅡⅢⅣⅤⅥⅦⅧ"))
_MARK = re.compile(
    r"(?:(?:\\text\s*\{\s*)?(?i:part)\s+)?(?:\\text\s*\{\s*)?(?:[(（]\s*)?(?:\\text\s*\{\s*)?"
    r"(?P<label>[a-h]|[1-8]|[ivIV]{1,4}|[Ⅰ-Ⅷ])\s*(?:\}\s*)?[)）]\s*(?:\}\s*)?[:=]?\s*"
)
_BEFORE = frozenset(" ,;}.\n$")
_UNFINISHED = re.compile(r"(?:[-+*/=^_<>(\[{:]|\\(?:cdot|times|div|pm|le|ge|ne|in|cup|cap|frac|sqrt))\s*$")
_ENDS = re.compile(r"(?:[\s,;.]|(?:\\text\s*\{\s*(?:,\s*)?and\s*\}|(?<![A-Za-z\\])and)\s*$)+$")
_WHOLE = re.compile(r"\\text\s*\{([^{}]*)\}")
_LINE = re.compile(r"(?im)^[\s*#>_]*(?:part\s+)?\(?(?P<label>[a-h]|[1-8]|i{1,3}|iv|v)\)[*_:.]*")
_OPTION = re.compile(
    r"(?:^|(?<=[\s$~{(*]))(?:\\(?:text(?:bf|rm)?|mathrm|mathbf|bf|rm)\s*\{?\s*)?\(?(?P<label>[A-H])\s*"
    r"(?:\)|[.:](?=[\s~\\]))\s*\}?",
    re.MULTILINE,
)
_OPTIONS_REACH = 3000
_FEWEST_OPTIONS = 3


def in_parts(text: str) -> list[str] | None:
    """The contents of the parts of a tidied answer, in order; None if it is not in at least two parts."""
    whole = _WHOLE.fullmatch(text)
    text = whole.group(1).strip() if whole else text
    first = _MARK.match(text)
    if first is None:
        return None
    label = _label(first)
    family = next((names for names in _FAMILIES if names[0] == label), None)
    if family is None:
        return None
    found: list[str] = []
    begin = first.end()
    for match in _MARK.finditer(text, begin):
        content = text[begin : match.start()]
        expected = len(found) + 1 < len(family) and _label(match) == family[len(found) + 1]
        if not expected or not content or (content[-1] not in _BEFORE and match.group()[0] != "\\"):
            continue
        if not _closed(content) or _UNFINISHED.search(content):
            continue
        found.append(content)
        begin = match.end()
    found = [_ENDS.sub("", content).strip() for content in (*found, text[begin:])]
    return found if len(found) > 1 and all(map(_has_content, found)) else None


def _label(match: re.Match[str]) -> str:
    return match.group("label").lower() if match.group("label").isascii() else match.group("label")


def _closed(text: str) -> bool:
    """Whether no bracket is open, so that a label after the text is at the outermost level."""
    return all(text.count(opening) <= text.count(closing) for opening, closing in ("()", "[]", "{}"))


def _has_content(text: str) -> bool:
    return any(char.isalnum() for char in text)


def spelled_in_parts(text: str) -> str:
    """An answer in parts with numbers for labels: "a) 3, b) 5" as "(1) 3; (2) 5"; another text as it is."""
    parts = in_parts(text)
    return text if parts is None else "; ".join(f"({number}) {part}" for number, part in enumerate(parts, start=1))


def labelled_lines(text: str) -> list[str]:
    """The segments of a response that begin with (a), (b), ... on their own lines; the last one of a repeated label."""
    marks = list(_LINE.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    segments = {mark.group("label").lower(): text[mark.end() : end] for mark, end in zip(marks, ends, strict=False)}
    for family in _FAMILIES:
        if segments and set(segments) == set(family[: len(segments)]):
            return [segments[label] for label in family[: len(segments)]]
    return []


@lru_cache(maxsize=2048)
def options_of(prompt: str) -> dict[str, str]:
    """Options by letter of a multiple-choice prompt: {"A": "10 cm", "B": "12 cm", ...}; empty for other prompts."""
    marks = list(_OPTION.finditer(prompt, max(0, len(prompt) - _OPTIONS_REACH)))
    start = next((index for index in reversed(range(len(marks))) if marks[index].group("label") == "A"), None)
    if start is None:
        return {}
    run = [marks[start]]
    for mark in marks[start + 1 :]:
        if mark.group("label") == chr(ord("A") + len(run)):
            run.append(mark)
    if len(run) < _FEWEST_OPTIONS:
        return {}
    ends = [*(mark.start() for mark in run[1:]), len(prompt)]
    texts = [prompt[mark.end() : end].split("\n\n")[0].strip() for mark, end in zip(run, ends, strict=True)]
    return {mark.group("label"): text for mark, text in zip(run, texts, strict=True)}
