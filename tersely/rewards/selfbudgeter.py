"""SelfBudgeter: the model announces a budget and is rewarded for keeping it.

Paper: arXiv 2505.11274. Structure from secondary sources; the six reward constants are from memory of the paper: verify
before calling them the paper's.
    a(t) = alpha_start (1 - t) + alpha_end t
    R = malformed_reward                    not well formed, or no budget, or b <= 0
      = P_B + PreB                          otherwise
    P_B  = 0 if b <= budget_max(prompt), else over_budget_penalty
    PreB = s_min                            |L - b| / b > a
         = s_min + (s_max - s_min) (1 + cos(pi |L - b*| / (2 a b))) / 2      otherwise
    correct: s = correct_min, correct_max, b* = (1 - a) b       incorrect: s = wrong_min, wrong_max, b* = (1 + a) b
Symbols: L sampled tokens, the budget tag counts; b the announced budget, tokens; budget_max tokens, from the memory
    record loaded before training (none = no limit); t progress; a tolerance, a share of b.
Against GRPO: absolute, no comparison within the group.
Degenerate: no group statistic, so all correct, all incorrect, K = 1 and equal lengths need no rule. Undecided -> nan.
Pitfalls: while a > 1 a correct answer's reward only falls with L. At the near edge of the band a correct answer jumps from
    correct_max to correct_min, and an incorrect one at the far edge; the edges are inside. A loose a lets the model inflate
    b, which is what budget_max is for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import as_reward, budgets, correct_rows, either, formed_rows, lengths, remembered
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class SelfBudgeter(Reward):
    includes_outcome: ClassVar[bool] = True
    memory_fields: ClassVar[tuple[str, ...]] = ("budget_max",)

    malformed_reward: float = -1.0
    over_budget_penalty: float = -0.4
    correct_min: float = 0.5
    correct_max: float = 1.0
    wrong_min: float = -0.5
    wrong_max: float = 0.0
    alpha_start: float = 6.0
    alpha_end: float = 0.1

    def __post_init__(self) -> None:
        require_range("selfbudgeter.malformed_reward", self.malformed_reward)
        require_range("selfbudgeter.over_budget_penalty", self.over_budget_penalty, at_most=0)
        require_range("selfbudgeter.correct_min", self.correct_min)
        require_range("selfbudgeter.correct_max", self.correct_max, at_least=self.correct_min)
        require_range("selfbudgeter.wrong_min", self.wrong_min)
        require_range("selfbudgeter.wrong_max", self.wrong_max, at_least=self.wrong_min)
        require_range("selfbudgeter.alpha_start", self.alpha_start, above=0)
        require_range("selfbudgeter.alpha_end", self.alpha_end, above=0)
        worst = self.correct_min + self.over_budget_penalty
        if worst < self.wrong_max - 1e-12:
            raise ConfigError(
                f"selfbudgeter.correct_min + selfbudgeter.over_budget_penalty: got {worst:g}; expected at least "
                f"selfbudgeter.wrong_max = {self.wrong_max:g}, the most that an incorrect answer can be worth"
            )

    def __call__(self, rollouts: Rollouts) -> Tensor:
        t = rollouts.progress
        tolerance = self.alpha_start * (1 - t) + self.alpha_end * t
        right, length = correct_rows(rollouts), lengths(rollouts)
        budget = budgets(rollouts, "selfbudgeter")
        announced = formed_rows(rollouts) & (budget > 0)
        budget = torch.where(announced, budget, 1.0)

        best = either(right, 1 - tolerance, 1 + tolerance) * budget
        low = either(right, self.correct_min, self.wrong_min)
        high = either(right, self.correct_max, self.wrong_max)
        wave = (1 + torch.cos(math.pi * (length - best).abs() / (2 * tolerance * budget))) / 2
        inside = (length - budget).abs() / budget <= tolerance
        precision = torch.where(inside, low + (high - low) * wave, low)
        over = budget > remembered(rollouts, "budget_max")
        value = precision + either(over, self.over_budget_penalty, 0.0)
        return as_reward(torch.where(announced, value, self.malformed_reward), rollouts)
