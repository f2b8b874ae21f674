"""LASER: a bonus for correct answers within one target length.

Paper: arXiv 2505.15612, from the released code; `target_length`: verify before calling it the paper's.
    r = correct_reward + bonus 1[L <= target_length]   correct
      = wrong_reward                                    incorrect
      = malformed_reward                                not well formed, correct or incorrect
Symbols: L sampled tokens; target_length tokens; rewards (no unit).
Against GRPO: a step in length for correct answers, and a format level.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths and all truncated need no rule.
    Undecided -> nan.
Pitfalls: extra tokens beyond the target cost nothing more, and a length far below it earns nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, formed_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class LASER(Reward):
    includes_outcome: ClassVar[bool] = True

    target_length: int = 4096
    correct_reward: float = 1.0
    bonus: float = 0.5
    wrong_reward: float = -0.5
    malformed_reward: float = -1.0

    def __post_init__(self) -> None:
        require_range("laser.target_length", self.target_length, above=0)
        require_range("laser.correct_reward", self.correct_reward)
        require_range("laser.bonus", self.bonus, at_least=0)
        require_range("laser.wrong_reward", self.wrong_reward, at_most=self.correct_reward)
        require_range("laser.malformed_reward", self.malformed_reward)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        short = lengths(rollouts) <= self.target_length
        paid = self.correct_reward + self.bonus * short.double()
        value = torch.where(correct_rows(rollouts), paid, self.wrong_reward)
        return as_reward(torch.where(formed_rows(rollouts), value, self.malformed_reward), rollouts)
