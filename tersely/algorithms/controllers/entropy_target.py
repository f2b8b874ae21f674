"""Entropy target: increases the coefficient of an entropy bonus while entropy is low.

Paper: arXiv 2505.22312 (Skywork-OR1), from the released code.
    c <- clip(c + delta if H < target else c - delta, minimum, maximum) ;     value = c if H < target else 0
Symbols: H mean entropy of the step, nats; c coefficient of the bonus (no unit). One call per generation batch.
Against GRPO: an entropy bonus only while entropy is below the target.
Degenerate: H not finite (no token): c stays, value 0.
Pitfalls: TRL's own flag has delta 5e-3, maximum 1.0 and `<=`: 50 to 200 times as strong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from tersely.algorithms.losses.entropy_bonus import EntropyBonus
from tersely.core.errors import require_range
from tersely.core.protocols import Controller, Loss


@dataclass
class EntropyTarget(Controller):
    statistic: ClassVar[str] = "entropy"
    """Step metric that the controller reads."""

    target: float = 0.2
    initial: float = 0.0
    delta: float = 1e-4
    minimum: float = 0.0
    maximum: float = 5e-3
    coefficient: float = field(init=False)
    """c."""
    value: float = field(init=False, default=0.0)
    """The current coefficient."""

    def __post_init__(self) -> None:
        require_range("entropy_target.target", self.target, at_least=0)
        require_range("entropy_target.delta", self.delta, at_least=0)
        require_range("entropy_target.minimum", self.minimum, at_least=0)
        require_range("entropy_target.maximum", self.maximum, at_least=self.minimum)
        require_range("entropy_target.initial", self.initial, at_least=self.minimum, at_most=self.maximum)
        self.coefficient = self.initial

    def update(self, statistic: float) -> float:
        entropy = float(statistic)
        if not math.isfinite(entropy):
            self.value = 0.0
            return self.value
        low = entropy < self.target
        moved = self.coefficient + (self.delta if low else -self.delta)
        self.coefficient = min(max(moved, self.minimum), self.maximum)
        self.value = self.coefficient if low else 0.0
        return self.value

    def apply(self, loss_fn: Loss) -> Loss:
        """The loss with the entropy bonus, if the coefficient is above 0."""
        return EntropyBonus(self.value, loss_fn) if self.value else loss_fn

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient, "value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coefficient, self.value = float(state["coefficient"]), float(state["value"])
