"""GR3: divides the reward of a correct answer by its relative length.

Paper: arXiv 2603.10535, from released code (prime-rl's port). Its calibration step is not here.
    r = c / (1 + alpha L / mean L)
Symbols: c verdict; L sampled tokens; the mean is over all decided rows of the group; alpha (no unit).
Against GRPO: a smooth factor on correct answers only, relative to the group's mean length.
Degenerate: all incorrect -> 0. One correct, all correct: the same formula. K = 1 or equal lengths -> 1 / (1 + alpha).
    All truncated: by c. Undecided -> nan, and not in the mean.
Pitfalls: long incorrect answers raise the mean and so lower the penalty of correct ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, mean_of
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GR3(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.33

    def __post_init__(self) -> None:
        require_range("gr3.alpha", self.alpha, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length = lengths(rollouts)
        mean = mean_of(length, decided_rows(rollouts))
        relative = torch.where(mean > 0, length / mean, 1.0)
        return as_reward(torch.where(correct_rows(rollouts), 1 / (1 + self.alpha * relative), 0.0), rollouts)
