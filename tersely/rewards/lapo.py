"""LAPO, Length-Adaptive Policy Optimization: learns a target length per prompt from the policy's correct answers.

Paper: arXiv 2507.15758. Formulas from the paper; alpha, beta and sigma from the released code.
    discovery         R = c + alpha R1 ,  [lo, hi] = percentiles of the group's correct lengths
        R1 = 1 if c = 1 and lo <= L <= hi ;  max(0, 1 - min(|L - lo|, |L - hi|) / falloff) if c = 1 outside ;  0 if c = 0
        memory.target <- median of the correct lengths, at every visit with a correct row
    internalization   R = c + beta c exp(-(L - n)^2 / (2 sigma^2)) ,  n the budget that the prompt announced
        memory.target <- min(target, median), or the median where there is none: it only ratchets down
Symbols: c verdict; L sampled tokens; falloff, sigma, n tokens; alpha, beta (no unit).
Against GRPO: a length bonus for correct answers only; the second stage also requests the length in the prompt.
Degenerate: all incorrect -> 0, memory unchanged. One correct (or K = 1): 1 + alpha in discovery (`form: released`: 1, it pays
    no bonus unless lo < hi). Equal correct lengths: as one correct. All truncated: by c. Budget nan: no bonus.
    Undecided -> nan, in no statistic.
Pitfalls: sigma 120 at targets of 1,000 to 3,000 tokens is narrow. n is the value in the prompt, not the current memory.
    A cap below a target makes it unreachable. Memory needs at least two epochs, and keys that do not change with the
    prompt's text. `form: released` of internalization centres on the median of this group's correct lengths where n is
    `unsolved_target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import (
    as_reward,
    budgets,
    correct_rows,
    decided_rows,
    group_ids,
    lengths,
    quantile_of,
    remember,
)
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts

TARGET = "target"
"""Field of the prompt memory that both stages use."""
FORMS = ("paper", "released")


@dataclass(frozen=True)
class LAPODiscovery(Reward):
    includes_outcome: ClassVar[bool] = True
    memory_fields: ClassVar[tuple[str, ...]] = (TARGET,)

    alpha: float = 0.7
    lower_percentile: float = 30.0
    upper_percentile: float = 70.0
    falloff: float = 100.0
    form: Literal["paper", "released"] = "paper"
    forget_unsolved: bool = False
    """Remove the target if a visit has decided rows but no correct one."""

    def __post_init__(self) -> None:
        require_range("lapo_discovery.alpha", self.alpha, at_least=0)
        require_range("lapo_discovery.lower_percentile", self.lower_percentile, at_least=0, at_most=100)
        require_range(
            "lapo_discovery.upper_percentile", self.upper_percentile, at_least=self.lower_percentile, at_most=100
        )
        require_range("lapo_discovery.falloff", self.falloff, above=0)
        require_choice("lapo_discovery.form", self.form, FORMS)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, length = correct_rows(rollouts), lengths(rollouts)
        low = quantile_of(length, right, self.lower_percentile / 100)
        high = quantile_of(length, right, self.upper_percentile / 100)
        outside = torch.minimum((length - low).abs(), (length - high).abs())
        bonus = torch.where((length >= low) & (length <= high), 1.0, (1 - outside / self.falloff).clamp(min=0))
        if self.form == "released":
            bonus = torch.where(low < high, bonus, 0.0)
        return as_reward(torch.where(right, 1 + self.alpha * bonus, 0.0), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        median = quantile_of(lengths(rollouts), correct_rows(rollouts), 0.5)
        remember(rollouts, TARGET, median, "lapo_discovery")
        if self.forget_unsolved and rollouts.memory is not None:
            last: dict[str, bool] = {}
            right, decided = correct_rows(rollouts).any(1).tolist(), decided_rows(rollouts).any(1).tolist()
            for prompt_id, solved, visited in zip(group_ids(rollouts), right, decided, strict=True):
                last[prompt_id] = solved if visited else last.get(prompt_id, True)
            for prompt_id, solved in last.items():
                if not solved:
                    rollouts.memory.forget(prompt_id, TARGET)


@dataclass(frozen=True)
class LAPOInternalization(Reward):
    includes_outcome: ClassVar[bool] = True
    memory_fields: ClassVar[tuple[str, ...]] = (TARGET,)

    beta: float = 0.8
    sigma: float = 120.0
    unsolved_target: int = 4096
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        require_range("lapo_internalization.beta", self.beta, at_least=0)
        require_range("lapo_internalization.sigma", self.sigma, above=0)
        require_range("lapo_internalization.unsolved_target", self.unsolved_target, above=0)
        require_choice("lapo_internalization.form", self.form, FORMS)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, length = correct_rows(rollouts), lengths(rollouts)
        centre = budgets(rollouts, "lapo_internalization")
        if self.form == "released":
            centre = torch.where(centre == self.unsolved_target, quantile_of(length, right, 0.5), centre)
        bonus = (-(length - centre).square() / (2 * self.sigma**2)).exp().nan_to_num(0.0)
        return as_reward(torch.where(right, 1 + self.beta * bonus, 0.0), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        median = quantile_of(lengths(rollouts), correct_rows(rollouts), 0.5)
        remember(rollouts, TARGET, median, "lapo_internalization", lowest=True)
