"""ETR, Entropy Trend Reward: a bonus for correct answers whose step entropy falls, a penalty where it rises.

Paper: arXiv 2604.05355, from the released code; the paper's form reportedly has fall = rise = 1.
    H_s = mean old-policy entropy of the step's sampled tokens / entropy_unit,    s over the closed steps
    R_0 = 0,   R_s = decay R_{s-1} + fall max(0, H_{s-1} - H_s) - rise max(0, H_s - H_{s-1})
    correct: correct_reward + coefficient sum_s R_s          incorrect: wrong_reward
Symbols: entropy, entropy_unit nats (ln 5: the release has the entropy of five tokens divided by it; only the scale is the
    same); closed steps: all but the row's last one; bound (ours) clips the bonus to +-bound; coefficients (no unit).
Against GRPO: a term for the trend of the entropy over the steps of the whole completion.
Degenerate: fewer than two closed steps: bonus 0. Steps without a sampled token are skipped. All correct: only the trend
    differs. All incorrect: equal, no signal. K = 1, equal lengths, truncated: the same formula. Undecided -> nan.
Pitfalls: the sum is quadratic in the number of steps, so the coefficient belongs to a step count: watch `etr/bonus`. 300 steps
    that jitter by 0.1 cost 2.1, and a correct long answer falls below an incorrect one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward
from tersely.core.present_tokens import present_tokens, sampled_tokens
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ETR(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a long correct row whose entropy rises often falls below incorrect rows"
    needs: ClassVar[tuple[str, ...]] = ("entropy", "step")

    coefficient: float = 0.005
    fall: float = 0.4
    rise: float = 0.8
    decay: float = 0.99
    entropy_unit: float = math.log(5)
    correct_reward: float = 1.0
    wrong_reward: float = -1.0
    bound: float | None = None

    def __post_init__(self) -> None:
        for name in ("coefficient", "fall", "rise"):
            require_range(f"etr.{name}", getattr(self, name), at_least=0)
        require_range("etr.decay", self.decay, at_least=0, at_most=1)
        require_range("etr.entropy_unit", self.entropy_unit, above=0)
        require_range("etr.correct_reward", self.correct_reward)
        require_range("etr.wrong_reward", self.wrong_reward, at_most=self.correct_reward)
        require_range("etr.bound", self.bound, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        value = torch.where(rollouts.correct == 1, self.correct_reward + self.bonus(rollouts), self.wrong_reward)
        return as_reward(value, rollouts)

    def bonus(self, rollouts: Rollouts) -> Tensor:
        """(N,) float64 reward of the entropy trend."""
        means, closed = self._steps(rollouts)
        momentum, total = torch.zeros(len(means), dtype=torch.float64), torch.zeros(len(means), dtype=torch.float64)
        before = torch.full_like(momentum, torch.nan)
        for mean, here in zip(means.unbind(1), closed.unbind(1), strict=True):
            change = mean - before
            reward = self.fall * (-change).clamp(min=0) - self.rise * change.clamp(min=0)
            moved = here & ~before.isnan()
            momentum = torch.where(moved, self.decay * momentum + reward, momentum)
            total = torch.where(moved, total + momentum, total)
            before = torch.where(here, mean, before)
        bonus = self.coefficient * total
        return bonus if self.bound is None else bonus.clamp(-self.bound, self.bound)

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        of_correct = self.bonus(rollouts)[rollouts.correct == 1].abs()
        return {"etr/bonus": of_correct.mean().item()} if len(of_correct) else {}

    def _steps(self, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
        """(N, S) mean entropy / entropy_unit of each step, and (N, S) bool: closed, with a sampled token."""
        entropy, step = rollouts.require("entropy", "etr").double(), rollouts.require("step", "etr")
        sampled = sampled_tokens(rollouts, entropy.shape[1])
        last = torch.where(present_tokens(rollouts, step.shape[1]), step, -1).amax(1, keepdim=True)
        index = step.clamp(min=0)
        total = torch.zeros(len(step), max(1, int(last.max()) + 1), dtype=torch.float64)
        count = total.clone()
        index = index.clamp(max=total.shape[1] - 1)
        total.scatter_add_(1, index, torch.where(sampled, entropy, 0.0))
        count.scatter_add_(1, index, sampled.double())
        closed = (count > 0) & (torch.arange(total.shape[1]) < last)
        return total / count.clamp(min=1) / self.entropy_unit, closed
