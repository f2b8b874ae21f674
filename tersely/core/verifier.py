"""Base class of verifiers, with all optional hooks and their defaults.

The package calls `verify_rows`. A verifier from outside needs only `verify(golds, responses)`;
`complete(AnswerVerifier, verifier)` adds the rest.
The project's own is `tersely.rewards.Verifier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tersely.core.errors import ConfigError


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

    def verify(self, golds: Sequence[str], responses: Sequence[str]) -> list[Any]:
        """One `AnswerVerdict` per response, in order."""
        raise NotImplementedError

    def verify_rows(self, rows: Sequence[Mapping[str, Any]], responses: Sequence[str]) -> list[Any]:
        """One `AnswerVerdict` per row of the dataset, in order: `verify` with each row's `answer`. Override it to read the
        `problem`, or to grade rows that have a `scorer`; by default such a row is a `ConfigError`."""
        if any(row.get("scorer") for row in rows):
            raise ConfigError(
                f"verifier: {type(self).__name__} has no `verify_rows`, but the data has a scorer. Define "
                "`verify_rows(rows, responses)`, or set `scorer: verifier` in the dataset"
            )
        return self.verify([row["answer"] for row in rows], responses)

    def start(self) -> None:
        """Prepare without waiting, so that it overlaps with what comes next."""

    def stats(self) -> dict[str, float]:
        """Counters since the start."""
        return {}

    def close(self) -> None:
        """End processes and threads."""
