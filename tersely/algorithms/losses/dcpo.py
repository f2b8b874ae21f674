"""DCPO, Dynamic Clipping Policy Optimization: wider bounds for rare tokens.

Paper: arXiv 2509.02333, from the released code. Its advantage is `dcpo_smooth`.
    q = exp(old);  lo = 1/2 + 1/2 sqrt(max(1 - 4 clip_low / q, 0))
    hi = min(1/2 + 1/2 sqrt(1 + 4 clip_high / q), ratio_cap);    L = ppo(r, A, lo, hi)
Symbols: q probability under the old policy; lo <= 1 <= hi ratios; clip_low, clip_high (no unit), not distances.
Against GRPO: at q = 0.9 the bounds are [0.769, 1.187], at q = 0.01 [0.5, 5.0].
Degenerate: q underflows to 0: [0.5, ratio_cap]. A fully masked row -> 0.
Pitfalls: the paper sums its row means (aggregate `sequence_sum`), so the step grows with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, clipped_surrogate, log_ratio, masked, only_valid, ratio_metrics
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class DCPO(Loss):
    clip_low: float = 0.16
    clip_high: float = 0.2
    ratio_cap: float = 10.0

    def __post_init__(self) -> None:
        require_range("dcpo.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("dcpo.clip_high", self.clip_high, at_least=0)
        require_range("dcpo.ratio_cap", self.ratio_cap, at_least=1)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid = batch.valid
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        with torch.no_grad():
            q = only_valid(batch.old_logp, valid).exp().clamp(min=torch.finfo(ratio.dtype).tiny)
            low = 0.5 + 0.5 * (1 - 4 * self.clip_low / q).clamp(min=0).sqrt()
            high = (0.5 + 0.5 * (1 + 4 * self.clip_high / q).sqrt()).clamp(max=self.ratio_cap)
        loss = clipped_surrogate(ratio, advantages(batch), low, high)
        return masked(loss, valid), ratio_metrics(x, ratio, batch, low, high)
