"""ALP, Adaptive Length Penalty: a length penalty in proportion to the prompt's solve rate.

Paper: arXiv 2506.05256. The formula is from secondary sources, no released code is known: verify before calling
`beta` and `normalizer` the paper's.
    r_i = c_i - beta * max(p, floor) * L_i / normalizer ,      floor = 1/K unless `solve_rate_floor` is set
Symbols: c_i verdict; L_i sampled tokens; p solve rate of the group's K decided rows; beta penalty (no unit when the
    normalizer is in tokens); normalizer tokens, or "max_length" (the run's cap), or "group_max" (the group's longest
    decided row).
Against GRPO: one length term in the reward, stronger on prompts that the policy solves, for correct and incorrect alike.
Degenerate: all correct -> 1 - beta L/N. All incorrect -> -(beta/K) L/N, still a push to shorter. One correct: p = 1/K = floor.
    K = 1: floor 1, an incorrect lone rollout pays in full. All truncated: the same formula. Undecided -> nan.
Pitfalls: a z-score in an all-correct or all-incorrect group cancels beta and the difficulty weight; use `group_mean` (the
    shipped preset, beta 0.2 with max_length) or drop such groups. beta 1e-7 with normalizer 1 needs the z-score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import as_reward, decided_rows, grouped, lengths, max_of, solve_rate
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ALP(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a correct answer costs up to beta * L / normalizer, which can exceed 1"

    beta: float = 1e-7
    normalizer: float | Literal["max_length", "group_max"] = 1.0
    solve_rate_floor: float | None = None

    def __post_init__(self) -> None:
        require_range("alp.beta", self.beta, at_least=0)
        require_range("alp.solve_rate_floor", self.solve_rate_floor, at_least=0, at_most=1)
        if isinstance(self.normalizer, str):
            if self.normalizer not in ("max_length", "group_max"):
                raise ConfigError(
                    f"alp.normalizer: got {self.normalizer!r}; expected a number of tokens above 0, "
                    "'max_length' or 'group_max'"
                )
        else:
            require_range("alp.normalizer", self.normalizer, above=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        decided = decided_rows(rollouts)
        count = decided.sum(1, keepdim=True).clamp(min=1)
        floor = 1.0 / count.double() if self.solve_rate_floor is None else self.solve_rate_floor
        rate = solve_rate(rollouts).clamp(min=torch.as_tensor(floor, dtype=torch.float64))
        length = lengths(rollouts)
        penalty = self.beta * rate * length / self._normalizer(rollouts, length, decided)
        return as_reward(grouped(rollouts.correct, rollouts.group_size) - penalty, rollouts)

    def _normalizer(self, rollouts: Rollouts, length: Tensor, decided: Tensor) -> float | Tensor:
        if self.normalizer == "max_length":
            return float(rollouts.max_length)
        if self.normalizer == "group_max":
            return max_of(length, decided).clamp(min=1)
        return float(self.normalizer)
