"""The comparison of a scorer's workers: same interface as math-verify's `Engine`, with a payload as the reference."""

from __future__ import annotations

import json

from tersely.rewards.verify.scorers.grade import grade, load_scorer


class ScorerEngine:
    """Grades with one scorer, which is imported when this is built. Raises `ConfigError` if it cannot be."""

    def __init__(self, name: str):
        self.function = load_scorer(name)

    def compare(self, payload: str, answer: str) -> tuple[str, str]:
        """(status, path) of an answer. `payload`: text of `payload_of`."""
        return grade(self.function, json.loads(payload), answer)
