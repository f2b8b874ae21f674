"""Group mean: a rollout's reward minus the mean of its prompt's rollouts, without a division.

Paper: arXiv 2503.20783 (Dr. GRPO), together with a constant loss normaliser (`aggregate: constant`).
    A_i = r_i - mean r                              over the decided rollouts of one prompt
Symbols: r_i reward (no unit), so the advantage keeps the reward's scale.
Against GRPO: no division by the spread, hence no bias towards very easy and very hard prompts, and a length term's
    coefficient keeps its meaning.
Degenerate: all equal, K = 1 or fewer than two decided rows -> 0. Undecided -> 0.
Pitfalls: coefficients tuned with a z-score have another scale here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GroupMean(Advantage):
    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        return flat(centred(rewards, rollouts.group_size)[0])
