"""GMPO, Geometric-Mean Policy Optimization: the geometric mean of token ratios, each clipped on one side.

Paper: arXiv 2507.20673, from the released code.
    y_it = min(x, clamp(x, -clip_low, clip_high)) where A_it > 0, else max(x, clamp(x, -clip_low, clip_high))
    rho_i = exp(mean over the row's tokens of y) ,      L_it = -rho_i A_it
Symbols: x clamped log-ratio, nats; clip_low, clip_high distances in log space, nats.
Against GRPO: one outlier token moves the weight of its completion little, and the cut is in log space.
Degenerate: a fully masked row has rho = 1 and loss 0. A = 0 -> 0.
Pitfalls: with token-level advantages the clipped side is chosen per token, and credit is averaged over the row.
    Aggregate `sequence`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, log_ratio, masked, masked_mean, ratio_metrics, row_mean
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class GMPO(Loss):
    clip_low: float = 0.4
    clip_high: float = 0.4

    def __post_init__(self) -> None:
        require_range("gmpo.clip_low", self.clip_low, at_least=0)
        require_range("gmpo.clip_high", self.clip_high, at_least=0)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        cut = torch.where(advantage > 0, x.clamp(max=self.clip_high), x.clamp(min=-self.clip_low))
        rho = row_mean(cut, valid).exp()
        with torch.no_grad():
            bounds = torch.tensor([-self.clip_low, self.clip_high], dtype=torch.float64).exp().tolist()
            metrics = ratio_metrics(x, x.exp(), batch, *bounds)
            metrics["gmpo/rho_mean"] = masked_mean(rho.expand_as(x), valid)
        return masked(-rho * advantage, valid), metrics
