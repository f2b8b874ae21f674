"""Kimi k1.5's length penalty: a linear rank of length within the group, added to the outcome.

Paper: arXiv 2501.12599. From a port and secondary sources; weight and warm-up: verify before calling them the paper's.
    lambda_i = 0.5 - (L_i - min L) / (max L - min L)            over the decided rows of the group
    r_i = weight lambda_i (correct) ,   weight min(0, lambda_i) (incorrect) ,   0 while t < warmup
Symbols: L sampled tokens; t progress; weight (no unit; a port uses 0.4); warmup a share of the run.
    An additive term: `[{name: correctness}, {name: kimi, weight: 0.5}]`.
Against GRPO: an extra term between -weight / 2 and weight / 2.
Degenerate: max = min (equal lengths, K = 1) -> 0. All correct, all incorrect, all truncated: the same formula.
    Undecided -> nan, and in no minimum or maximum.
Pitfalls: one truncated row stretches the range for all. A correct row stays above an incorrect one for weight <= 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, max_of, min_of
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Kimi(Reward):
    includes_outcome: ClassVar[bool] = False

    weight: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_range("kimi.weight", self.weight, at_least=0)
        require_range("kimi.warmup", self.warmup, at_least=0, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length, decided = lengths(rollouts), decided_rows(rollouts)
        shortest, longest = min_of(length, decided), max_of(length, decided)
        rank = torch.where(longest > shortest, 0.5 - (length - shortest) / (longest - shortest), 0.0)
        value = torch.where(correct_rows(rollouts), rank, rank.clamp(max=0.0))
        weight = 0.0 if rollouts.progress < self.warmup else self.weight
        return as_reward(weight * value, rollouts)
