"""Base classes of the guards: the parameters of a guard, and the count of consecutive bad observations."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tersely.configs.guards import CountingSpec, GuardSpec


class Guard:
    """`spec`: its parameters, from the recipe."""

    spec: GuardSpec
    statistics: ClassVar[tuple[str, ...]] = ()
    """Step metrics that it reads."""

    def __init__(self, spec: GuardSpec):
        self.spec = spec

    @property
    def name(self) -> str:
        """Key in the recipe."""
        return self.spec.name


class Counting(Guard):
    """Watches `statistics`, means over an optimizer step; a step without one of them, or with nan, is not an observation.

    `seen(step, *values)` counts, and returns a message after `patience` bad observations in a row; it re-arms after a good
    one. Its state is saved with the checkpoints.
    """

    spec: CountingSpec
    fix: ClassVar[str] = ""

    def __init__(self, spec: CountingSpec):
        super().__init__(spec)
        self.streak = 0
        self.since = 0
        """Step of the first bad observation of the streak."""

    def bad(self, *values: float) -> str | None:
        """Description of the problem with these values; None if they are good."""
        raise NotImplementedError

    def seen(self, step: int, *values: float) -> str | None:
        """Process one observation of every statistic."""
        if any(math.isnan(value) for value in values):
            return None
        wrong = self.bad(*values)
        if wrong is None:
            self.streak = 0
            return None
        self.since = step if self.streak == 0 else self.since
        self.streak += 1
        if self.streak != self.spec.patience:
            return None
        how_often = f", {self.spec.patience} times in a row" if self.spec.patience > 1 else ""
        return f"guard {self.name}: {wrong}{how_often}. {self.fix}"

    def state_dict(self) -> dict[str, Any]:
        return {"streak": self.streak, "since": self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.streak, self.since = int(state["streak"]), int(state["since"])
