"""GFPO, Group Filtered Policy Optimization: trains only on the best rows of each group.

Paper: arXiv 2508.09726, from secondary sources. Its adaptive `keep` by difficulty is not specified there, so not here.
    S = the `keep` best decided rows by `metric`: the shortest (`length`), or the largest r / L (`token_efficiency`)
    A_i = (r_i - mean_S r) / (std_S r + epsilon) on S ,   0 outside
Symbols: r reward (no unit); L sampled tokens; sample std; epsilon (no unit).
Against GRPO: sample more, learn from fewer; rows are selected, not groups, so it is not in the filter slot.
Degenerate: fewer than `keep` decided rows: all of them. Fewer than two kept, or equal rewards in S (all correct, all
    incorrect, K = 1) -> 0. Equal lengths: the first rows. All truncated: no special case. Undecided -> 0.
Pitfalls: rows outside S get no gradient at all, not a negative one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import EQUAL, flat
from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import grouped, lengths, max_of, mean_of, min_of, std_of
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GFPO(Advantage):
    keep: int = 8
    metric: Literal["length", "token_efficiency"] = "length"
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        require_range("gfpo.keep", self.keep, at_least=1)
        require_choice("gfpo.metric", self.metric, ("length", "token_efficiency"))
        require_range("gfpo.epsilon", self.epsilon, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        r = grouped(rewards, rollouts.group_size)
        kept = self._kept(r, lengths(rollouts))
        mean, std = mean_of(r, kept), std_of(r, kept, sample=True)
        signal = (kept.sum(1, keepdim=True) > 1) & (max_of(r, kept) - min_of(r, kept) > EQUAL)
        return flat(torch.where(kept & signal, (r - mean) / (std + self.epsilon), 0.0))

    def _kept(self, r: Tensor, length: Tensor) -> Tensor:
        """(P, K) bool: S. The sort is stable, so ties are ordered by position."""
        known = ~r.isnan()
        cost = length if self.metric == "length" else -r / length.clamp(min=1)
        order = torch.where(known, cost, torch.inf).sort(dim=1, stable=True).indices
        rank = torch.empty_like(order).scatter_(1, order, torch.arange(r.shape[1]).expand_as(order))
        return known & (rank < self.keep)
