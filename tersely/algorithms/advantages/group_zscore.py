"""Group z-score: a rollout's reward minus the group mean, divided by the group's standard deviation.

Paper: arXiv 2402.03300 (DeepSeekMath, GRPO).
    A_i = (r_i - mean r) / (std r + epsilon)        over the decided rollouts of one prompt, unbiased std
Symbols: r_i reward (no unit); epsilon (no unit) added to the spread.
Against GRPO: this is GRPO.
Degenerate: all correct, all incorrect, zero spread (below 1e-8), K = 1 or fewer than two decided rows -> 0. Undecided -> 0.
Pitfalls: a tiny spread (one long answer among equals) is scaled up to full size, so in a homogeneous group the
    coefficient of a length term cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat, spread
from tersely.core.errors import require_range
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GroupZScore(Advantage):
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        require_range("group_zscore.epsilon", self.epsilon, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        std = spread(gap, known)
        return flat(torch.where(std > 0, gap / (std + self.epsilon).clamp(min=1e-30), 0.0))
