r"""Finds an answer for a scorer: the whole text in the box or the answer element, as the model wrote it.

`find_answer` tidies an answer for the comparison of formulas: it drops sentences, signs and marks. A scorer may need all
of these, and several lines. An answer counts in the same places: after the thinking, and not if the text denies it.
"""

from __future__ import annotations

import json

from tersely.rewards.verify.extract.boxes import box_span
from tersely.rewards.verify.extract.find import after_thinking, find_answer
from tersely.rewards.verify.extract.modifiers import denied_after, denied_before, turns

_BOX = "\\boxed{"
_REACH = 200


def find_whole_answer(text: str, contract: str = "answer") -> str | None:
    """The answer of a response, with all its lines and signs; None without one. Never raises."""
    read = after_thinking(text, contract)
    if read is None:
        return None
    box = _json_box(read) or box_span(read)
    if box is None and contract != "boxed":
        element = _element(read)
        return element if element is not None else find_answer(text, contract)
    if box is None:
        return None
    content, start, end = box
    if contract != "boxed":
        after = read[end : end + _REACH]
        if denied_before(read[max(0, start - _REACH) : start]) or denied_after(after):
            return None
        if turns(after):
            return find_answer(text, contract)
    return content if content.strip() else None


def _json_box(text: str) -> tuple[str, int, int] | None:
    """(content, start, end) of a last box with a JSON list or object, whose strings may contain unbalanced braces."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    begin = start + len(_BOX)
    while begin < len(text) and text[begin].isspace():
        begin += 1
    if text[begin : begin + 1] not in ("{", "["):
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    close = end
    while close < len(text) and text[close].isspace():
        close += 1
    return (text[begin:end], start, close + 1) if text[close : close + 1] == "}" else None


def _element(text: str) -> str | None:
    """The content of the last `<answer>` element; None without one or without content."""
    close = text.rfind("</answer>")
    begin = text.rfind("<answer>", 0, close) if close >= 0 else -1
    if begin < 0:
        return None
    return text[begin + len("<answer>") : close].strip() or None
