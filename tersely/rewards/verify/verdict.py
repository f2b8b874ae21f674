"""`Verdict`: the result of the verifier on one answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

STATUSES = ("correct", "incorrect", "no_answer", "undecided")


@dataclass(frozen=True)
class Verdict:
    """One decided, or honestly undecided, answer."""

    status: str
    """right | wrong | no_answer | undecided. Undecided (timeout, memory, crash, refused) is never counted as wrong."""
    answer: str | None = None
    """What was found in the response, None where nothing was."""
    path: str = ""
    """What decided: exact, number, probe, engine, a repair's name, guard, timeout, memory, crash, budget, ..."""
    seconds: float = 0.0
    """Wall time of this decision alone."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"verdict.status is {self.status!r}; it is one of {', '.join(STATUSES)}")

    @property
    def correct(self) -> float:
        """1.0 right; 0.0 wrong or no answer; nan undecided."""
        if self.status == "undecided":
            return math.nan
        return 1.0 if self.status == "correct" else 0.0
