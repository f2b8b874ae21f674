"""Token-level group average, HAPO's advantage: mean and spread over tokens, not over rollouts.

Paper: arXiv 2509.16591, from the released code.
    mu = sum L_i R_i / sum L_i ;   sd = sqrt(sum L_i (R_i - mu)^2 / sum L_i) ;   A_i = (R_i - mu) / (sd + eps)
    a group with any |A_i| >= fallback_threshold uses the group z-score with the same eps (released code only)
Symbols: L_i sampled tokens; R_i reward (no unit); eps (no unit).
Against GRPO: sum L_i A_i = 0, so a token-mean loss has no gradient from lengths alone.
Degenerate: all correct, all incorrect, equal rewards among rows with tokens, K = 1, all lengths 0 -> 0. Length-0 and undecided
    rows: 0 and no weight. Equal lengths: the z-score with population spread.
Pitfalls: the fallback breaks the zero sum in the groups that use it; null disables it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import flat, group_zscores, token_centred
from tersely.core.errors import require_range
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class TokenLevelGroupAverage(Advantage):
    normalize_std: bool = True
    eps: float = 1e-6
    fallback_threshold: float | None = 5.0

    def __post_init__(self) -> None:
        require_range("token_level_group_average.eps", self.eps, at_least=0)
        require_range("token_level_group_average.fallback_threshold", self.fallback_threshold, above=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, weight, rows = token_centred(rewards, rollouts)
        value = gap
        if self.normalize_std:
            total = weight.sum(1, keepdim=True).clamp(min=1)
            sd = ((weight * gap.square()).sum(1, keepdim=True) / total).sqrt()
            value = gap / (sd + self.eps).clamp(min=1e-30)
        if self.fallback_threshold is not None:
            far = (value.abs() >= self.fallback_threshold).any(1, keepdim=True)
            value = torch.where(far, group_zscores(rewards, rollouts.group_size, self.eps), value)
        return flat(torch.where(rows, value, 0.0))
