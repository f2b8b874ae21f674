"""Statistics of whole groups, in float64, over decided rows only.

Shapes: (N,) in, (P, K) or (P, 1) out. A statistic of no row is nan, so that a caller must say what it means there.
float64 because the float32 mean of equal numbers is off by one ulp, and an estimator that divides by a small epsilon
turns that ulp into a training signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.rl.types import Rollouts


def grouped(values: Tensor, group_size: int) -> Tensor:
    """(N,) of any dtype -> (P, K) float64."""
    return values.view(-1, group_size).double()


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1) mean of `values` (P, K) over the `chosen` (P, K) bool; nan where none is chosen."""
    count = chosen.sum(1, keepdim=True)
    shift = _first(values, chosen)
    total = torch.where(chosen, values - shift, 0.0).sum(1, keepdim=True)
    return torch.where(count > 0, shift + total / count.clamp(min=1), torch.nan)


def std_of(values: Tensor, chosen: Tensor, *, sample: bool) -> Tensor:
    """(P, 1) standard deviation over the chosen, n-1 when `sample`; 0 for one value, nan for none."""
    count = chosen.sum(1, keepdim=True)
    gap = torch.where(chosen, values - mean_of(values, chosen), 0.0)
    divisor = (count - 1 if sample else count).clamp(min=1)
    return torch.where(count > 0, (gap.square().sum(1, keepdim=True) / divisor).sqrt(), torch.nan)


def min_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1); nan where none is chosen."""
    found = torch.where(chosen, values, torch.inf).amin(1, keepdim=True)
    return torch.where(chosen.any(1, keepdim=True), found, torch.nan)


def max_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1); nan where none is chosen."""
    return -min_of(-values, chosen)


def quantile_of(values: Tensor, chosen: Tensor, q: float) -> Tensor:
    """(P, 1) linear-interpolation quantile over the chosen; nan where none is chosen. q = 0.5 is the median."""
    return torch.nanquantile(torch.where(chosen, values, torch.nan), q, dim=1, keepdim=True)


def solve_rate(rollouts: Rollouts) -> Tensor:
    """(P, 1) share of right rows among the decided; nan where none is decided."""
    correct = grouped(rollouts.correct, rollouts.group_size)
    return mean_of(correct.nan_to_num(0.0), ~correct.isnan())


def right_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.correct.view(-1, rollouts.group_size) == 1


def wrong_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.correct.view(-1, rollouts.group_size) == 0


def decided_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.decided.view(-1, rollouts.group_size)


def lengths(rollouts: Rollouts) -> Tensor:
    """(P, K) float64 tokens."""
    return grouped(rollouts.length, rollouts.group_size)


def as_reward(values: Tensor, rollouts: Rollouts) -> Tensor:
    """(P, K) float64 -> (N,) float32, nan where the verdict is undecided."""
    decided = decided_rows(rollouts)
    return torch.where(decided, values, torch.nan).flatten().float()


def _first(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1) the first chosen value: subtracting it makes equal values exact zeros."""
    index = chosen.to(torch.uint8).argmax(1, keepdim=True)
    return torch.where(chosen.any(1, keepdim=True), values.gather(1, index), 0.0)
