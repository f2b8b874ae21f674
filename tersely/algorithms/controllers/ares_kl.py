"""ARES' KL controller: adjusts the KL weight to hold the KL at a target.

Paper: arXiv 2510.08457, from the released code.
    K = ema K + (1 - ema) kl ;  err = K / target - 1, 0 if |err| < dead_zone, clipped to +-error_limit
    E = error_ema E + (1 - error_ema) err ;   every `every` updates  beta <- clip(beta exp(step E), minimum, maximum)
Symbols: kl nats per token, of the tokens outside high-entropy windows; beta (no unit), times 1e-2 in the release, as the
    `beta` of `window_kl` is. The first observation sets the averages. One call per optimizer step.
Against GRPO: a KL weight that holds the divergence, not the coefficient, constant.
Degenerate: a kl that is not finite (no such token) is not an observation, and there is no update.
Pitfalls: with one step in a hundred acting, beta moves by at most 1 % each: nearly inert in short runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tersely.algorithms.controllers.common import change_chain
from tersely.core.errors import require_range
from tersely.core.protocols import Controller, Loss


@dataclass
class ARESKL(Controller):
    statistic: ClassVar[str] = "kl/outside_windows"
    """Step metric that the controller reads."""

    target: float = 0.01
    initial: float = 1.0
    ema: float = 0.97
    error_ema: float = 0.97
    step: float = 0.05
    every: int = 100
    dead_zone: float = 0.02
    error_limit: float = 0.2
    minimum: float = 1e-4
    maximum: float = 1e2
    value: float = field(init=False)
    """beta of the controller, a factor on `window_kl.beta`."""
    mean_kl: float | None = field(init=False, default=None)
    mean_error: float | None = field(init=False, default=None)
    updates: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        require_range("ares_kl.target", self.target, above=0)
        require_range("ares_kl.ema", self.ema, at_least=0, below=1)
        require_range("ares_kl.error_ema", self.error_ema, at_least=0, below=1)
        require_range("ares_kl.step", self.step, at_least=0)
        require_range("ares_kl.every", self.every, at_least=1)
        require_range("ares_kl.dead_zone", self.dead_zone, at_least=0)
        require_range("ares_kl.error_limit", self.error_limit, above=0)
        require_range("ares_kl.minimum", self.minimum, above=0)
        require_range("ares_kl.maximum", self.maximum, at_least=self.minimum)
        require_range("ares_kl.initial", self.initial, at_least=self.minimum, at_most=self.maximum)
        self.value = self.initial

    def update(self, statistic: float) -> float:
        kl = float(statistic)
        if not math.isfinite(kl):
            return self.value
        self.mean_kl = kl if self.mean_kl is None else self.ema * self.mean_kl + (1 - self.ema) * kl
        error = self.mean_kl / self.target - 1
        error = 0.0 if abs(error) < self.dead_zone else min(max(error, -self.error_limit), self.error_limit)
        known = self.mean_error
        self.mean_error = error if known is None else self.error_ema * known + (1 - self.error_ema) * error
        self.updates += 1
        if self.updates % self.every == 0:
            moved = self.value * math.exp(self.step * self.mean_error)
            self.value = min(max(moved, self.minimum), self.maximum)
        return self.value

    def apply(self, loss_fn: Loss) -> Loss:
        """The loss with `window_kl.beta` times this controller's value."""
        return change_chain(loss_fn, lambda part: part.with_kl_factor(self.value))

    def state_dict(self) -> dict[str, float | None]:
        return {
            "value": self.value,
            "mean_kl": self.mean_kl,
            "mean_error": self.mean_error,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.updates = float(state["value"]), int(state["updates"])
        self.mean_kl, self.mean_error = state["mean_kl"], state["mean_error"]
