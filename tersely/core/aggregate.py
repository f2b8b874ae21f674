"""Aggregation: reduces per-token losses to one number, in one place for all losses.

Papers: `sequence` arXiv 2402.03300 (GRPO); `token` arXiv 2503.14476 (DAPO); `constant` arXiv 2503.20783 (Dr. GRPO);
    `sequence_sum` arXiv 2509.02333 (DCPO).
    token         sum_it m l / denominator               denominator: trained tokens, default those of this batch
    sequence      sum_i (sum_t m l / |o_i|) / denominator    denominator: rows, default those of this batch
    constant      sum_it m l / (denominator * max_length)    denominator: rows, default those of this batch
    sequence_sum  sum_i (sum_t m l / |o_i|)              no division
Symbols: l per-token loss (B, T); m mask (B, T); |o_i| trained tokens of row i; max_length tokens.
Degenerate: a fully masked row adds 0 and still counts as a row; a fully masked batch is 0. Values at masked positions
    are never read.
Pitfalls: a denominator counted on one micro-batch makes the loss depend on the micro-batch split: pass the global count.
    The choice is also a length preference: with `sequence`, a token of a long answer counts less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_choice

AGGREGATES = ("token", "sequence", "constant", "sequence_sum")


def aggregate(
    per_token: Tensor,
    mask: Tensor,
    how: str,
    *,
    denominator: float | Tensor | None = None,
    max_length: int | None = None,
) -> Tensor:
    """Reduce (B, T) losses to a scalar. `denominator`: number of tokens (`token`) or of rows (the others)."""
    require_choice("aggregate", how, AGGREGATES)
    valid = mask.to(torch.bool)
    loss = torch.where(valid, per_token, 0.0)
    if how == "token":
        return loss.sum() / (valid.sum().clamp(min=1) if denominator is None else denominator)
    rows = max(per_token.shape[0], 1) if denominator is None else denominator
    if how == "constant":
        if max_length is None:
            raise ConfigError(
                "max_length: got None; expected the cap in tokens, because aggregate 'constant' divides by it"
            )
        return loss.sum() / (rows * max_length)
    per_row = (loss.sum(1) / valid.sum(1).clamp(min=1)).sum()
    return per_row if how == "sequence_sum" else per_row / rows
