"""DAST, Difficulty-Adaptive Slow Thinking, as an online reward: larger budgets for harder prompts.

Paper: arXiv 2503.04472, from secondary sources. Adapted: published with 20 samples per prompt, preference pairs and SimPO.
    L_b = p mean_C + (1 - p) L_max      (L_max where none is correct) ,   x = (L - L_b) / L_b
    correct: max(correct_slope (1 - x), correct_floor)      incorrect: min(wrong_slope x + wrong_ceiling, wrong_ceiling)
Symbols: p solve rate; mean_C mean length of the correct rows, tokens; L_max the component's `max_length`, else the run's
    cap; L sampled tokens; slopes, floor, ceiling (no unit).
Against GRPO: correct answers below the budget gain, incorrect answers below it lose (they should have thought longer).
Degenerate: all correct: L_b is their mean. All incorrect: L_b = L_max. One correct, K = 1: the same formula. Equal lengths, all
    truncated: the same formula. Undecided -> nan.
Pitfalls: a correct answer earns at most 2 correct_slope (x >= -1) and at least the floor, whatever its length; tune the slope
    with the advantage. A budget of 0 tokens (all correct, all empty) leaves x = L.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, cap, correct_rows, lengths, mean_of, solve_rate
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class DAST(Reward):
    includes_outcome: ClassVar[bool] = True
    label: ClassVar[str] = "adapted: published as offline preference pairs with SimPO, here an online reward"

    correct_slope: float = 0.5
    correct_floor: float = 0.1
    wrong_slope: float = 0.9
    wrong_ceiling: float = -0.1
    max_length: int | None = None

    def __post_init__(self) -> None:
        require_range("dast.correct_slope", self.correct_slope, at_least=0)
        require_range("dast.wrong_slope", self.wrong_slope, at_least=0)
        require_range("dast.wrong_ceiling", self.wrong_ceiling)
        require_range("dast.correct_floor", self.correct_floor, at_least=self.wrong_ceiling)
        require_range("dast.max_length", self.max_length, above=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length, right, rate = lengths(rollouts), correct_rows(rollouts), solve_rate(rollouts)
        longest = cap(self.max_length, rollouts)
        budget = rate * mean_of(length, right).nan_to_num(longest) + (1 - rate) * longest
        excess = (length - budget) / torch.where(budget > 0, budget, 1.0)
        gain = (self.correct_slope * (1 - excess)).clamp(min=self.correct_floor)
        loss = (self.wrong_slope * excess + self.wrong_ceiling).clamp(max=self.wrong_ceiling)
        return as_reward(torch.where(right, gain, loss), rollouts)
