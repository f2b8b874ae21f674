"""Archer, dual-token constraints: tight bounds and KL for low-entropy tokens, wide bounds for high-entropy tokens.

Paper: arXiv 2507.15778, from the released code.
    q_i = linear `pivot_quantile` of the row's entropies;   high: H_it > q_i
    L_it = ppo(r, A, ...) with clip_low, clip_high on low tokens, high_clip_low, high_clip_high on high ones
         + kl_coefficient (n / n_low) k3 on low, high_kl_coefficient (n / n_high) k3 on high tokens
    k3 = exp(d) - d - 1,   d = clamp(ref - logp, -20, 20)
Symbols: H nats; clip distances from 1; n, n_low, n_high trained tokens of the micro-batch. With aggregate `token` each KL
    is the mean over its own tokens.
Against GRPO: wider bounds on both sides and no KL where entropy is high.
Degenerate: a one-token row and zero entropy are low throughout. A fully masked row -> 0.
Pitfalls: in the released code the variable called high-entropy mask marks low tokens; the net effect is as here. Needs a
    reference model unless both coefficients are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import (
    advantages,
    clipped_surrogate,
    log_ratio,
    masked,
    masked_mean,
    only_valid,
    ratio_metrics,
)
from tersely.core.errors import ConfigError, require_range
from tersely.core.protocols import Loss
from tersely.core.quantiles import row_quantiles
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class Archer(Loss):
    clip_low: float = 0.2
    clip_high: float = 0.2
    high_clip_low: float = 0.5
    high_clip_high: float = 0.5
    dual_clip: float | None = 10.0
    pivot_quantile: float = 0.8
    kl_coefficient: float = 0.001
    high_kl_coefficient: float = 0.0

    def __post_init__(self) -> None:
        for name in ("clip_low", "high_clip_low"):
            require_range(f"archer.{name}", getattr(self, name), at_least=0, at_most=1)
        for name in ("clip_high", "high_clip_high", "kl_coefficient", "high_kl_coefficient"):
            require_range(f"archer.{name}", getattr(self, name), at_least=0)
        require_range("archer.pivot_quantile", self.pivot_quantile, at_least=0, at_most=1)
        widest = 1 + max(self.clip_high, self.high_clip_high)
        if self.dual_clip is not None and not self.dual_clip > widest:
            raise ConfigError(
                f"archer.dual_clip: got {self.dual_clip}; expected above 1 + clip_high = {widest:g}, or null"
            )

    @property
    def needs_ref_logp(self) -> bool:
        return self.kl_coefficient > 0 or self.high_kl_coefficient > 0

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid = batch.valid
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        with torch.no_grad():
            entropy = only_valid(batch.require("entropy", "archer"), valid)
            high = valid & (entropy > row_quantiles(entropy, valid, self.pivot_quantile))
            lower = 1 - _pick(high, self.high_clip_low, self.clip_low, ratio.dtype)
            upper = 1 + _pick(high, self.high_clip_high, self.clip_high, ratio.dtype)
        loss = clipped_surrogate(ratio, advantages(batch), lower, upper, self.dual_clip)
        metrics = ratio_metrics(x, ratio, batch, lower, upper)
        metrics["archer/high_entropy_share"] = masked_mean(high.to(ratio.dtype), valid)
        if self.needs_ref_logp:
            d = log_ratio(batch.require("ref_logp", "archer"), batch.logp, valid)
            k3 = d.exp() - d - 1
            loss = loss + self._kl_weight(high, valid).to(ratio.dtype) * k3
            metrics["kl"] = masked_mean(k3.detach(), valid)
        return masked(loss, valid), metrics

    def _kl_weight(self, high: Tensor, valid: Tensor) -> Tensor:
        """(B, T): each coefficient times n over the tokens of its class."""
        n, n_high = valid.sum(), high.sum()
        of_low = self.kl_coefficient * n / (n - n_high).clamp(min=1)
        of_high = self.high_kl_coefficient * n / n_high.clamp(min=1)
        return torch.where(high, of_high, of_low)


def _pick(chosen: Tensor, yes: float, no: float, dtype: torch.dtype) -> Tensor:
    return torch.full(chosen.shape, no, dtype=dtype, device=chosen.device).masked_fill(chosen, yes)
