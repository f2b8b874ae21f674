"""QAE, quantile advantage estimation: a group quantile as the baseline, so that most rows get advantage 0.

Paper: arXiv 2509.22611, from the code repository's readme.
    A_i = (R_i - q) / (std + eps)       q the group's quantile, unbiased std
    right_continuous: element min(floor(quantile k + 1e-9), k - 1) of the k sorted finite rewards;  linear: torch's default
Symbols: R reward (no unit); quantile 0.4 (0.6 where entropy collapses early).
Against GRPO: hard prompts (few correct) reinforce only their successes, easy prompts penalise only their failures.
Degenerate: all correct, all incorrect, equal rewards, fewer than two decided rows, K = 1 -> 0. Undecided -> 0.
Pitfalls: with binary rewards only right_continuous has this effect. Most advantages are exactly 0; that is intended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat, spread
from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import grouped, quantile_of
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class QuantileBaseline(Advantage):
    quantile: float = 0.4
    method: Literal["right_continuous", "linear"] = "right_continuous"
    normalize_std: bool = True
    eps: float = 1e-4

    def __post_init__(self) -> None:
        require_range("quantile_baseline.quantile", self.quantile, at_least=0, at_most=1)
        require_choice("quantile_baseline.method", self.method, ("right_continuous", "linear"))
        require_range("quantile_baseline.eps", self.eps, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        r = grouped(rewards, rollouts.group_size)
        gap, known = centred(rewards, rollouts.group_size)
        std = spread(gap, known)
        base = (
            self._right_continuous(r, known)
            if self.method == "right_continuous"
            else quantile_of(r, known, self.quantile)
        )
        value = r - base
        if self.normalize_std:
            value = value / (std + self.eps).clamp(min=1e-30)
        return flat(torch.where(known & (std > 0), value, 0.0))

    def _right_continuous(self, r: Tensor, known: Tensor) -> Tensor:
        """(P, 1)."""
        ordered = torch.where(known, r, torch.inf).sort(1).values
        counts = known.sum(1).tolist()
        places = [max(min(math.floor(self.quantile * k + 1e-9), k - 1), 0) for k in counts]
        return ordered.gather(1, torch.tensor(places, device=r.device).unsqueeze(1))
