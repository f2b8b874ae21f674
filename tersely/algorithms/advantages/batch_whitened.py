"""Batch whitening: centres rewards on their group, then standardises them over the generation batch.

Paper: arXiv 2501.03262 (REINFORCE++-baseline), as used by DLER, arXiv 2510.15110.
    a_i = r_i - group mean;   A_i = (a_i - m) / (s + epsilon)
    m = sum q a / sum q,   s^2 = sum q (a - m)^2 / (sum q - 1)      over all decided rows of the batch
Symbols: q_i = 1 (`weighting: sequence`) or L_i, sampled tokens (`token`, which is what the released code does: it
    whitens over response tokens); epsilon (no unit).
Against GRPO: one spread for the batch instead of one per prompt, so a nearly homogeneous group is not amplified.
Degenerate: fewer than two decided rows, or no spread in the batch -> 0. Groups of K = 1 centre to 0 and stay in.
    Undecided -> 0.
Pitfalls: compute m and s over the gathered batch; per rank it is a different method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat, whitened
from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import lengths
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class BatchWhitened(Advantage):
    scope: ClassVar[str] = "batch"

    epsilon: float = 1e-4
    weighting: Literal["sequence", "token"] = "sequence"

    def __post_init__(self) -> None:
        require_range("batch_whitened.epsilon", self.epsilon, at_least=0)
        require_choice("batch_whitened.weighting", self.weighting, ("sequence", "token"))

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        weight = torch.where(known, lengths(rollouts) if self.weighting == "token" else 1.0, 0.0)
        return flat(whitened(gap, known, weight, self.epsilon))
