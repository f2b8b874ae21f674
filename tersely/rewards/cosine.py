"""Cosine reward: correct answers earn more when short, incorrect ones lose less when long.

Paper: arXiv 2502.03373, from the released code.
    v = long + (short - long) (1 + cos(pi L / L_max)) / 2        with the pair of the verdict
    r = exceed where L + margin >= L_max, correct or incorrect; else v
Symbols: L sampled tokens; short, long the values at L = 0 and L = L_max (no unit); L_max the component's `max_length`,
    else the run's cap; margin tokens.
Against GRPO: absolute shaping of both verdicts by length. It stabilises length rather than reducing it.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1 and equal lengths need no rule. All
    truncated -> exceed. Undecided -> nan.
Pitfalls: incorrect answers are rewarded for length; add a repetition penalty. `exceed` (-10) applies to correct answers too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, cap, correct_rows, either, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Cosine(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "the over-length value applies to correct answers too"

    correct_short: float = 2.0
    correct_long: float = 1.0
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    exceed: float = -10.0
    margin: int = 16
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("correct_short", "correct_long", "wrong_short", "wrong_long", "exceed"):
            require_range(f"cosine.{name}", getattr(self, name))
        require_range("cosine.margin", self.margin, at_least=0)
        require_range("cosine.max_length", self.max_length, above=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length, right, longest = lengths(rollouts), correct_rows(rollouts), cap(self.max_length, rollouts)
        short = either(right, self.correct_short, self.wrong_short)
        long = either(right, self.correct_long, self.wrong_long)
        value = long + (short - long) * (1 + torch.cos(math.pi * length / longest)) / 2
        return as_reward(torch.where(length + self.margin >= longest, self.exceed, value), rollouts)
