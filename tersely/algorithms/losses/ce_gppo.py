"""CE-GPPO: tokens that PPO clips keep a bounded gradient, with a coefficient for each side.

Paper: arXiv 2509.20712, from the released code; beta 1 / 1 is GPPO (Klear-Reasoner).
    r < 1 - clip_low,  A < 0:  L = -beta_low  (1 - clip_low)  e A
    r > 1 + clip_high, A > 0:  L = -beta_high (1 + clip_high) e A
    else                       L = -r A ,  and where A < 0: min(L, -dual_clip A)
Symbols: r ratio; e = exp(logp - sg[logp]), value 1, not clamped; betas (no unit); clip_low, clip_high distances from 1.
Against GRPO: tokens with A < 0 that became less probable, and with A > 0 that became more probable, still train. For betas up
    to 1 no gradient exceeds max(1 + clip_high, dual_clip) |A|.
Degenerate: betas 0 / 0: the gradient of `clip` with these bounds. r = 1, A = 0, masked: as `clip`. On-policy: the bounds have
    no effect. A token with A < 0 and r above `dual_clip` has no gradient.
Pitfalls: beta_low lowers entropy, beta_high raises it: the pair is the method. The published runs add 0.1 times the NLL of
    correct rows and filter mixed groups. 0.75 is the 7B script's, the 1.5B one has 0.5. It does not shorten.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, log_ratio, masked, only_valid, ratio_metrics
from tersely.core.errors import ConfigError, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class CEGPPO(Loss):
    clip_low: float = 0.2
    clip_high: float = 0.2
    beta_low: float = 0.75
    beta_high: float = 1.0
    dual_clip: float | None = 10.0

    def __post_init__(self) -> None:
        require_range("ce_gppo.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("ce_gppo.clip_high", self.clip_high, at_least=0)
        require_range("ce_gppo.beta_low", self.beta_low, at_least=0)
        require_range("ce_gppo.beta_high", self.beta_high, at_least=0)
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip_high:
            raise ConfigError(
                f"ce_gppo.dual_clip: got {self.dual_clip}; expected above 1 + clip_high = {1 + self.clip_high:g}, or null"
            )

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio, logp = x.exp(), only_valid(batch.logp, valid)
        low, high = 1 - self.clip_low, 1 + self.clip_high
        one = (logp - logp.detach()).exp()
        plain = -ratio * advantage
        if self.dual_clip is not None:
            plain = torch.where(advantage < 0, torch.minimum(plain, -self.dual_clip * advantage), plain)
        loss = torch.where((ratio < low) & (advantage < 0), -self.beta_low * low * one * advantage, plain)
        loss = torch.where((ratio > high) & (advantage > 0), -self.beta_high * high * one * advantage, loss)
        return masked(loss, valid), ratio_metrics(x, ratio, batch, low, high)
