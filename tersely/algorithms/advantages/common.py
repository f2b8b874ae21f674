"""Helper functions of the group advantages: rewards centred on their group, and their spread.

Shapes: rewards (N,), N = P * K -> (P, K) float64. nan rewards (undecided) enter no statistic and come out as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.core.group_stats import grouped, lengths, max_of, mean_of, min_of, std_of
from tersely.core.types import Rollouts

EQUAL = 1e-8
"""Rewards closer together than this count as equal: the difference is rounding, not signal."""


def centred(rewards: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """(P, K) reward minus group mean, 0 for unknown rows and groups without signal; and the known rows."""
    r = grouped(rewards, group_size)
    known = ~r.isnan()
    gap = torch.where(known, r - mean_of(r, known), 0.0)
    signal = (known.sum(1, keepdim=True) > 1) & (gap.amax(1, keepdim=True) - gap.amin(1, keepdim=True) > EQUAL)
    return torch.where(signal, gap, 0.0), known


def spread(gap: Tensor, known: Tensor, *, sample: bool = True) -> Tensor:
    """(P, 1) standard deviation of centred rewards over the known rows, 0 for a group without signal."""
    return std_of(gap, known, sample=sample).nan_to_num(0.0)


def flat(values: Tensor) -> Tensor:
    """(P, K) float64 -> (N,) float32."""
    return values.flatten().float()


def group_zscores(rewards: Tensor, group_size: int, epsilon: float, *, sample: bool = True) -> Tensor:
    """(P, K) float64 (R - mean) / (std + epsilon); 0 for nan, for one row and for equal rewards."""
    gap, known = centred(rewards, group_size)
    std = spread(gap, known, sample=sample)
    return torch.where(std > 0, gap / (std + epsilon).clamp(min=1e-30), 0.0)


def carries_signal(rewards: Tensor, group_size: int) -> Tensor:
    """(P, 1) bool: at least two finite rewards, and they differ."""
    gap, _ = centred(rewards, group_size)
    return (gap != 0).any(1, keepdim=True)


def whitened(values: Tensor, known: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """(P, K) values standardised over all known rows of the batch; 0 for unknown rows.

    m = sum q v / sum q,  s^2 = sum q (v - m)^2 / (sum q - 1),  (v - m) / (s + epsilon); q is `weight`, 0 where unknown.
    Fewer than two known rows, or no spread: 0.
    """
    total, of_known = weight.sum(), values[known]
    if len(of_known) < 2 or total <= 1 or of_known.amax() - of_known.amin() <= EQUAL:
        return torch.zeros_like(values)
    gap = values - (weight * values).sum() / total
    std = ((weight * gap.square()).sum() / (total - 1)).sqrt()
    return torch.where(known, gap / (std + epsilon), 0.0)


def token_centred(rewards: Tensor, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
    """(P, K) reward minus the group's mean over tokens, the rows' weights (tokens), and the rows with signal.

    A row has signal if it is known, has tokens, and rewards of such rows in its group differ.
    """
    r = grouped(rewards, rollouts.group_size)
    weight = torch.where(r.isnan(), 0.0, lengths(rollouts))
    rows = weight > 0
    lowest, highest = min_of(r, rows), max_of(r, rows)
    signal = highest - lowest > EQUAL  # nan, a group without rows, compares false
    r = torch.where(rows, r - lowest, 0.0)
    total = weight.sum(1, keepdim=True).clamp(min=1)
    gap = torch.where(rows, r - (weight * r).sum(1, keepdim=True) / total, 0.0)
    return gap, weight, signal & rows
