"""Base classes of the guards: an action, and the count of consecutive bad observations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tersely.core.errors import ConfigError, require_choice, require_range

ACTIONS = ("warn", "stop", "roll_back")
WHY_NOT = {
    "warn": "the run cannot continue usefully after it",
    "roll_back": "older weights would not fix it",
}


@dataclass
class Guard:
    """`name`: key in the recipe; `actions`: the valid actions."""

    name: ClassVar[str]
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    statistics: ClassVar[tuple[str, ...]] = ()
    """Step metrics that it reads."""

    action: str = "warn"

    def __post_init__(self) -> None:
        require_choice(f"guards.{self.name}.action", self.action, ACTIONS)
        if self.action not in self.actions:
            valid = " or ".join(self.actions)
            raise ConfigError(
                f"guards.{self.name}.action: got {self.action!r}; expected {valid}: {WHY_NOT.get(self.action, '')}"
            )


@dataclass
class Counting(Guard):
    """Watches `statistics`, means over an optimiser step; a step without one of them, or with nan, is not an observation.

    `seen(step, *values)` counts, and returns a message after `patience` bad observations in a row; it re-arms after a good
    one. Its state is saved with the checkpoints.
    """

    fix: ClassVar[str] = ""

    threshold: float = 1.0
    patience: int = 1
    """Number of consecutive bad observations before the guard acts."""
    streak: int = field(init=False, default=0)
    since: int = field(init=False, default=0)
    """Step of the first bad observation of the streak."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.threshold", self.threshold, above=0)
        require_range(f"guards.{self.name}.patience", self.patience, at_least=1)

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
        if self.streak != self.patience:
            return None
        how_often = f", {self.patience} times in a row" if self.patience > 1 else ""
        return f"guard {self.name}: {wrong}{how_often}. {self.fix}"

    def state_dict(self) -> dict[str, Any]:
        return {"streak": self.streak, "since": self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.streak, self.since = int(state["streak"]), int(state["since"])


@dataclass
class Share(Counting):
    """A counting guard whose threshold is a share, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.threshold", self.threshold, at_most=1)
