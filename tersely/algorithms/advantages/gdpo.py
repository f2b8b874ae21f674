"""GDPO, Group reward-Decoupled Normalization: each reward term is standardised in its group before the weights apply.

Paper: arXiv 2601.05242, from the released code; TRL and verl agree.
    z_ik = (r_ik - group mean r_k) / (group std r_k + epsilon)          per term k, sample std
    a_i  = sum_k weight_k z_ik ;   A_i = (a_i - m) / (s + epsilon)      m, s over the known rows of the generation batch
Symbols: r_ik term k of row i (no unit); known: no term is nan; whiten `sequence`: plain m and sample s (TRL's
    `normalize_then_sum`); `token`: m and s weighted by sampled tokens, as `batch_whitened` (verl); `none`: A = a.
Against GRPO: a term of small range is not drowned by one of large range.
Degenerate: a term whose spread in the group is below 1e-8, or with fewer than two known rows: z = 0. All correct, all
    incorrect: the outcome term is 0, the others still count. K = 1: z = 0. No spread in the batch or fewer than two known rows:
    0. One term: a z-score, then whitened. Undecided -> 0 and in no statistic of any term.
Pitfalls: a length term has full weight in all-incorrect groups: use filter mixed_groups or any_right. With whitening only the
    ratios of the weights matter. Coefficients inside a term (alp's beta) cancel: use `weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import flat, group_zscores, whitened
from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import grouped, lengths
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GDPO(Advantage):
    per_term: ClassVar[bool] = True
    scope: ClassVar[str] = "batch"

    epsilon: float = 1e-4
    whiten: Literal["sequence", "token", "none"] = "sequence"

    def __post_init__(self) -> None:
        require_range("gdpo.epsilon", self.epsilon, at_least=0)
        require_choice("gdpo.whiten", self.whiten, ("sequence", "token", "none"))

    def __call__(self, rewards: Tensor, rollouts: Rollouts, weights: Tensor) -> Tensor:  # type: ignore[override]
        known = ~rewards.isnan().any(1)
        total = torch.zeros(grouped(known, rollouts.group_size).shape, dtype=torch.float64)
        for column, weight in zip(rewards.unbind(1), torch.as_tensor(weights).tolist(), strict=True):
            column = torch.where(known, column, torch.nan)
            total += weight * group_zscores(column, rollouts.group_size, self.epsilon)
        if self.whiten == "none":
            return flat(total)
        rows = known.view_as(total)
        weight_of_row = torch.where(rows, lengths(rollouts) if self.whiten == "token" else 1.0, 0.0)
        return flat(whitened(total, rows, weight_of_row, self.epsilon))
