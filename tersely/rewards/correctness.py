"""Correctness: the verifier's verdict as a number.

Paper: arXiv 2402.03300 (DeepSeekMath, GRPO's outcome reward); `right`, `wrong` are ours.
    r_i = right if c_i = 1, wrong if c_i = 0
Symbols: c_i verdict; r_i reward (no unit).
Against GRPO: this is GRPO's reward.
Degenerate: undecided -> nan. No other degenerate case: there is no group statistic, K = 1 is fine.
Pitfalls: it has no length term, and still shortens answers if long ones are cut at the cap and so fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Correctness(Reward):
    includes_outcome: ClassVar[bool] = True

    right: float = 1.0
    wrong: float = 0.0

    def __post_init__(self) -> None:
        require_range("correctness.right", self.right)
        require_range("correctness.wrong", self.wrong, at_most=self.right)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        value = torch.where(rollouts.correct == 1, self.right, self.wrong)
        return torch.where(rollouts.decided, value, torch.nan).float()
