"""Entropy-shaped advantages: a small bonus for tokens with high entropy.

Paper: arXiv 2506.14758 (Reasoning with Exploration; from secondary sources, kappa agrees in two ports).
    A_it = z_i + min(alpha H_it, |z_i| / kappa)      on the row's tokens
Symbols: z the group z-score; H nats under the sampling policy; alpha 0.4 (PPO: 0.1); kappa >= 1, so no sign flips.
Against GRPO: a bonus after normalisation, never negative.
Degenerate: z = 0 (all correct, all incorrect, K = 1, zero spread) -> 0. Undecided and positions past `length` -> 0.
Pitfalls: uncertain incorrect tokens are penalised less. Use it with clip-higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import group_zscores
from tersely.core.errors import require_range
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class EntropyShaped(Advantage):
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    alpha: float = 0.4
    kappa: float = 2.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        require_range("entropy_shaped.alpha", self.alpha, at_least=0)
        require_range("entropy_shaped.kappa", self.kappa, at_least=1)
        require_range("entropy_shaped.eps", self.eps, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        entropy = rollouts.require("entropy", "entropy_shaped")
        z = group_zscores(rewards, rollouts.group_size, self.eps).view(-1, 1)
        bonus = torch.minimum(self.alpha * entropy.detach().double(), z.abs() / self.kappa)
        return torch.where(sampled_tokens(rollouts, entropy.shape[1]), z + bonus, 0.0).float()
