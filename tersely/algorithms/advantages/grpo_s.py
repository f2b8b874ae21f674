"""GRPO-S: entropy-weighted rewards, rollout by rollout.

Paper: arXiv 2508.04349 (from secondary sources; verify).
    Hb_i = mean over the row's tokens of H clipped to [entropy_min, entropy_max]
    correct  base_weight + entropy_weight n_right Hb_i / sum correct Hb ;   incorrect -(base_weight + entropy_weight n_wrong
    (1/Hb_i) / sum incorrect 1/Hb) ;   then the group z-score, unbiased std, eps
Symbols: H nats under the sampling policy; n_right, n_wrong rollouts of the group.
Against GRPO: uses the verdict, not the reward's value; the reward only excludes rows (nan).
Degenerate: all correct, all incorrect, K = 1 -> 0. nan verdict, nan reward or no token -> 0, out of all sums.
Pitfalls: the paper's sequence ratio is the mean of token ratios; any loss goes with it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import flat, group_zscores
from tersely.core.errors import require_range
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GRPOS(Advantage):
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    base_weight: float = 1.0
    entropy_weight: float = 0.1
    entropy_min: float = 0.2
    entropy_max: float = 0.28
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require_range("grpo_s.base_weight", self.base_weight, at_least=0)
        require_range("grpo_s.entropy_weight", self.entropy_weight, at_least=0)
        require_range("grpo_s.entropy_min", self.entropy_min, above=0)
        require_range("grpo_s.entropy_max", self.entropy_max, at_least=self.entropy_min)
        require_range("grpo_s.eps", self.eps, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        entropy = rollouts.require("entropy", "grpo_s")
        size = rollouts.group_size
        present = sampled_tokens(rollouts, entropy.shape[1])
        h = torch.where(present, entropy.detach().double(), 1.0).clamp(self.entropy_min, self.entropy_max)
        tokens = present.sum(1)
        mean = torch.where(present, h, 0.0).sum(1) / tokens.clamp(min=1)
        known = (tokens > 0) & ~rewards.isnan()
        mean = torch.where(known, mean, 1.0).view(-1, size)
        right, wrong = ((known & (rollouts.correct == verdict)).view(-1, size) for verdict in (1, 0))
        value = torch.where(right, self._reward(mean, right), -self._reward(1 / mean, wrong))
        mixed = right.any(1, keepdim=True) & wrong.any(1, keepdim=True)
        value = torch.where((right | wrong) & mixed, value, torch.nan)
        return flat(group_zscores(value.flatten(), size, self.eps))

    def _reward(self, weight: Tensor, rows: Tensor) -> Tensor:
        """(P, K)."""
        total = torch.where(rows, weight, 0.0).sum(1, keepdim=True)
        return self.base_weight + self.entropy_weight * rows.sum(1, keepdim=True) * weight / total.clamp(min=1e-30)
