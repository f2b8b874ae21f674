"""HBPO, Hierarchical Budget Policy Optimization: the plan that hands out budgets, and the advantage that compares them.

Paper: arXiv 2507.15844, and its released code. The reward is `rewards/hbpo.py`.
    plan: row j of a group of K gets budgets[j B // K], B budgets, and is told so by its prefill
    A_intra(i) = mean of R over the rows of i's group with i's budget  -  f2(b_i)
    A_inter(i) = (R_i - mean R) / (std R + epsilon)     over all rows of the group
    A_i = A_intra + A_inter                             (`form: released`: 2 A_intra + A_inter)
Symbols: R reward; b the row's budget, tokens; f2(b) = beta cos(pi b / (2 L_max)); L_max the component's `max_length`,
    else the run's cap; beta and max_length must be the reward's; epsilon (no unit).
Against GRPO: an extra, absolute push by how well a budget's rows do against the best they could.
Degenerate: all wrong: A_inter 0 and A_intra -f2(b), a uniform push that a mixed-groups filter would remove. All right
    within budget: A_intra 0. One row a budget: A_intra = R - f2(b). K = 1 or zero spread: A_inter 0. All truncated: as
    all wrong. Budget nan counts as L_max. Undecided -> 0, and in no mean.
Traps: A_intra is on the reward's scale, A_inter is standardised. A right row within budget can get a negative advantage
    because its subgroup-mate failed. Group by prompt id: the prompts of a group differ by their prefills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tersely.algorithms.groupwise import centred, flat, spread
from tersely.checks import SpecError, require_choice, require_range
from tersely.rewards.hbpo import HBPO as HBPOReward
from tersely.rewards.hbpo import budget_value
from tersely.rl.groups import budgets, cap, grouped, sum_over_equal
from tersely.rl.memory import PromptMemory
from tersely.rl.types import RolloutPlan, Rollouts

EFFICIENT = "<think> I will answer the question with minimal tokens"
"""The paper's "efficiency prompting" at evaluation."""


@dataclass(frozen=True)
class HBPOPlan:
    budgets: tuple[int, ...] = (512, 1024, 2048, 2560)
    text: str = "<think> I will answer the question with {budget} tokens"
    train_prefill: bool = False
    """The released code trains on the prefill."""
    prompting: Literal["budgets", "natural", "efficient"] = "budgets"
    """`natural` (no prefill) and `efficient` are for evaluation."""

    def __post_init__(self):
        if not self.budgets:
            raise SpecError("hbpo.budgets is empty; it must be a list of whole numbers of tokens above 0")
        for budget in self.budgets:
            require_range("hbpo.budgets", budget, above=0)
        if "{budget}" not in self.text:
            raise SpecError(f"hbpo.text is {self.text!r}; it must contain {{budget}}")
        require_choice("hbpo.prompting", self.prompting, ("budgets", "natural", "efficient"))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        if self.prompting != "budgets":
            prefill = EFFICIENT if self.prompting == "efficient" else None
            return [RolloutPlan(prefill=prefill)] * (len(prompt_ids) * group_size)
        count = len(self.budgets)
        if group_size % count:
            raise ValueError(f"plan hbpo: group_size is {group_size}; it must be a multiple of its {count} budgets")
        return [self._row(self.budgets[j * count // group_size]) for j in range(group_size)] * len(prompt_ids)

    def _row(self, budget: int) -> RolloutPlan:
        prefill = self.text.replace("{budget}", str(budget))
        return RolloutPlan(prefill=prefill, budget=budget, train_prefill=self.train_prefill)


@dataclass(frozen=True)
class HBPO:
    beta: float = 4.0
    max_length: int | None = None
    epsilon: float = 1e-4
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self):
        require_range("hbpo.beta", self.beta, at_least=0)
        require_range("hbpo.max_length", self.max_length, above=0)
        require_range("hbpo.epsilon", self.epsilon, at_least=0)
        require_choice("hbpo.form", self.form, ("paper", "released"))

    def check_objective(self, objective: Any) -> None:
        """The subgroup's best value is the reward's f2: raise unless both speak of the same beta and max_length."""
        for term in getattr(objective.reward, "terms", (objective.reward,)):
            if not isinstance(term, HBPOReward):
                continue
            for name in ("beta", "max_length"):
                ours, theirs = getattr(self, name), getattr(term, name)
                if ours != theirs:
                    raise SpecError(
                        f"advantage hbpo.{name} is {ours} and reward hbpo.{name} is {theirs}; they must be equal"
                    )

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        std = spread(gap, known)
        inter = torch.where(std > 0, gap / (std + self.epsilon).clamp(min=1e-30), 0.0)

        longest = cap(self.max_length, rollouts)
        budget = budgets(rollouts, "hbpo").nan_to_num(longest)
        best = budget_value(budget, self.beta, longest).float().double()  # rewards are float32: equal is exactly equal
        short_of_best = torch.where(known, grouped(rewards, rollouts.group_size) - best, 0.0)
        intra = sum_over_equal(short_of_best, budget) / sum_over_equal(known.double(), budget).clamp(min=1)
        factor = 2.0 if self.form == "released" else 1.0
        return flat(torch.where(known, factor * intra + inter, 0.0))
