"""Accuracy constraint: lowers the weight of the length terms while accuracy is below a floor.

Source: ours; dual ascent on "shorten, subject to accuracy >= (1 - delta) base", as constrained RL does it (1805.11074).
    A, T = means of accuracy and tokens over the last `window` batches            (rolling reference)
    base = given, or A over the first `window` batches, in which w = 0
    g    = 1 - delta - A / base ;   m <- clip(m + step g, 0, maximum), m unchanged where -dead_zone <= g <= 0
    w    = 1 / (1 + m) ;   a term with the outcome in it becomes  w r + (1 - w) c,  an additive one  w r
    alarm: g > collapse and T below the T of the last batch with g <= 0 ;  after a rollback  m <- 2 max(m, m before it) + 1
Symbols: accuracy by the raw verdict, of unfiltered batches; T tokens; m multiplier, w weight, g shortfall (no units).
Against GRPO: the reward reduces its length part, as far as needed, while accuracy is below the floor.
Degenerate: a batch without a verdict is not an observation. base 0: no constraint can hold, w stays 0. `collapse: null`:
    no alarm.
Pitfalls: a group z-score cancels w in groups all correct or all incorrect: use `group_mean`, `rloo` or `batch_whitened`.
    A over P prompts has a standard error near 0.25 / sqrt(P): a delta below that of the window's mean is noise. Training
    changes A too: the floor is relative to the base, so gains in correctness may be traded for shorter answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from torch import Tensor

from tersely.core.build import name_of
from tersely.core.errors import ConfigError, nearest, require_range
from tersely.core.objective_parts import ObjectiveParts, Terms
from tersely.core.protocols import Controller, Reward
from tersely.core.types import Rollouts

OTHER_TERMS = ("correctness", "format", "ares_entropy", "repetition", "rlpr", "verifree")
"""Terms that do not depend on length."""


@dataclass
class AccuracyFloor(Controller):
    statistic: ClassVar[tuple[str, ...]] = ("verify/accuracy", "efficiency/tokens_mean")
    """Step metrics that the controller reads."""

    delta: float = 0.02
    base: float | None = None
    window: int = 20
    step: float = 5.0
    dead_zone: float = 0.01
    maximum: float = 100.0
    collapse: float | None = 0.05
    terms: tuple[str, ...] | None = None
    """Reward terms with weight w; null for all that depend on length."""
    value: float = field(init=False, default=0.0)
    """w."""
    multiplier: float = field(init=False, default=0.0)
    """m."""
    reference: float | None = field(init=False)
    """The current base."""
    recent: list[list[float]] = field(init=False, default_factory=list)
    good_tokens: float = field(init=False, default=0.0)
    good: bool = field(init=False, default=True)
    alarm: str | None = field(init=False, default=None)
    scales_weights: bool = field(init=False, default=False)
    """True: the advantage is `per_term` and standardises columns, so w goes to the weights of the terms."""

    def __post_init__(self) -> None:
        require_range("accuracy_floor.delta", self.delta, at_least=0, below=1)
        require_range("accuracy_floor.base", self.base, above=0, at_most=1)
        require_range("accuracy_floor.window", self.window, at_least=1)
        require_range("accuracy_floor.step", self.step, above=0)
        require_range("accuracy_floor.dead_zone", self.dead_zone, at_least=0)
        require_range("accuracy_floor.maximum", self.maximum, above=0)
        require_range("accuracy_floor.collapse", self.collapse, at_least=0)
        self.reference = self.base
        self.value = 0.0 if self.base is None else 1.0

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise without a length term, or if the advantage does not support a weighted reward."""
        names = objective.reward.names
        for name in self.terms or ():
            if name not in names:
                raise ConfigError(f"accuracy_floor.terms: unknown reward term {name!r}; {nearest(name, names)}")
        if not any(map(self._weighs, names)):
            raise ConfigError(f"accuracy_floor: needs a length term; the reward is {', '.join(names)}. Add one")
        self.scales_weights = objective.advantage.per_term
        pairs = zip(names, objective.reward.terms, strict=True)
        whole = [name for name, term in pairs if self._weighs(name) and term.includes_outcome]
        if self.scales_weights and whole:
            name = name_of("advantage", objective.advantage)
            raise ConfigError(
                f"accuracy_floor cannot weigh reward {whole[0]} under advantage {name}, because the term includes the outcome. "
                "Use correctness and an additive length term"
            )
        if objective.advantage.knows_best_reward:
            name = name_of("advantage", objective.advantage)
            raise ConfigError(
                f"accuracy_floor cannot weigh the reward under advantage {name}, which knows its best value"
            )

    @property
    def may_alarm(self) -> bool:
        return self.collapse is not None

    def update(self, accuracy: float, tokens: float) -> float:
        self.alarm = None
        if not (math.isfinite(accuracy) and math.isfinite(tokens)):
            return self.value
        self.recent = [*self.recent, [float(accuracy), float(tokens)]][-self.window :]
        known, length = (fmean(column) for column in zip(*self.recent, strict=True))
        if self.reference is None:
            if len(self.recent) < self.window:
                return self.value
            self.reference = known
        if self.reference <= 0:
            return self.value
        short = 1 - self.delta - known / self.reference
        if not -self.dead_zone <= short <= 0:
            self.multiplier = min(max(self.multiplier + self.step * short, 0.0), self.maximum)
        self.value = 1 / (1 + self.multiplier)
        self.good = short <= 0
        if self.good:
            self.good_tokens = length
        elif self.collapse is not None and short > self.collapse and length < self.good_tokens:
            self.alarm = (
                f"accuracy is {known:.3f}, below the floor of {(1 - self.delta) * self.reference:.3f}, and tokens fell from "
                f"{self.good_tokens:.0f} to {length:.0f}"
            )
        return self.value

    def rolled_back(self, before: dict[str, Any]) -> None:
        """Update after a rollback: the current state is the restored one, `before` the state before the rollback."""
        self.multiplier = min(2 * max(self.multiplier, before["multiplier"]) + 1, self.maximum)
        if self.reference is None:
            self.reference = before["reference"]
        self.value = 1 / (1 + self.multiplier)

    def apply_reward(self, reward: Terms) -> Terms:
        """The reward sum with weight w on every length term."""
        if self.value == 1:
            return reward
        weighed = [self._weighs(name) for name in reward.names]
        if self.scales_weights:
            factors = [self.value if one else 1.0 for one in weighed]
            weights = [factor * weight for factor, weight in zip(factors, reward.weights, strict=True)]
            return reward.with_terms(reward.terms, weights)
        pairs = zip(weighed, reward.terms, strict=True)
        return reward.with_terms([Weighed(term, self.value) if one else term for one, term in pairs], reward.weights)

    def _weighs(self, name: str) -> bool:
        return name in self.terms if self.terms is not None else name not in OTHER_TERMS

    def state_dict(self) -> dict[str, Any]:
        names = ("value", "multiplier", "reference", "recent", "good_tokens", "good")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, saved in state.items():
            setattr(self, name, saved)
        self.alarm = None


@dataclass(frozen=True)
class Weighed(Reward):
    """A reward term with `weight` on its length part."""

    term: Reward
    weight: float

    @property
    def includes_outcome(self) -> bool:
        return self.term.includes_outcome

    @property
    def scope(self) -> str:
        return self.term.scope

    @property
    def needs(self) -> tuple[str, ...]:
        return self.term.needs

    def __call__(self, rollouts: Rollouts) -> Tensor:
        whole = self.weight * self.term(rollouts)
        return whole + (1 - self.weight) * rollouts.correct if self.includes_outcome else whole
