"""ShorterBetter: a penalty on the distance to the shortest correct answer of the group.

Paper: arXiv 2504.21370, from the released code.
    r = alpha c - beta |L - L_SOL| ,   L_SOL = min of the correct lengths, or the mean length where none is correct
Symbols: c verdict; L, L_SOL sampled tokens; alpha (no unit; 2 or 1); beta reward per token.
Against GRPO: a distance penalty on correct and incorrect answers, with a target from the group.
Degenerate: all incorrect: pulled to their mean length. One correct: it is the target. K = 1: distance 0. Equal lengths:
    alpha c. All truncated: by c. Undecided -> nan, never the target.
Pitfalls: incorrect answers on hard prompts are pulled to the length of a lucky short one; hard sets suffer on small models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, mean_of, min_of
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ShorterBetter(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a correct answer loses beta per token of distance, without bound"

    alpha: float = 2.0
    beta: float = 0.001

    def __post_init__(self) -> None:
        require_range("shorterbetter.alpha", self.alpha, at_least=0)
        require_range("shorterbetter.beta", self.beta, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length, right = lengths(rollouts), correct_rows(rollouts)
        shortest = min_of(length, right)
        target = torch.where(shortest.isnan(), mean_of(length, decided_rows(rollouts)), shortest)
        return as_reward(self.alpha * right.double() - self.beta * (length - target).abs(), rollouts)
