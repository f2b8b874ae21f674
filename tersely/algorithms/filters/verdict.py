"""Filters on the raw verdict: `keep_all`, `mixed_groups`, `any_right`, `accuracy_range`.

Papers: `mixed_groups` arXiv 2503.14476 (DAPO, dynamic sampling); `any_right` drops only the groups where length would
be the only signal, and keeps the all-correct ones, where length terms gain most; `accuracy_range` arXiv 2510.08457
(ARES, its online filter).
    keep(group) = 0 < mean v < 1   |   mean v > 0   |   low <= mean v <= high
    v_i = c_i, or c_i * 1[not truncated] with `truncated_is_wrong`
Symbols: v_i verdict of a decided row; low, high shares.
Against GRPO: GRPO keeps all.
Degenerate: no decided row -> dropped by all but `keep_all`; K = 1 -> never mixed.
Pitfalls: these filters do not use the shaped reward: with a length term every group has spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import solve_rate
from tersely.core.protocols import Filter
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class KeepAll(Filter):
    """Keeps every group, as GRPO (arXiv 2402.03300)."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return torch.ones(len(rollouts.prompt_id) // rollouts.group_size, dtype=torch.bool)


@dataclass(frozen=True)
class MixedGroups(Filter):
    """Keeps groups with a correct and an incorrect verdict (DAPO, arXiv 2503.14476)."""

    truncated_is_wrong: bool = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, wrong = _verdicts(rollouts, self.truncated_is_wrong)
        return right.any(1) & wrong.any(1)


@dataclass(frozen=True)
class AnyRight(Filter):
    """Keeps groups with at least one correct verdict."""

    truncated_is_wrong: bool = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return _verdicts(rollouts, self.truncated_is_wrong)[0].any(1)


@dataclass(frozen=True)
class AccuracyRange(Filter):
    """Keeps groups whose share of correct verdicts is in [low, high] (ARES, arXiv 2510.08457)."""

    low: float = 0.01
    high: float = 0.99

    def __post_init__(self) -> None:
        require_range("accuracy_range.low", self.low, at_least=0, at_most=1)
        require_range("accuracy_range.high", self.high, at_least=self.low, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        rate = solve_rate(rollouts).flatten()  # nan without a decided row: compares false
        return (rate >= self.low - 1e-9) & (rate <= self.high + 1e-9)


def _verdicts(rollouts: Rollouts, truncated_is_wrong: bool) -> tuple[Tensor, Tensor]:
    """(P, K) correct rows, (P, K) incorrect rows."""
    right, wrong = rollouts.correct == 1, rollouts.correct == 0
    if truncated_is_wrong:
        wrong = wrong | (right & rollouts.truncated)
        right = right & ~rollouts.truncated
    return right.view(-1, rollouts.group_size), wrong.view(-1, rollouts.group_size)
