"""Soft overlong punishment: a ramp down to -1 over the last `cache` tokens before the cap.

Paper: arXiv 2503.14476 (DAPO), from its released code.
    r_i = 0                                    L_i <= L_max - cache
        = (L_max - cache - L_i) / cache        up to L_max
        = -1                                   above
Symbols: L_i sampled tokens; L_max the component's `max_length`, else the run's cap (the paper: 20,480); cache tokens.
Against GRPO: an additive term that depends only on length: `[{name: correctness}, {name: soft_overlong}]`.
Degenerate: correct, incorrect and truncated alike; no group statistic. Undecided -> nan.
Pitfalls: it is for stability near the cap, not for compression. A cache above the cap is an error.
    A correct row stays at or above an incorrect one for weight <= 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import as_reward, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class SoftOverlong(Reward):
    includes_outcome: ClassVar[bool] = False

    cache: int = 4096
    max_length: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_range("soft_overlong.cache", self.cache, above=0)
        require_range("soft_overlong.max_length", self.max_length, at_least=self.cache)
        require_range("soft_overlong.weight", self.weight, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        cap = self.max_length if self.max_length is not None else rollouts.max_length
        if self.cache > cap:
            raise ConfigError(f"soft_overlong.cache: got {self.cache} tokens; expected at most the cap of {cap}")
        ramp = (cap - self.cache - lengths(rollouts)) / self.cache
        return as_reward(self.weight * ramp.clamp(-1.0, 0.0), rollouts)
