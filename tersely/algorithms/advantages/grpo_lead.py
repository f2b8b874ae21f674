"""GRPO-LEAD, the advantage: hard prompts weigh correct rollouts more, easy prompts weigh incorrect rollouts more.

Paper: arXiv 2504.09696. From the released code.
    w(x) = low + (high - low) / (1 + exp(steepness (x - midpoint)))
    A = group z-score ;   A w(p) where A > 0 ,   A w(1 - p) elsewhere
Symbols: p solve rate of the raw verdicts; sample std; low, high, steepness (no unit); midpoint a share.
Against GRPO: the z-score, weighted by difficulty.
Degenerate: as `group_zscore`: all correct, all incorrect with equal rewards, K = 1, zero spread -> 0. One correct: w(1/K).
    All truncated: by the verdicts. Undecided -> 0.
Pitfalls: an all-correct group under the reward of the same name still has spread, with weight w(1) = 0.48.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat, spread
from tersely.core.errors import require_range
from tersely.core.group_stats import solve_rate
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GRPOLeadAdvantage(Advantage):
    low: float = 0.4
    high: float = 1.5
    midpoint: float = 0.75
    steepness: float = 10.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        require_range("grpo_lead.low", self.low, at_least=0)
        require_range("grpo_lead.high", self.high, at_least=self.low)
        require_range("grpo_lead.midpoint", self.midpoint, at_least=0, at_most=1)
        require_range("grpo_lead.steepness", self.steepness, at_least=0)
        require_range("grpo_lead.epsilon", self.epsilon, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        std = spread(gap, known)
        score = torch.where(std > 0, gap / (std + self.epsilon).clamp(min=1e-30), 0.0)
        rate = solve_rate(rollouts)
        weight = torch.where(score > 0, self._weight(rate), self._weight(1 - rate))
        return flat(torch.where(known & (score != 0), score * weight, 0.0))

    def _weight(self, x: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(-self.steepness * (x - self.midpoint))
