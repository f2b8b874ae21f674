"""RLOO, leave one out: a rollout's reward minus the mean of the others of its prompt.

Paper: arXiv 2402.14740 (Back to Basics, REINFORCE leave-one-out).
    A_i = r_i - mean of the other decided rewards = K/(K-1) (r_i - mean r)
Symbols: r_i reward (no unit); K decided rollouts of the prompt.
Against GRPO: an unbiased baseline, no division by the spread.
Degenerate: K = 1, all equal or fewer than two decided rows -> 0. Undecided -> 0.
Pitfalls: as `group_mean`; the factor K/(K-1) counts decided rows, so two undecided rows change it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class RLOO(Advantage):
    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        count = known.sum(1, keepdim=True)
        return flat(gap * count / (count - 1).clamp(min=1))
