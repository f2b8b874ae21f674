"""KL-Cov: a penalty that keeps the tokens with the highest covariance close to the old policy.

Paper: arXiv 2505.22617 (The Entropy Mechanism of RL), from the released code.
    L_it = -r_it A_it + coefficient |x_it| on the max(1, int(fraction n)) tokens of largest cov
Symbols: x clamped log-ratio, nats; cov nats (see `covariance.py`); n valid tokens of the micro-batch.
Against GRPO: no clip; a penalty on the few tokens that collapse entropy.
Degenerate: n = 0 -> none. Equal cov: the lowest flat index first. The gradient of |x| at 0 is 0.
Pitfalls: with one update per rollout batch x is 0 and the penalty has no gradient. Older forks call the fraction "percent",
    where 0.2 means 0.2 %. 2e-4 is the 32B script's, the 7B one has 2e-3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, log_ratio, masked, masked_mean, ratio_metrics
from tersely.algorithms.losses.covariance import token_covariance
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class KLCov(Loss):
    fraction: float = 2e-4
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        require_range("kl_cov.fraction", self.fraction, above=0, at_most=1)
        require_range("kl_cov.coefficient", self.coefficient, at_least=0)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid = batch.valid
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        held = self._largest(token_covariance(batch), valid)
        loss = -ratio * advantages(batch) + self.coefficient * torch.where(held, x.abs(), 0.0)
        metrics = ratio_metrics(x, ratio, batch, 0.0, torch.inf)
        metrics["kl_cov/held_share"] = masked_mean(held.to(x.dtype), valid)
        metrics["kl_cov/held_log_ratio"] = masked_mean(x.detach().abs(), held)
        return masked(loss, valid), metrics

    def _largest(self, cov: Tensor, valid: Tensor) -> Tensor:
        """(B, T) bool."""
        places = valid.flatten().nonzero().flatten()
        held = torch.zeros_like(valid.flatten())
        if len(places):
            count = max(1, int(self.fraction * len(places)))
            order = cov.flatten()[places].sort(descending=True, stable=True).indices
            held[places[order[:count]]] = True
        return held.view_as(valid)
