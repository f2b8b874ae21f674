"""AdaptThink: correctness plus a small bonus for not thinking.

Paper: arXiv 2505.13417, from the released code. Goes with the prompting and the advantage `reference_baseline`.
    r = c + delta 1[mode = no_think]
Symbols: c verdict; delta (no unit), bonus for skipped thinking, relative to the reference's accuracy.
Against GRPO: a constant for one mode; the baseline is a reference accuracy per prompt, not the group.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths and all truncated need no rule.
    Undecided -> nan.
Pitfalls: with a group baseline delta rewards not thinking even if it fails; use it with `reference_baseline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, rows_in_mode
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class AdaptThink(Reward):
    includes_outcome: ClassVar[bool] = True

    delta: float = 0.05

    def __post_init__(self) -> None:
        require_range("adaptthink.delta", self.delta, at_least=0, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        skipped = rows_in_mode(rollouts, "no_think", "adaptthink")
        return as_reward(correct_rows(rollouts).double() + self.delta * skipped.double(), rollouts)
