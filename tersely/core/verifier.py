"""Base class of verifiers, with all optional hooks and their defaults.

A verifier from outside the package needs only `verify(golds, responses)`; `complete(AnswerVerifier, verifier)` adds the rest.
The project's own is `tersely.rewards.Verifier`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class AnswerVerdict(Protocol):
    """The result on one answer, as `tersely.rewards.Verdict`."""

    @property
    def status(self) -> str:
        """correct, incorrect, no_answer or undecided."""

    @property
    def answer(self) -> str | None:
        """What was found in the response."""

    @property
    def correct(self) -> float:
        """1 correct; 0 incorrect or no answer; nan undecided."""


class AnswerVerifier:
    """Decides which responses are correct."""

    ended: bool = False
    """An answer counts only if its completion ended by itself."""

    def verify(
        self,
        golds: Sequence[str],
        responses: Sequence[str],
        prompts: Sequence[str] | None = None,
        progress: Callable[[int], None] | None = None,
        scorers: Sequence[str | None] | None = None,
    ) -> list[Any]:
        """One `AnswerVerdict` per response, in order. The signature may leave out all but the first two.

        progress: called with the number of responses just decided.
        scorers: for rows whose data set has a scorer, what `payload_of` makes of them; None for other rows.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Prepare without waiting, so that it overlaps with what comes next."""

    def stats(self) -> dict[str, float]:
        """Counters since the start."""
        return {}

    def close(self) -> None:
        """End processes and threads."""
