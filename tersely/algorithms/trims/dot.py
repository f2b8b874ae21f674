"""DOT, Dynamic Outlier Truncation: in solved groups, rows far longer than the others are cut and verified again.

Paper: arXiv 2601.03969, from the released code.
    a group qualifies if p >= success_threshold
    T = floor(mean L + std_multiplier sd L) ;   a row with L - T >= margin keeps its first T sampled tokens
Symbols: L sampled tokens; T, margin tokens; p solve rate, mean and sample sd over the group's decided rows; std_multiplier (no
    unit).
Against GRPO: GRPO on rows that may be shorter than sampled.
Degenerate: all incorrect, p below the threshold, K = 1, equal lengths, all at the cap: nothing is cut. Undecided rows: in no
    statistic and never cut. No decided row: nothing. A cut row that is still correct leaves its group all correct.
Pitfalls: the largest z among n values is (n - 1)/sqrt(n), so with a multiplier of 3 nothing is cut for K <= 10. Use filter
    mixed_groups with oversampling, or the groups without a broken row train nothing. A verifier that reads the end of an
    unclosed thought can call a cut row correct.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import decided_rows, lengths, mean_of, reaches, solve_rate, std_of
from tersely.core.protocols import Trim
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class DOT(Trim):
    success_threshold: float = 1.0
    std_multiplier: float = 3.0
    margin: int = 32

    def __post_init__(self) -> None:
        require_range("dot.success_threshold", self.success_threshold, at_least=0, at_most=1)
        require_range("dot.std_multiplier", self.std_multiplier, above=0)
        require_range("dot.margin", self.margin, at_least=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length, threshold = lengths(rollouts), self.thresholds(rollouts)
        cut = decided_rows(rollouts) & (length - threshold >= self.margin)  # nan compares false
        return torch.where(cut, threshold, length).flatten().long()

    def thresholds(self, rollouts: Rollouts) -> Tensor:
        """(P, 1) float64 T in tokens; nan for a group that does not qualify."""
        length, decided = lengths(rollouts), decided_rows(rollouts)
        spread = std_of(length, decided, sample=True)
        found = (mean_of(length, decided) + self.std_multiplier * spread + 1e-9).floor()
        return torch.where(reaches(solve_rate(rollouts), self.success_threshold), found, torch.nan)

    def check_group_size(self, group_size: int) -> None:
        largest = (group_size - 1) / math.sqrt(group_size)
        if self.std_multiplier >= largest:
            raise ConfigError(
                f"dot.std_multiplier: got {self.std_multiplier}; expected below {largest:.4f}, the largest z-score among "
                f"{group_size} rollouts: no row would be cut. Raise group_size (above 10 for 3) or lower std_multiplier"
            )

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        threshold = self.thresholds(rollouts).flatten()
        qualified = ~threshold.isnan()
        found = {"trim/groups": qualified.double().mean().item()}
        return found | ({"trim/threshold": threshold[qualified].mean().item()} if qualified.any() else {})
