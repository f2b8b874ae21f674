"""Concise reasoning via reinforcement learning: three reward levels, and a second short phase of training.

Paper: arXiv 2504.05185, from secondary sources. Adapted: published as PPO with GAE (lambda 0.95) on 8 solvable problems;
only the reward levels fit here.
    r = correct_reward correct,  wrong_reward incorrect,  malformed_reward without an answer in the required form
Symbols: rewards (no unit).
Against GRPO: no length term; that answers get shorter is the paper's argument about PPO with lambda < 1.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths and all truncated need no rule.
    Undecided -> nan.
Pitfalls: without a critic and with groups, this reward alone does not shorten answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, either, formed_rows
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ConciseRL(Reward):
    includes_outcome: ClassVar[bool] = True
    label: ClassVar[str] = "adapted: published as PPO with a critic; only the reward levels fit"

    correct_reward: float = 1.0
    wrong_reward: float = -0.5
    malformed_reward: float = -1.0

    def __post_init__(self) -> None:
        require_range("concise_rl.correct_reward", self.correct_reward)
        require_range("concise_rl.wrong_reward", self.wrong_reward, at_most=self.correct_reward)
        require_range("concise_rl.malformed_reward", self.malformed_reward)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        value = either(correct_rows(rollouts), self.correct_reward, self.wrong_reward)
        return as_reward(torch.where(formed_rows(rollouts), value, self.malformed_reward), rollouts)
