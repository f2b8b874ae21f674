"""Identity: uses the reward as the advantage.

Paper: none; REINFORCE without a baseline.
    A_i = r_i ,   0 where the reward is nan
Symbols: r_i reward (no unit).
Against GRPO: no comparison within the group; for rewards that include a baseline.
Degenerate: all correct, all incorrect, K = 1, zero spread: the reward itself. Undecided -> 0.
Pitfalls: with a 0/1 reward no rollout has a negative advantage.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Identity(Advantage):
    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        return rewards.nan_to_num(0.0).float()
