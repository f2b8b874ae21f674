"""Filters on the raw verdict: which groups train at all.

Papers: `mixed_groups` arXiv 2503.14476 (DAPO, dynamic sampling); `any_right` drops only the groups where nothing but
length would speak, and keeps the all-right ones, where length terms earn most; `accuracy_range` arXiv 2510.08457 (ARES,
its online filter).
    keep(group) = 0 < mean v < 1   |   mean v > 0   |   low <= mean v <= high
    v_i = c_i, or c_i * 1[not truncated] with `truncated_is_wrong`
Symbols: v_i verdict of a decided row; low, high shares.
Against GRPO: GRPO keeps all.
Degenerate: no decided row -> dropped by all but `keep_all`; K = 1 -> never mixed.
Pitfalls: a filter never looks at a shaped reward: with any length term every group has spread.
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
    """Every group, GRPO's choice (arXiv 2402.03300)."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return torch.ones(len(rollouts.prompt_id) // rollouts.group_size, dtype=torch.bool)


@dataclass(frozen=True)
class MixedGroups(Filter):
    """Groups with a right and a wrong verdict (DAPO, arXiv 2503.14476)."""

    truncated_is_wrong: bool = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, wrong = _verdicts(rollouts, self.truncated_is_wrong)
        return right.any(1) & wrong.any(1)


@dataclass(frozen=True)
class AnyRight(Filter):
    """Groups with a right verdict: the complement of the all-wrong ones."""

    truncated_is_wrong: bool = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return _verdicts(rollouts, self.truncated_is_wrong)[0].any(1)


@dataclass(frozen=True)
class AccuracyRange(Filter):
    """Groups whose share of right verdicts lies in [low, high] (ARES, arXiv 2510.08457)."""

    low: float = 0.01
    high: float = 0.99

    def __post_init__(self) -> None:
        require_range("accuracy_range.low", self.low, at_least=0, at_most=1)
        require_range("accuracy_range.high", self.high, at_least=self.low, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        rate = solve_rate(rollouts).flatten()  # nan without a decided row: compares false
        return (rate >= self.low - 1e-9) & (rate <= self.high + 1e-9)


def _verdicts(rollouts: Rollouts, truncated_is_wrong: bool) -> tuple[Tensor, Tensor]:
    """(P, K) right rows, (P, K) wrong rows."""
    right, wrong = rollouts.correct == 1, rollouts.correct == 0
    if truncated_is_wrong:
        wrong = wrong | (right & rollouts.truncated)
        right = right & ~rollouts.truncated
    return right.view(-1, rollouts.group_size), wrong.view(-1, rollouts.group_size)
