"""Parses a completion: mode, announced budget, and whether it keeps the output contract."""

from __future__ import annotations

import re
from dataclasses import dataclass

END_OF_THINKING = "</think>"

_OPENED_BY_TEMPLATE = re.compile(r"\A\s*(?:<[|｜][^|｜<>]{1,40}[|｜]>\s*\w{0,20}\s*)?")
"""Header that a chat template writes before the assistant's text, such as `<|im_start|>assistant`."""

_DOUBLED = re.compile(r"<think>\s*(?=<think>)")
"""Thinking opened by the template and again by a prefill; it counts as opened once."""


@dataclass(frozen=True)
class ParsedCompletion:
    well_formed: bool
    mode: str | None = None
    """`short`, `no_think` or `think`, unless the prompting component sets a mode."""
    budget: int | None = None
    """Token budget that the completion announces."""


def parse_completion(turn: str) -> ParsedCompletion:
    """Parse the assistant's whole turn (template opening, prefill, completion), for prompting without a contract.

    Well formed: thinking, if opened or closed at all, is closed exactly once, and an answer follows.
    Mode: `short` if the control token `<short>` comes first, `no_think` if thinking closes at once, else `think`.
    """
    turn = _DOUBLED.sub("", turn)
    opened, closed = turn.count("<think>"), turn.count("</think>")
    if opened or closed:
        formed = opened <= 1 and closed == 1 and bool(turn.rpartition("</think>")[2].strip())
    else:
        formed = bool(turn.strip())
    return ParsedCompletion(well_formed=formed, mode=_mode(turn))


def thinking_part(turn: str) -> str | None:
    """The text between `<think>` and the first `</think>`, or None if thinking never closes.

    Without `<think>`, the text before `</think>` without the chat template's header.
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
