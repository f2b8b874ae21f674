"""SAPO, Soft Adaptive Policy Optimization: a smooth gate instead of the clip.

Paper: arXiv 2511.20347 (equations from secondary sources), as in TRL and the released code.
    L_it = -(4 / tau) sigmoid(tau (r_it - 1)) A_it ,    tau = tau_pos where A > 0, else tau_neg
    weight on r A grad logp: sech^2(tau (r - 1) / 2), 1 at r = 1 for every tau
Symbols: r ratio; tau gate temperature (no unit).
Against GRPO: the weight of a token far from the old policy decays smoothly, on either side and for either sign.
Degenerate: A = 0 -> 0. A fully masked row -> 0. Log-ratios past 20 nats: finite value, zero gradient.
Pitfalls: the loss value at r = 1 is -2 A / tau, not GRPO's -A: compare gradients. Aggregate `sequence` is the paper's. With
    one update per rollout batch every ratio is 1 and this is plain policy gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, log_ratio, masked, masked_mean, ratio_metrics
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class SAPO(Loss):
    tau_pos: float = 1.0
    tau_neg: float = 1.05

    def __post_init__(self) -> None:
        require_range("sapo.tau_pos", self.tau_pos, above=0)
        require_range("sapo.tau_neg", self.tau_neg, above=0)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        positive = advantage > 0
        tau = torch.where(positive, self.tau_pos, self.tau_neg).to(ratio.dtype)
        gate = torch.sigmoid(tau * (ratio - 1))
        with torch.no_grad():
            weight = masked_mean(4 * gate * (1 - gate), valid)
        metrics = ratio_metrics(x, ratio, batch, 0.0, torch.inf) | {"sapo/gate_mean": weight}
        return masked(-4 / tau * gate * advantage, valid), metrics
