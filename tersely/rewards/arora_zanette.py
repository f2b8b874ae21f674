"""Arora-Zanette, "Training Language Models to Reason Efficiently": a discount on long answers among the correct ones.

Paper: arXiv 2502.04463, from the released code.
    r = c (1 - alpha sigmoid((L - mean_C) / (std_C + epsilon)))
Symbols: c verdict, 0 for truncated rows with `truncated_is_wrong`, before C is formed; C the correct rows of the group;
    L sampled tokens; population std; alpha (published: 0.05, 0.1, 0.2, 0.4); epsilon tokens.
Against GRPO: a discount on correct answers by their relative length among them; incorrect ones stay at 0.
Degenerate: none correct -> 0. One correct, K = 1 or equal lengths -> 1 - alpha / 2. All truncated -> 0 with
    `truncated_is_wrong`, else by c. Undecided -> nan.
Pitfalls: designed for `rloo`; the authors warn of z-scores, which amplify the discount in all-correct groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths, truncated_rows, zscore_within
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class AroraZanette(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.1
    epsilon: float = 1e-7
    truncated_is_wrong: bool = True

    def __post_init__(self) -> None:
        require_range("arora_zanette.alpha", self.alpha, at_least=0, at_most=1)
        require_range("arora_zanette.epsilon", self.epsilon, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = correct_rows(rollouts)
        if self.truncated_is_wrong:
            right = right & ~truncated_rows(rollouts)
        return as_reward(discounted(lengths(rollouts), right, self.alpha, self.epsilon), rollouts)


def discounted(length: Tensor, right: Tensor, alpha: float, epsilon: float) -> Tensor:
    """(P, K): 1 - alpha sigmoid(standardised length) on correct rows, 0 elsewhere."""
    z = zscore_within(length, right, sample=False, epsilon=epsilon)
    return torch.where(right, 1 - alpha * z.sigmoid(), 0.0)
