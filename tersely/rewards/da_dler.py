"""DA-DLER, difficulty-aware DLER: truncation with a shorter limit for prompts that are mostly solved.

Paper: arXiv 2510.15110, and its released code.
    c' = c 1[not truncated, L <= hard_limit]
    limit = easy_limit if mean c' >= accuracy_threshold, else hard_limit
    r = c 1[not truncated, L <= limit]
Symbols: c verdict; L sampled tokens; limits tokens; the mean is over the decided rows of the group.
Against GRPO: an answer past its limit is worth nothing; the limit depends on the group's solve rate within the hard limit.
Degenerate: all correct and short -> easy limit. All incorrect, all truncated -> 0. One correct: easy limit only if
    1/K >= threshold. K = 1: its own verdict decides. Equal lengths: nothing special. Undecided -> nan.
Pitfalls: a group near the threshold changes its limit from visit to visit. Drop groups by the truncated verdict
    (`mixed_groups {truncated_is_wrong: true}`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, reaches, share_of, truncated_rows
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class DADLER(Reward):
    includes_outcome: ClassVar[bool] = True

    easy_limit: int = 2000
    hard_limit: int = 4000
    accuracy_threshold: float = 0.5

    def __post_init__(self) -> None:
        require_range("da_dler.hard_limit", self.hard_limit, above=0)
        require_range("da_dler.easy_limit", self.easy_limit, above=0, at_most=self.hard_limit)
        require_range("da_dler.accuracy_threshold", self.accuracy_threshold, at_least=0, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length = lengths(rollouts)
        finished = correct_rows(rollouts) & ~truncated_rows(rollouts)
        rate = share_of(finished & (length <= self.hard_limit), decided_rows(rollouts))
        limit = torch.where(reaches(rate, self.accuracy_threshold), self.easy_limit, self.hard_limit)
        return as_reward((finished & (length <= limit)).double(), rollouts)
