"""GTPO: entropy-weighted rewards, token by token.

Paper: arXiv 2508.04349 (from secondary sources; verify. Whether it clips entropy like this is unclear).
    at position t, d_t correct and h_t incorrect rollouts of the group have a token ("alive"); H clipped to
    [entropy_min, entropy_max]
    correct   base_weight + entropy_weight d_t H_it / sum over correct alive H_kt
    incorrect  -(base_weight + entropy_weight h_t (1/H_it) / sum over incorrect alive 1/H_kt)
    then (x - mean) / (std + eps), population std: `joint` (ours) over all tokens of the group, `separate` over those of its
    correct and of its incorrect rollouts on their own (reported as the paper's Eq. 6)
Symbols: H nats under the sampling policy; weights (no unit).
Against GRPO: uses the verdict, not the reward's value; the reward only excludes rows (nan).
Degenerate: one outcome only -> 0 (`joint`). Equal values in a set, K = 1 -> 0. nan verdict or reward -> 0, out of all sums.
Pitfalls: `separate` removes the base term, gives about half of the correct tokens a negative advantage, and acts in groups
    of one outcome too. A_i H_it / sum H, a formula often quoted, is not the method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import EQUAL
from tersely.core.errors import require_choice, require_range
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class GTPO(Advantage):
    needs: ClassVar[tuple[str, ...]] = ("entropy",)
    label: ClassVar[str] = "adapted: joint standardisation over correct and incorrect tokens"

    base_weight: float = 1.0
    entropy_weight: float = 0.1
    entropy_min: float = 0.2
    entropy_max: float = 0.28
    eps: float = 1e-6
    form: Literal["joint", "separate"] = "joint"

    def __post_init__(self) -> None:
        require_range("gtpo.base_weight", self.base_weight, at_least=0)
        require_range("gtpo.entropy_weight", self.entropy_weight, at_least=0)
        require_range("gtpo.entropy_min", self.entropy_min, above=0)
        require_range("gtpo.entropy_max", self.entropy_max, at_least=self.entropy_min)
        require_range("gtpo.eps", self.eps, at_least=0)
        require_choice("gtpo.form", self.form, ("joint", "separate"))

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        entropy = rollouts.require("entropy", "gtpo")
        size, width = rollouts.group_size, entropy.shape[1]
        known = sampled_tokens(rollouts, width) & ~rewards.isnan().unsqueeze(1)
        h = torch.where(known, entropy.detach().double(), 1.0).clamp(self.entropy_min, self.entropy_max)
        h = h.view(-1, size, width)
        right, wrong = (
            (known & (rollouts.correct == verdict).unsqueeze(1)).view(-1, size, width) for verdict in (1, 0)
        )
        value = torch.where(right, self._reward(h, right), -self._reward(1 / h, wrong))
        if self.form == "separate":
            advantage = self._standard(value, right) + self._standard(value, wrong)
        else:
            mixed = right.flatten(1).any(1) & wrong.flatten(1).any(1)
            advantage = self._standard(value, (right | wrong) & mixed.view(-1, 1, 1))
        return advantage.view(-1, width).float()

    def _reward(self, weight: Tensor, alive: Tensor) -> Tensor:
        """(P, K, T): base plus the token's share of `weight` among the alive rollouts, times their number."""
        total = torch.where(alive, weight, 0.0).sum(1, keepdim=True)
        count = alive.sum(1, keepdim=True)
        return self.base_weight + self.entropy_weight * count * weight / total.clamp(min=1e-30)

    def _standard(self, value: Tensor, chosen: Tensor) -> Tensor:
        """(P, K, T) standardised over the chosen tokens of each group, 0 elsewhere."""
        count = chosen.sum((1, 2), keepdim=True).clamp(min=1)
        mean = torch.where(chosen, value, 0.0).sum((1, 2), keepdim=True) / count
        gap = torch.where(chosen, value - mean, 0.0)
        std = (gap.square().sum((1, 2), keepdim=True) / count).sqrt()
        apart = gap.amax((1, 2), keepdim=True) - gap.amin((1, 2), keepdim=True) >= EQUAL
        return torch.where(chosen & apart, gap / (std + self.eps), 0.0)
