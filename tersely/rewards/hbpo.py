"""HBPO, Hierarchical Budget Policy Optimization, the reward: correct answers are rewarded by their assigned budget.

Paper: arXiv 2507.15844, and its released code. Goes with the prompting and the advantage of the same name.
    f1(L, b) = beta cos(pi L / (2 L_max)) - alpha |L - b| ,   f2(b) = beta cos(pi b / (2 L_max))
    R = f1(L, b)   correct, b < L <= L_max
      = f2(b)      correct, L <= b            (`form: released`: min(f1, f2))
      = 0          incorrect, or L > L_max
      = malformed_reward where the output contract was not met, correct or incorrect
Symbols: L sampled tokens; b the row's budget, tokens; alpha reward per token (null = 1 / L_max); beta (no unit); L_max the
    component's `max_length`, else the run's cap (published: 4096).
Against GRPO: the reward falls with the budget and with every token beyond it.
Degenerate: all incorrect -> 0. No group statistic: K = 1 is fine. All correct within budget: f2. Budget nan counts as L_max,
    where f2 = 0. `malformed_reward: null` is 0 in paper form and -1 in released form. Undecided -> nan.
Pitfalls: f1 is negative near the cap, so that a correct answer can be worth less than an incorrect one. The released form
    gives slightly less than f2 for very short answers under small budgets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import as_reward, budgets, cap, correct_rows, formed_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class HBPO(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "f1 is negative near the cap, where an incorrect answer is worth 0"

    beta: float = 4.0
    alpha: float | None = None
    max_length: int | None = None
    form: Literal["paper", "released"] = "paper"
    malformed_reward: float | None = None

    def __post_init__(self) -> None:
        require_range("hbpo.beta", self.beta, at_least=0)
        require_range("hbpo.alpha", self.alpha, at_least=0)
        require_range("hbpo.max_length", self.max_length, above=0)
        require_choice("hbpo.form", self.form, ("paper", "released"))
        require_range("hbpo.malformed_reward", self.malformed_reward)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        longest = cap(self.max_length, rollouts)
        alpha = 1 / longest if self.alpha is None else self.alpha
        length = lengths(rollouts)
        budget = budgets(rollouts, "hbpo").nan_to_num(longest)
        beyond = self.beta * torch.cos(math.pi * length / (2 * longest)) - alpha * (length - budget).abs()
        within = budget_value(budget, self.beta, longest)
        if self.form == "released":
            within = torch.minimum(beyond, within)
        paid = correct_rows(rollouts) & (length <= longest)
        value = torch.where(paid, torch.where(length <= budget, within, beyond), 0.0)
        return as_reward(torch.where(formed_rows(rollouts), value, self._malformed()), rollouts)

    def _malformed(self) -> float:
        if self.malformed_reward is not None:
            return self.malformed_reward
        return 0.0 if self.form == "paper" else -1.0


def budget_value(budget: Tensor, beta: float, longest: float) -> Tensor:
    """f2: reward of a correct answer within `budget` (any shape, tokens)."""
    return beta * torch.cos(math.pi * budget / (2 * longest))
