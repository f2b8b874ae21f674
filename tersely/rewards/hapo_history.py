"""History-Aware Policy Optimization: compares an answer with the shortest correct one so far for its prompt.

Paper: arXiv 2505.11225, from secondary sources: verify the constants before calling them the paper's.
    f = cos(min((pi / 2) L / h, pi))
    correct: weight max(f, correct_floor)      incorrect: weight min(f, 0)      no h: 0
    update: h <- min(h, shortest correct row of the group), which also sets it the first time
Symbols: L sampled tokens; h the prompt's record `shortest` in memory, tokens; weight, correct_floor (no unit).
    An additive term: `[{name: correctness}, {name: hapo_history}]`.
Against GRPO: an extra term from the prompt's history. Not the token-level HAPO, which has the name `hapo`.
Degenerate: no group statistic in the reward: all correct, all incorrect, K = 1, equal lengths, all truncated: the same
    formula. No record yet, or none correct so far -> 0. Undecided -> nan.
Pitfalls: prompts must repeat, or memory is never read. Incorrect answers are penalised only beyond h. A correct row stays
    above an incorrect one for weight <= 1.42.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths, min_of, remember, remembered
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts

SHORTEST = "shortest"


@dataclass(frozen=True)
class HAPOHistory(Reward):
    includes_outcome: ClassVar[bool] = False
    memory_fields: ClassVar[tuple[str, ...]] = (SHORTEST,)

    weight: float = 1.0
    correct_floor: float = -0.7

    def __post_init__(self) -> None:
        require_range("hapo_history.weight", self.weight, at_least=0)
        require_range("hapo_history.correct_floor", self.correct_floor, at_least=-1, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        shortest = remembered(rollouts, SHORTEST)
        angle = (math.pi / 2 * lengths(rollouts) / shortest.clamp(min=1)).clamp(max=math.pi)
        f = torch.cos(angle)
        value = torch.where(correct_rows(rollouts), f.clamp(min=self.correct_floor), f.clamp(max=0.0))
        return as_reward(self.weight * torch.where(shortest.isnan(), 0.0, value), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        remember(rollouts, SHORTEST, min_of(lengths(rollouts), correct_rows(rollouts)), "hapo_history", lowest=True)
