"""BudgetThinker, the reward: correctness, format, and a length close to the announced budget from below.

Paper: arXiv 2508.17196, and its released code. The control texts inserted while decoding belong to the prompting.
    r = accuracy_weight c + format_weight w + length_weight max(1 - g ((b - L) / b)^2, 0)
    g = 1 if L <= b, else over_budget_steepness
    `form: released`: the length part is 1 for a correct row with L <= b
Symbols: c verdict; w well formed, 1 or 0; L sampled tokens; b the row's budget, tokens; weights, steepness (no unit).
Against GRPO: an absolute length part around a budget that the prompt announces.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths and all truncated need no rule.
    Budget nan (or not above 0) -> no length part. Undecided -> nan.
Pitfalls: incorrect answers get the length part too; outcome order holds while accuracy_weight >= length_weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import as_reward, budgets, correct_rows, either, formed_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class BudgetThinker(Reward):
    includes_outcome: ClassVar[bool] = True

    accuracy_weight: float = 0.7
    format_weight: float = 0.15
    length_weight: float = 0.15
    over_budget_steepness: float = 16.0
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        for name in ("accuracy_weight", "format_weight", "length_weight", "over_budget_steepness"):
            require_range(f"budgetthinker.{name}", getattr(self, name), at_least=0)
        require_choice("budgetthinker.form", self.form, ("paper", "released"))

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, length, budget = correct_rows(rollouts), lengths(rollouts), budgets(rollouts, "budgetthinker")
        within = length <= budget
        steepness = either(within, 1.0, self.over_budget_steepness)
        closeness = (1 - steepness * ((budget - length) / budget).square()).clamp(min=0)
        if self.form == "released":
            closeness = torch.where(right & within, 1.0, closeness)
        closeness = torch.where(budget > 0, closeness, 0.0)
        form = self.format_weight * formed_rows(rollouts).double()
        return as_reward(self.accuracy_weight * right.double() + form + self.length_weight * closeness, rollouts)
