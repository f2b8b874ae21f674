"""What a completion says of itself: mode, announced budget, and whether it keeps the output contract."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParsedCompletion:
    well_formed: bool
    mode: str | None = None
    budget: int | None = None


def parse_completion(turn: str) -> ParsedCompletion:
    """The assistant's whole turn (what the template opened, prefill, completion), for plans without a contract.

    Well formed: thinking, if it was opened or closed at all, is closed exactly once, and an answer follows.
    """
    opened, closed = turn.count("<think>"), turn.count("</think>")
    if not opened and not closed:
        return ParsedCompletion(well_formed=bool(turn.strip()))
    return ParsedCompletion(well_formed=opened <= 1 and closed == 1 and bool(turn.rpartition("</think>")[2].strip()))
