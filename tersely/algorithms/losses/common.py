"""Helper functions of the ratio losses: the clamped log-ratio, the clipped surrogate, the metrics.

Paper: arXiv 1707.06347 (PPO), dual clip arXiv 1912.09729.
    x = clamp(logp - old, -20, 20),  r = exp(x)
    ppo(r, A, lo, hi, c) = -min(r A, clip(r, lo, hi) A),   and min(that, -c A) where A < 0 and c is set
Symbols: logp, old (B, T) nats; r ratio; lo, hi bounds in ratio space; c dual clip in ratio space.
Degenerate: values at masked positions (nan, padding) affect neither value nor gradient. Past +-20 nats the value is
    finite and the gradient 0; without the clamp 0 * inf would make it nan.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.core.types import TokenBatch

LIMIT = 20.0
"""nats; exp(20) squared is still finite in float32."""


def only_valid(values: Tensor, valid: Tensor) -> Tensor:
    """The values, at least float32, and 0 with zero gradient where not valid."""
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    return torch.where(valid, values, 0.0)


def log_ratio(new: Tensor, old: Tensor, valid: Tensor) -> Tensor:
    """(B, T) clamped difference, exactly 0 with zero gradient where not valid."""
    gap = only_valid(new, valid) - only_valid(old, valid)
    return torch.where(valid, gap.clamp(-LIMIT, LIMIT), 0.0)


def advantages(batch: TokenBatch) -> Tensor:
    """(B, T) detached, 0 where not valid, so that padding does not affect a ratio shared by a row."""
    return only_valid(batch.advantage.detach(), batch.valid)


def row_mean(values: Tensor, valid: Tensor) -> Tensor:
    """(B, 1) mean over the valid tokens of a row; 0 for a fully masked one."""
    return torch.where(valid, values, 0.0).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """() mean over all valid tokens; 0 without any."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def clipped_surrogate(
    ratio: Tensor, advantage: Tensor, low: float | Tensor, high: float | Tensor, dual_clip: float | None = None
) -> Tensor:
    """(B, T) loss; `low` and `high` are bounds in ratio space. At a bound the gradient passes, as in torch.clamp."""
    bounded = ratio.clamp(low, high)  # type: ignore[arg-type]
    loss = -torch.minimum(ratio * advantage, bounded * advantage)
    if dual_clip is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual_clip * advantage), loss)


def masked(loss: Tensor, valid: Tensor) -> Tensor:
    """The values, exactly 0 where not valid."""
    return torch.where(valid, loss, 0.0)


def ratio_metrics(
    log_ratios: Tensor, ratio: Tensor, batch: TokenBatch, low: float | Tensor, high: float | Tensor
) -> dict[str, Tensor]:
    """Shares of valid tokens clipped at either bound, mean ratio, largest |log-ratio|; 0 on an empty batch."""
    valid = batch.valid
    count = valid.sum().clamp(min=1)
    with torch.no_grad():
        ratio, log_ratios = ratio.expand_as(batch.logp), log_ratios.expand_as(batch.logp)
        clipped_low = valid & (ratio < low) & (batch.advantage < 0)
        clipped_high = valid & (ratio > high) & (batch.advantage > 0)
        size = torch.where(valid, log_ratios.abs(), 0.0)
        return {
            "clip_ratio/low_mean": clipped_low.sum() / count,
            "clip_ratio/high_mean": clipped_high.sum() / count,
            "clip_ratio/region_mean": (clipped_low | clipped_high).sum() / count,
            "ratio/mean": torch.where(valid, ratio, 0.0).sum() / count,
            "ratio/max_log": size.amax() if size.numel() else size.sum(),
        }
