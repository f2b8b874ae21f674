"""Guards that compare with the beginning of the run: collapse and explosion.

The beginning is the mean over the first `warmup` observations of a stage, in which the guard does not fire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from tersely.core.errors import require_range
from tersely.rl.guards.base import Counting

TOKENS = "efficiency/tokens_mean"
CAP_SHARE = "efficiency/cap_share"
TRUNCATED = "efficiency/truncated"


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
    """Answers that grow without end, up to the cap: a multiple of the beginning, or most of the way from there to the cap.

    The second is not asked of a run whose beginning is close to the cap already.
    """

    name, statistics, what, falls = "length_explosion", (TOKENS, CAP_SHARE), "tokens a completion are", False
    mend = "Look at the completions; lower learning_rate or max_completion_length, or add a length term"

    threshold: float = 4.0
    patience: int = 3
    to_cap: float = 0.75
    """Share of the way from the beginning's mean to the cap that counts as an explosion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("guards.length_explosion.to_cap", self.to_cap, above=0, at_most=1)

    def bad(self, *values: float) -> str | None:
        tokens, cap_share = values
        ready = len(self.first) >= self.warmup
        wrong = super().bad(tokens)
        if wrong is not None or not ready or cap_share <= 0:
            return wrong
        cap, first = tokens / cap_share, fmean(self.first)
        if first > CLOSE_TO_CAP * cap or tokens < first + self.to_cap * (cap - first):
            return None
        return f"{self.what} {tokens:.4g}, {cap_share:.0%} of the cap of {cap:.0f}, after {first:.4g} at the beginning"


CLOSE_TO_CAP = 0.75
"""Share of the cap above which the mean length at the beginning says nothing of a growth up to the cap."""


@dataclass
class Unending(Counting):
    """Completions that have stopped ending: most are truncated at the cap, and earlier in this run they were not.

    The share of completions that end is compared with the best `warmup` observations in a row so far, so that a run which
    first learns to end, and then forgets it, is found too. A run in which completions never ended is left to `truncation`.
    """

    name, statistics = "unending", (TRUNCATED,)
    mend = (
        "Look at the completions of this step: they run to max_completion_length, often in a loop. Lower learning_rate, "
        "let it fall by lr_scheduler_type: linear, or resume from an earlier checkpoint"
    )

    threshold: float = 0.5
    """Share of the completions that ended at the run's best which still has to end."""
    patience: int = 3
    action: str = "stop"
    warmup: int = 5
    """Observations that make the reference."""
    last: list[float] = field(init=False, default_factory=list)
    best: float = field(init=False, default=0.0)
    """Largest mean share of completions that ended, over `warmup` observations in a row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.threshold", self.threshold, at_most=1)
        require_range(f"guards.{self.name}.warmup", self.warmup, at_least=1)

    def bad(self, *values: float) -> str | None:
        ended = 1.0 - values[0]
        best = self.best
        self.last = [*self.last, ended][-self.warmup :]
        if len(self.last) == self.warmup:
            self.best = max(best, fmean(self.last))
        if best < RARELY_ENDED or ended >= self.threshold * best:
            return None
        return (
            f"{values[0]:.0%} of the completions are truncated at the cap, after {1.0 - best:.0%} earlier in this run"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": list(self.last), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.last, self.best = [float(value) for value in state["last"]], float(state["best"])


RARELY_ENDED = 0.1
"""Share of completions that ended below which chance alone can halve it."""


@dataclass
class EntropyCollapse(Relative):
    """A policy that draws the same tokens every time: groups of equal rollouts have nothing to learn from."""

    name, statistics, what, falls = "entropy_collapse", ("entropy",), "entropy is (nats a token)", True
    mend = "Lower learning_rate, raise loss {clip_high}, or use a loss that keeps entropy"

    threshold: float = 0.05
    patience: int = 5


@dataclass
class EntropyExplosion(Relative):
    """A policy that falls apart into noise."""

    name, statistics, what, falls = "entropy_explosion", ("entropy",), "entropy is (nats a token)", False
    mend = "Lower learning_rate, or the temperature or entropy bonus if there is one"

    threshold: float = 5.0
    patience: int = 3
