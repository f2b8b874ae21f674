"""ARLCP: penalises reflection words and length of correct answers, each relative to the group's correct ones.

Paper: arXiv 2602.12113, from the released code.
    correct: 1 - w1 s((R - mean_C R)/(sd_C R + epsilon)) - (total - w1) s((L - mean_C L)/(sd_C L + epsilon))
    w1 = weights[0] if R <= counts[0], weights[1] if R <= counts[1], else weights[2]        incorrect: 0
Symbols: R reflection words; L sampled tokens; C correct rows of the group; sd sample, 1 for one row; s logistic.
Against GRPO: a correct row is worth between 1 - total and 1; with more words, more of the penalty is on the words.
Degenerate: all incorrect: 0. One correct, K = 1, equal R and L: 1 - total / 2. All correct: the same formula. Truncated: by c.
    Undecided -> nan and in no statistic.
Pitfalls: English words only, "but" and "check" are ordinary ones, and the answer counts too. It divides by the group's spread:
    use rloo or group_mean. The release scores a correct row without exactly one `</think>` as 0; here use `format`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import as_reward, correct_rows, grouped, lengths, mean_of, std_of
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ARLCP(Reward):
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("reflections",)

    total: float = 0.2
    weights: tuple[float, ...] = (0.05, 0.10, 0.15)
    counts: tuple[int, ...] = (40, 80)
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        require_range("arlcp.total", self.total, at_least=0, at_most=1)
        require_range("arlcp.epsilon", self.epsilon, at_least=0)
        if len(self.weights) != 3 or len(self.counts) != 2:
            raise ConfigError(
                f"arlcp: got {len(self.weights)} weights and {len(self.counts)} counts; expected 3 weights and 2 counts"
            )
        for weight in self.weights:
            require_range("arlcp.weights", weight, at_least=0, at_most=self.total)
        require_range("arlcp.counts", self.counts[0], at_least=0, at_most=self.counts[1])

    def __call__(self, rollouts: Rollouts) -> Tensor:
        words = grouped(rollouts.require("reflections", "arlcp"), rollouts.group_size)
        right = correct_rows(rollouts)
        few, some = (words <= count for count in self.counts)
        of_words = torch.where(few, self.weights[0], torch.where(some, self.weights[1], self.weights[2]))
        value = 1 - of_words * self._rank(words, right) - (self.total - of_words) * self._rank(lengths(rollouts), right)
        return as_reward(torch.where(right, value, 0.0), rollouts)

    def _rank(self, values: Tensor, right: Tensor) -> Tensor:
        """(P, K) logistic of the z-score over the correct rows; 0.5 for equal values."""
        gap = torch.where(right, values - mean_of(values, right), 0.0)
        spread = torch.where(right.sum(1, keepdim=True) > 1, std_of(values, right, sample=True).nan_to_num(0.0), 1.0)
        return torch.where(gap == 0, 0.0, gap / (spread + self.epsilon).clamp(min=1e-30)).sigmoid()
