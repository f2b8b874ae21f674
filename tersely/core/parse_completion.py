"""Parses a completion: mode, announced budget, and whether it keeps the output contract."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENED_BY_TEMPLATE = re.compile(r"\A\s*(?:<[|｜][^|｜<>]{1,40}[|｜]>\s*\w{0,20}\s*)?")
"""What a chat template writes before the assistant's own words, `<|im_start|>assistant` and its like."""

_DOUBLED = re.compile(r"<think>\s*(?=<think>)")
"""A template that opens thinking, before a prefill that opens it again: opened once."""


@dataclass(frozen=True)
class ParsedCompletion:
    well_formed: bool
    mode: str | None = None
    """`short`, `no_think` or `think` where no prompting component says otherwise."""
    budget: int | None = None
    """Tokens that the completion announced."""


def parse_completion(turn: str) -> ParsedCompletion:
    """The assistant's whole turn (what the template opened, prefill, completion), for prompting without a contract.

    Well formed: thinking, if it was opened or closed at all, is closed exactly once, and an answer follows.
    Mode: `short` where the control token `<short>` comes first, `no_think` where thinking closes at once, else `think`.
    """
    turn = _DOUBLED.sub("", turn)
    opened, closed = turn.count("<think>"), turn.count("</think>")
    if opened or closed:
        formed = opened <= 1 and closed == 1 and bool(turn.rpartition("</think>")[2].strip())
    else:
        formed = bool(turn.strip())
    return ParsedCompletion(well_formed=formed, mode=_mode(turn))


def thinking_part(turn: str) -> str | None:
    """The text between `<think>` and the first `</think>`, or None where thinking never closes.

    Without `<think>` it is what stands before `</think>`, less what the chat template wrote.
    """
    before, closed, _ = turn.partition("</think>")
    if not closed:
        return None
    if "<think>" in before:
        return before.rpartition("<think>")[2]
    return _OPENED_BY_TEMPLATE.sub("", before, count=1)


def _mode(turn: str) -> str:
    short, think = turn.find("<short>"), turn.find("<think>")
    if short >= 0 and (think < 0 or short < think):
        return "short"
    thinking = thinking_part(turn)
    return "no_think" if thinking is not None and not thinking.strip() else "think"
