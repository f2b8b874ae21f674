"""Guards that compare with the run's own beginning: collapse and explosion.

The beginning is the mean over the first `warmup` observations of a stage, in which the guard is quiet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from tersely.checks import require_range
from tersely.rl.guards.guard import Counting

TOKENS = "efficiency/tokens_mean"


@dataclass
class Relative(Counting):
    """Compares with the run's own beginning."""

    what: ClassVar[str]
    falls: ClassVar[bool]

    warmup: int = 5
    """Observations that make the reference."""
    first: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.warmup", self.warmup, at_least=1)
        bound = {"below": 1.0} if self.falls else {"above": 1.0}
        require_range(f"guards.{self.name}.threshold", self.threshold, **bound)

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.warmup:
            self.first.append(values[0])
            return None
        limit = self.threshold * fmean(self.first)
        if not (values[0] <= limit if self.falls else values[0] > limit):
            return None
        side = "at most" if self.falls else "more than"
        return f"{self.what} {values[0]:.4g}, {side} {self.threshold:g} of {fmean(self.first):.4g} at the beginning"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": list(self.first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first = [float(value) for value in state["first"]]


@dataclass
class LengthCollapse(Relative):
    """Answers of almost no tokens: the length term is paid where nothing else is."""

    name, statistics, what, falls = "length_collapse", (TOKENS,), "tokens a completion are", True
    mend = "Lower the weight of the length term, or keep unsolved prompts out of it by filter: any_right"

    threshold: float = 0.1
    patience: int = 3


@dataclass
class LengthExplosion(Relative):
    """Answers that grow without end, up to the cap."""

    name, statistics, what, falls = "length_explosion", (TOKENS,), "tokens a completion are", False
    mend = "Look at the completions; lower learning_rate or max_completion_length, or add a length term"

    threshold: float = 4.0
    patience: int = 3


@dataclass
class EntropyCollapse(Relative):
    """A policy that draws the same tokens every time: groups of equal rollouts have nothing to learn from."""

    name, statistics, what, falls = "entropy_collapse", ("entropy",), "entropy is (nats a token)", True
    mend = "Lower learning_rate, raise policy {clip_high}, or take a policy that keeps entropy"

    threshold: float = 0.05
    patience: int = 5


@dataclass
class EntropyExplosion(Relative):
    """A policy that falls apart into noise."""

    name, statistics, what, falls = "entropy_explosion", ("entropy",), "entropy is (nats a token)", False
    mend = "Lower learning_rate, or the temperature or entropy bonus if there is one"

    threshold: float = 5.0
    patience: int = 3
