"""MaxRL, Maximum Likelihood RL: a rollout's reward minus the group mean, divided by the group mean.

Paper: arXiv 2602.02710, from prime-rl's port.
    A_i = (r_i - mean r) / mean r        over the known rows of the group; 0 where mean r <= epsilon
Symbols: r_i reward >= 0 (no unit); epsilon a reward.
Against GRPO: divided by the mean instead of the spread. For rewards 0 and 1 it is an unbiased gradient of the K-th order
    truncation of log p: a success on a prompt of solve rate p counts 1/p.
Degenerate: all incorrect (mean 0), all correct, equal rewards, K = 1 -> 0. One correct of K: K - 1, the others -1. Undecided
    -> 0 and in no mean.
Pitfalls: up to K - 1. A reward that can be negative makes the mean small or changes its sign. It raises the weight of hard
    prompts and does not shorten: combine it with a length term that is 0 on incorrect rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat
from tersely.core.build import name_of
from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import grouped, mean_of
from tersely.core.objective_parts import ObjectiveParts
from tersely.core.protocols import Advantage
from tersely.core.reward_sum import RewardSum
from tersely.core.types import Rollouts

LEVELS = ("wrong", "wrong_reward")
"""Parameters of outcome terms that are the reward of an incorrect row."""


@dataclass(frozen=True)
class MaxRL(Advantage):
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_range("maxrl.epsilon", self.epsilon, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        mean = mean_of(grouped(rewards, rollouts.group_size), known)
        return flat(torch.where(mean > self.epsilon, gap / mean.clamp(min=1e-30), 0.0))

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise if an outcome term pays incorrect rows less than 0."""
        reward: Any = objective.reward
        terms = reward.terms if isinstance(reward, RewardSum) else (reward,)
        for term in terms:
            levels = {key: value for key, value in vars(term).items() if key in LEVELS}
            for key, level in levels.items():
                if term.includes_outcome and level < 0:
                    raise ConfigError(
                        f"advantage maxrl divides by the mean reward: reward {name_of('reward', term)}: {key}: got {level}; "
                        "expected at least 0"
                    )
