"""`Verdict`: the result of the verifier on one answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

STATUSES = ("correct", "incorrect", "no_answer", "undecided")


@dataclass(frozen=True)
class Verdict:
    """The verdict on one answer."""

    status: str
    """correct | incorrect | no_answer | undecided. Undecided (timeout, memory, crash, refused) never counts as incorrect."""
    answer: str | None = None
    """The answer found in the response; None if there is none."""
    path: str = ""
    """The step that decided: exact, number, probe, engine, the name of a rule, guard, timeout, memory, crash, budget, ..."""
    seconds: float = 0.0
    """Wall time of this decision, seconds."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"verdict.status got {self.status!r}; expected one of {', '.join(STATUSES)}")

    @property
    def correct(self) -> float:
        """1.0 correct; 0.0 incorrect or no answer; nan undecided."""
        if self.status == "undecided":
            return math.nan
        return 1.0 if self.status == "correct" else 0.0
