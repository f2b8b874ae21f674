"""GRPO-lambda: a length reward only on prompts that the policy already solves.

Paper: arXiv 2505.18086. From secondary sources; threshold and shape: verify before calling them the paper's. Adapted: the
length reward is Arora-Zanette's.
    p >= accuracy_threshold: c (1 - alpha sigmoid((L - mean_C) / (std_C + epsilon)))       otherwise: c
Symbols: c verdict; p solve rate (tolerance 1e-9); L sampled tokens; C the correct rows; population std; epsilon tokens.
Against GRPO: a length term only above an accuracy threshold.
Degenerate: all correct: the length reward. All incorrect -> 0. One correct: c, unless 1/K reaches the threshold. K = 1 and
    correct -> 1 - alpha / 2, as equal lengths. All truncated: by c, truncation is not considered. Undecided -> nan.
Pitfalls: a group at the threshold changes its reward from visit to visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths, reaches, solve_rate
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts
from tersely.rewards.arora_zanette import discounted


@dataclass(frozen=True)
class GRPOLambda(Reward):
    includes_outcome: ClassVar[bool] = True
    label: ClassVar[str] = "adapted: threshold and shape from secondary sources, the length reward is Arora-Zanette's"

    accuracy_threshold: float = 0.75
    alpha: float = 0.2
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        require_range("grpo_lambda.accuracy_threshold", self.accuracy_threshold, at_least=0, at_most=1)
        require_range("grpo_lambda.alpha", self.alpha, at_least=0, at_most=1)
        require_range("grpo_lambda.epsilon", self.epsilon, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = correct_rows(rollouts)
        solved = reaches(solve_rate(rollouts), self.accuracy_threshold)
        short = discounted(lengths(rollouts), right, self.alpha, self.epsilon)
        return as_reward(torch.where(solved, short, right.double()), rollouts)
