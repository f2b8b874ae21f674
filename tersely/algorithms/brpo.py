"""BRPO's credits: the value of each segment of a trace, and of each answer, under a prior over thinking budgets.

Paper: arXiv 2505.13438 (AnytimeReasoner), from the released code. Symbols: G traces, S budgets along each, A answers at each;
score in [0, 1], nan where undecided; p_s the probability of budget s; w previous_weight (no unit).
    R(g, s)  = sum over s' >= s of p_s' score(g, s')
    V1(g, s) = (sum_{j<s} w^j score(g, j) / sum_{j<s} w^j) sum_{s'>=s} p_s'       0 at s = 0
    V2(s)    = mean over the traces of R(., s)                                     0 with one trace
    segment  = R - (s V1 + (S - s) V2) / S                                         s = 0 .. S-1
    answer   = score - mean score of the A answers at its trace and budget         A = 1: - mean over the traces
Degenerate: all scores equal with several traces: 0 everywhere, for scores of 0 also with one. A trace with an undecided score
has credit 0 and enters no V2; with one other trace left, V2 is 0. An undecided answer has credit 0 and enters no mean; an
answer without another known one has credit 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Baseline = Literal["both", "previous", "traces"]


def brpo_segment_credit(
    scores: Sequence[Sequence[float]] | Tensor,
    probabilities: Sequence[float],
    previous_weight: float = 2.0,
    baseline: Baseline = "both",
) -> Tensor:
    """(G, S) scores and (S,) probabilities -> (G, S) float64 credits of the segments.

    `baseline`: `both`, or only V1 (`previous`) or V2 (`traces`).
    """
    score = torch.as_tensor(scores, dtype=torch.float64)
    prior = torch.as_tensor(probabilities, dtype=torch.float64)
    known = ~score.isnan().any(1, keepdim=True)
    score = torch.where(known, score, 0.0)
    later = prior.flip(0).cumsum(0).flip(0)
    value = (score * prior).flip(1).cumsum(1).flip(1)
    count, places = score.shape[1], torch.arange(score.shape[1], dtype=torch.float64)
    weights = previous_weight**places
    before = (score * weights).cumsum(1) - score * weights
    total = weights.cumsum(0) - weights
    previous = torch.where(total > 0, before / total.clamp(min=1e-300), 0.0) * later
    traces = known.sum()
    mean = (value.sum(0) / traces.clamp(min=1)).expand_as(value) if traces > 1 else torch.zeros_like(value)
    share = places / count if baseline == "both" else torch.full_like(places, float(baseline == "previous"))
    credit = value - (share * previous + (1 - share) * mean)
    return torch.where(known, credit, 0.0)


def brpo_answer_credit(scores: Sequence[Sequence[Sequence[float]]] | Tensor) -> Tensor:
    """(G, S, A) scores -> (G, S, A) float64 credits of the answers."""
    score = torch.as_tensor(scores, dtype=torch.float64)
    along = 2 if score.shape[2] > 1 else 0
    known = ~score.isnan()
    count = known.sum(along, keepdim=True)
    mean = score.nan_to_num(0.0).sum(along, keepdim=True) / count.clamp(min=1)
    return torch.where(known & (count > 1), score.nan_to_num(0.0) - mean, 0.0)
