"""L1, LCPO: rewards thinking for exactly, or for at most, the number of tokens in the prompt.

Paper: arXiv 2503.04697, from the released code. Goes with the prompting `l1`.
    l1_exact   r = c - alpha |n - L|
    l1_max     r = c clip(alpha (n - L) + delta, 0, 1)          `form: released`: c (clip(alpha (n - L), -1, 1) + 1) / 2
Symbols: c verdict; L sampled tokens; n the row's budget, tokens; alpha reward per token; delta (no unit).
Against GRPO: the reward depends on the distance to a requested length, not on a short length.
Degenerate: no group statistic, so all correct, all incorrect, K = 1, equal lengths and all truncated need no rule. Budget nan
    -> c. Undecided -> nan.
Pitfalls: exact pulls incorrect answers to the budget too (down to -1.2 at 4,000 tokens). The released max form has half the
    slope and does not use delta; the published max script leaves the length reward off unless its flags are set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import as_reward, budgets, correct_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class L1Exact(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a correct answer loses alpha per token of distance, without bound"

    alpha: float = 3e-4

    def __post_init__(self) -> None:
        require_range("l1_exact.alpha", self.alpha, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        distance = (budgets(rollouts, "l1_exact") - lengths(rollouts)).abs().nan_to_num(0.0)
        return as_reward(correct_rows(rollouts).double() - self.alpha * distance, rollouts)


@dataclass(frozen=True)
class L1Max(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 3e-4
    delta: float = 0.5
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        require_range("l1_max.alpha", self.alpha, at_least=0)
        require_range("l1_max.delta", self.delta)
        require_choice("l1_max.form", self.form, ("paper", "released"))

    def __call__(self, rollouts: Rollouts) -> Tensor:
        saved = self.alpha * (budgets(rollouts, "l1_max") - lengths(rollouts))
        if self.form == "released":
            factor = (saved.clamp(-1, 1) + 1) / 2
        else:
            factor = (saved + self.delta).clamp(0, 1)
        return as_reward(torch.where(correct_rows(rollouts), factor.nan_to_num(1.0), 0.0), rollouts)
