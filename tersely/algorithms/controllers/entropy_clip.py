"""Entropy clip: widens the upper ratio bound while entropy is low.

Source: one recipe (from secondary sources); no paper is known.
    k <- clip(k + step sign(target - H), minimum, maximum) ;     ratio bounds [1 - e, 1 / (1 - e) + k]
Symbols: H mean entropy of the step, nats; k, e (no unit). One call per generation batch.
Against GRPO: wide bounds, 0.4 to 2.5 at k = 0, and wider above.
Degenerate: H = target or not finite: k stays.
Pitfalls: with one update per rollout batch the bounds have no effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from tersely.algorithms.controllers.common import change_chain
from tersely.core.errors import require_range
from tersely.core.protocols import Controller, Loss


@dataclass
class EntropyClip(Controller):
    statistic: ClassVar[str] = "entropy"
    """Step metric that the controller reads."""

    target: float = 0.3
    initial: float = 0.0
    step: float = 0.25
    minimum: float = 0.0
    maximum: float = 2.5
    e: float = 0.6
    value: float = field(init=False)
    """k."""

    def __post_init__(self) -> None:
        require_range("entropy_clip.target", self.target, at_least=0)
        require_range("entropy_clip.step", self.step, at_least=0)
        require_range("entropy_clip.minimum", self.minimum, at_least=0)
        require_range("entropy_clip.maximum", self.maximum, at_least=self.minimum)
        require_range("entropy_clip.initial", self.initial, at_least=self.minimum, at_most=self.maximum)
        require_range("entropy_clip.e", self.e, at_least=0, below=1)
        self.value = self.initial

    def update(self, statistic: float) -> float:
        gap = self.target - float(statistic)
        if math.isfinite(gap) and gap != 0:
            moved = self.value + math.copysign(self.step, gap)
            self.value = min(max(moved, self.minimum), self.maximum)
        return self.value

    def bounds(self) -> tuple[float, float]:
        """The current ratio bounds."""
        return 1 - self.e, 1 / (1 - self.e) + self.value

    def apply(self, loss_fn: Loss) -> Loss:
        """The loss with these ratio bounds, set in each wrapped loss that accepts them."""
        low, high = self.bounds()
        return change_chain(loss_fn, lambda part: part.with_ratio_bounds(low, high))

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value = float(state["value"])
