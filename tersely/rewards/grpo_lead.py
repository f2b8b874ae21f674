"""GRPO-LEAD, the reward: correct answers decay with relative length, incorrect answers get a penalty.

Paper: arXiv 2504.09696. From secondary sources; the constants and the kind of std: verify before calling them the paper's.
    correct: exp(-alpha z) ,   z = (L - mean_C) / (std_C + epsilon)        incorrect: wrong_reward
Symbols: L sampled tokens; C the correct rows of the group; population std; alpha (no unit); epsilon tokens.
Against GRPO: an explicit penalty for incorrect answers and a soft length rank for correct ones. Goes with the advantage of the
    same name, which weighs prompts by difficulty.
Degenerate: one correct, K = 1 or equal lengths -> 1. All incorrect -> wrong_reward. All truncated: by c. Undecided -> nan.
Pitfalls: z is relative, so that the pressure on length does not fade when answers are already short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths, zscore_within
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GRPOLead(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.05
    epsilon: float = 1e-6
    wrong_reward: float = -1.0

    def __post_init__(self) -> None:
        require_range("grpo_lead.alpha", self.alpha, at_least=0)
        require_range("grpo_lead.epsilon", self.epsilon, at_least=0)
        require_range("grpo_lead.wrong_reward", self.wrong_reward, at_most=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = correct_rows(rollouts)
        z = zscore_within(lengths(rollouts), right, sample=False, epsilon=self.epsilon)
        return as_reward(torch.where(right, (-self.alpha * z).exp(), self.wrong_reward), rollouts)
