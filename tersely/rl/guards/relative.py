"""Guards against collapse and explosion, compared with the beginning of the run.

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
    """Base class of guards that compare with the beginning of the run."""

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
    """Answers with almost no tokens: only the length term is rewarded."""

    name, statistics, what, falls = "length_collapse", (TOKENS,), "tokens per completion are", True
    fix = "Lower the weight of the length term, or exclude unsolved prompts with filter: any_right"

    threshold: float = 0.1
    patience: int = 3


@dataclass
class LengthExplosion(Relative):
    """Answers that grow up to the cap: to a multiple of the beginning, or most of the way from there to the cap.

    The second test is skipped if the lengths at the beginning are already close to the cap.
    """

    name, statistics, what, falls = "length_explosion", (TOKENS, CAP_SHARE), "tokens per completion are", False
    fix = "Look at the completions; lower learning_rate or max_completion_length, or add a length term"

    threshold: float = 4.0
    patience: int = 3
    to_cap: float = 0.75
    """Share of the distance from the beginning's mean to the cap that counts as an explosion."""

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
"""Share of the cap above which the mean length at the beginning makes the second test meaningless."""


@dataclass
class Unending(Counting):
    """Completions that no longer end: most are truncated at the cap, unlike earlier in the run.

    Compares the share of completions that end with the best `warmup` consecutive observations so far, which also detects a
    run that first learns to end and then forgets it. For a run whose completions never ended, see `truncation`.
    """

    name, statistics = "unending", (TRUNCATED,)
    fix = (
        "Look at the completions of this step: they run to max_completion_length, often in a loop. Lower learning_rate, "
        "use lr_scheduler_type: linear, or resume from an earlier checkpoint"
    )

    threshold: float = 0.5
    """Minimum share of ended completions, relative to the best so far."""
    patience: int = 3
    action: str = "stop"
    warmup: int = 5
    """Observations that make the reference."""
    last: list[float] = field(init=False, default_factory=list)
    best: float = field(init=False, default=0.0)
    """Largest mean share of ended completions over `warmup` consecutive observations."""

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
"""Share of ended completions below which it can halve by chance."""


@dataclass
class EntropyCollapse(Relative):
    """A policy that always samples the same tokens: groups of equal rollouts have no signal."""

    name, statistics, what, falls = "entropy_collapse", ("entropy",), "entropy is (nats per token)", True
    fix = "Lower learning_rate, raise loss {clip_high}, or use a loss that keeps entropy"

    threshold: float = 0.05
    patience: int = 5


@dataclass
class EntropyExplosion(Relative):
    """A policy that becomes random."""

    name, statistics, what, falls = "entropy_explosion", ("entropy",), "entropy is (nats per token)", False
    fix = "Lower learning_rate, or the temperature or entropy bonus if there is one"

    threshold: float = 5.0
    patience: int = 3
