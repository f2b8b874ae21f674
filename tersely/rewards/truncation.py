"""Truncation: a reward only for correct answers within the token limit.

Paper: arXiv 2504.01296 (ThinkPrune) and 2510.15110 (DLER), from their released code.
    r_i = c_i * 1[not truncated and L_i <= limit]
Symbols: c_i verdict; L_i sampled tokens; limit tokens, null = the run's cap.
Against GRPO: an answer past the limit is worth nothing, even if it is correct.
Degenerate: all truncated -> 0 for all, no signal. Undecided -> nan. No group statistic, K = 1 is fine.
Pitfalls: a row that ends exactly at the cap with EOS is not truncated. Early in a run with a short cap most groups can be
    all incorrect from truncation alone: drop them by the same rule (`mixed_groups {truncated_is_wrong: true}`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Truncation(Reward):
    includes_outcome: ClassVar[bool] = True

    limit: int | None = None

    def __post_init__(self) -> None:
        require_range("truncation.limit", self.limit, above=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        limit = self.limit if self.limit is not None else rollouts.max_length
        inside = ~rollouts.truncated & (rollouts.length <= limit)
        return torch.where(inside | ~rollouts.decided, rollouts.correct, 0.0).float()
