"""RLPR's filter: drops groups whose reward spread is below a running average.

Paper: arXiv 2506.18254, released code. The reward is `rewards/rlpr.py`, the prompting `prompting/rlpr.py`.
    keep(group) = std(r) >= beta ema ,   ema_t = decay ema_{t-1} + (1 - decay) mean std_t
    ema records from step `records_from` on and the filter acts from step `acts_from` on; before that, all groups are kept
Symbols: r the RLPR reward of a group's rollouts; beta share of the running spread; steps are generation batches.
Against GRPO: the only filter that uses the reward, which is continuous and does not depend on the verdict.
Degenerate: one rollout -> spread 0, kept only before the filter acts; undecided rows (nan) are left out of the spread.
Pitfalls: give it the parameters of the reward where those are not the defaults. `ema` is state, saved in the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.protocols import Filter
from tersely.core.types import Rollouts
from tersely.rewards.rlpr import RLPR


@dataclass
class RLPRStd(Filter):
    """Keeps groups with at least `beta` times the average spread. beta: 0.5, 0.9 and 1.0 in the paper, by model."""

    beta: float = 0.5
    decay: float = 0.99
    records_from: int = 6
    acts_from: int = 11
    format_weight: float = 0.1
    repetition_penalty: float = 1.0
    ema: float | None = field(default=None, init=False)
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        require_range("rlpr_std.beta", self.beta, at_least=0)
        require_range("rlpr_std.decay", self.decay, at_least=0, below=1)
        require_range("rlpr_std.records_from", self.records_from, at_least=1)
        require_range("rlpr_std.acts_from", self.acts_from, at_least=self.records_from)
        self._reward = RLPR(self.format_weight, self.repetition_penalty)

    @property
    def needs(self) -> tuple[str, ...]:
        return self._reward.needs

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(P,) bool: groups to keep. Does not change the state."""
        spread = self._spread(rollouts)
        if self.step + 1 < self.acts_from or self.ema is None:
            return torch.ones(len(spread), dtype=torch.bool)
        return spread >= self.beta * self.ema

    def update(self, rollouts: Rollouts) -> None:
        """Update the running spread with the step's unfiltered groups."""
        self.step += 1
        spread = self._spread(rollouts).mean().item()
        if self.step >= self.records_from and spread == spread:
            self.ema = spread if self.ema is None else self.decay * self.ema + (1 - self.decay) * spread

    def _spread(self, rollouts: Rollouts) -> Tensor:
        return group_std(rollouts.grouped(self._reward(rollouts)))

    def state_dict(self) -> dict[str, Any]:
        return {"ema": self.ema, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ema, self.step = state["ema"], state["step"]


def group_std(rewards: Tensor) -> Tensor:
    """(P, K) -> (P,) population standard deviation of the decided rewards; 0 for fewer than two."""
    values = rewards.double()
    decided = ~values.isnan()
    count = decided.sum(1).clamp(min=1)
    mean = torch.where(decided, values, 0.0).sum(1) / count
    gap = torch.where(decided, values - mean[:, None], 0.0)
    return (gap.square().sum(1) / count).sqrt()
