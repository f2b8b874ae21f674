"""ARM, Ada-GRPO: a bonus for rare answer formats that decays over training.

Paper: arXiv 2505.20258, and its released code.
    r_i = c_i [1 + (K / F_i - 1) (1 + cos(pi t)) / 2]           K/F at t = 0, 1 at t = 1
    (the same as (K/F) decay, decay = F/K + (1 - F/K) (1 + cos(pi t)) / 2)
Symbols: c_i verdict; K decided rows of the group; F_i those whose mode equals row i's; t progress.
Against GRPO: a correct row is scaled by the rarity of its format in the group, so that no format dies out early.
Degenerate: all incorrect -> 0. All one mode -> c. One correct -> between 1 and K. K = 1 -> c. Not well formed -> 0, but it
    counts in F. All truncated: by c. Each mode string is its own bucket. Undecided -> nan, and counts nowhere.
Pitfalls: in an all-correct group the z-scored advantage is rarity alone. t needs the planned number of steps. The format
    tags must survive decoding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.group_stats import as_reward, correct_rows, decided_rows, formed_rows, rows_of_same_mode
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ARM(Reward):
    includes_outcome: ClassVar[bool] = True

    def __call__(self, rollouts: Rollouts) -> Tensor:
        count = decided_rows(rollouts).sum(1, keepdim=True)
        alike = rows_of_same_mode(rollouts, "arm").clamp(min=1)
        fade = (1 + math.cos(math.pi * rollouts.progress)) / 2
        paid = correct_rows(rollouts) & formed_rows(rollouts)
        return as_reward(torch.where(paid, 1 + (count / alike - 1) * fade, 0.0), rollouts)
