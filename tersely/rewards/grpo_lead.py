"""GRPO-LEAD, the reward: correct answers decay with relative length, incorrect answers get a penalty.

Paper: arXiv 2504.09696, from the released code.
    correct: exp(-alpha z) ,   z = (L - mean_C) / (std_C + epsilon)        incorrect: wrong_reward
    z acts in groups whose three shortest decided rows average more than `gate` tokens; elsewhere correct is 1
Symbols: L, gate, epsilon tokens; C the correct rows of the group; sample std; alpha (no unit).
Against GRPO: an explicit penalty for incorrect answers and a soft length rank for correct ones. Goes with the advantage of the
    same name, which weighs prompts by difficulty.
Degenerate: one correct, K = 1 or equal lengths -> 1. All incorrect -> wrong_reward. All truncated: by c. Fewer than three
    decided rows, or gate 0: z acts. Undecided -> nan.
Pitfalls: the gate is for caps of 8k and more: with a gate that is not below the cap there is no length term. The release gives
    a thought that never closes, or no boxed answer, 0 instead of wrong_reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, zscore_within
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GRPOLead(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.05
    epsilon: float = 1e-6
    wrong_reward: float = -1.0
    gate: int = 4000

    def __post_init__(self) -> None:
        require_range("grpo_lead.alpha", self.alpha, at_least=0)
        require_range("grpo_lead.epsilon", self.epsilon, at_least=0)
        require_range("grpo_lead.wrong_reward", self.wrong_reward, at_most=0)
        require_range("grpo_lead.gate", self.gate, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = correct_rows(rollouts)
        z = zscore_within(lengths(rollouts), right, sample=True, epsilon=self.epsilon)
        decay = torch.where(self._long(rollouts), (-self.alpha * z).exp(), 1.0)
        return as_reward(torch.where(right, decay, self.wrong_reward), rollouts)

    def _long(self, rollouts: Rollouts) -> Tensor:
        """(P, 1) bool: the length term acts."""
        decided = decided_rows(rollouts)
        if self.gate == 0 or decided.shape[1] < 3:
            return torch.ones_like(decided[:, :1])
        shortest = torch.where(decided, lengths(rollouts), torch.inf).sort(1).values[:, :3]
        return (decided.sum(1, keepdim=True) < 3) | (shortest.mean(1, keepdim=True) > self.gate)
