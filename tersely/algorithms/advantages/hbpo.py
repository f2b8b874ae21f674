"""HBPO, Hierarchical Budget Policy Optimization, the advantage: compares budgets within a group.

Paper: arXiv 2507.15844, and its released code. The prompting is `prompting/hbpo.py`, the reward `rewards/hbpo.py`.
    A_intra(i) = mean of R over the rows of i's group with i's budget  -  f2(b_i)
    A_inter(i) = (R_i - mean R) / (std R + epsilon)     over all rows of the group
    A_i = A_intra + A_inter                             (`form: released`: 2 A_intra + A_inter)
Symbols: R reward; b the row's budget, tokens; f2(b) = beta cos(pi b / (2 L_max)); L_max the component's `max_length`,
    else the run's cap; beta and max_length must be the reward's; epsilon (no unit).
Against GRPO: an additional absolute term: a budget's mean reward against the best possible reward.
Degenerate: all incorrect: A_inter 0 and A_intra -f2(b), a uniform term that a mixed-groups filter would remove. All correct
    within budget: A_intra 0. One row per budget: A_intra = R - f2(b). K = 1 or zero spread: A_inter 0. All truncated: as
    all incorrect. Budget nan counts as L_max. Undecided -> 0, and in no mean.
Pitfalls: A_intra is on the reward's scale, A_inter is standardised. A correct row within budget can get a negative advantage
    because another row of its budget failed. Group by prompt id: the prompts of a group differ by their prefills.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat, spread
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.group_stats import budgets, cap, grouped, sum_over_equal
from tersely.core.objective_parts import ObjectiveParts
from tersely.core.protocols import Advantage
from tersely.core.reward_sum import RewardSum
from tersely.core.types import Rollouts
from tersely.rewards.hbpo import HBPO, budget_value


@dataclass(frozen=True)
class HBPOAdvantage(Advantage):
    knows_best_reward: ClassVar[bool] = True

    beta: float = 4.0
    max_length: int | None = None
    epsilon: float = 1e-4
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        require_range("hbpo.beta", self.beta, at_least=0)
        require_range("hbpo.max_length", self.max_length, above=0)
        require_range("hbpo.epsilon", self.epsilon, at_least=0)
        require_choice("hbpo.form", self.form, ("paper", "released"))

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise unless advantage and reward have the same beta and max_length, because the best value is the reward's f2."""
        reward = objective.reward
        for term in reward.terms if isinstance(reward, RewardSum) else (reward,):
            if not isinstance(term, HBPO):
                continue
            for name in ("beta", "max_length"):
                ours, theirs = getattr(self, name), getattr(term, name)
                if ours != theirs:
                    raise ConfigError(f"advantage hbpo.{name}: got {ours}; expected {theirs}, as reward hbpo.{name}")

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        std = spread(gap, known)
        inter = torch.where(std > 0, gap / (std + self.epsilon).clamp(min=1e-30), 0.0)

        longest = cap(self.max_length, rollouts)
        budget = budgets(rollouts, "hbpo").nan_to_num(longest)
        best = budget_value(budget, self.beta, longest).float().double()  # as float32, like rewards
        short_of_best = torch.where(known, grouped(rewards, rollouts.group_size) - best, 0.0)
        intra = sum_over_equal(short_of_best, budget) / sum_over_equal(known.double(), budget).clamp(min=1)
        factor = 2.0 if self.form == "released" else 1.0
        return flat(torch.where(known, factor * intra + inter, 0.0))
