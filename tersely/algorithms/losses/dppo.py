"""DPPO, Divergence PPO: a token is left out once its probability has moved too far in the direction of its advantage.

Paper: arXiv 2602.04879, from the authors' code and their pull request to verl; kl_coefficient from prime-rl.
    p = exp(logp), p0 = exp(anchor), both detached;   w = min(exp(x), ratio_cap)
    tv: out where A > 0 and p - p0 > high, or A < 0 and p0 - p > low
    kl: D = -p0 x + (1 - p0) log((1 - p0 + 1e-8) / (1 - p + 1e-8))
        out where A > 0, D > high and p > p0, or A < 0, D > low and p < p0
    L = -sg[w] A logp (0 where out) + kl_coefficient x^2
Symbols: x clamped logp - anchor, nats; anchor: the recomputed old policy (`old`), or the engine's log-probs (`sampler`, the
    paper's; `old` where they are nan); low, high a probability (tv) or nats (kl), null is 0.15 for tv, 0.05 for kl.
Against GRPO: the trust region bounds the change of the probability, not the ratio: rare tokens move freely, frequent ones are
    stopped earlier.
Degenerate: A = 0 -> 0. logp = anchor: nothing is out, the plain policy gradient. |x| of 100 is finite. Masked -> 0.
Pitfalls: the value is not comparable with `clip`'s, only its gradient -w A. With anchor `sampler` do not wrap it in
    `sampler_correction`, which would correct twice. The paper's top-k variants are not implemented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.common import LIMIT, advantages, log_ratio, masked, masked_mean, only_valid
from tersely.core.errors import require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch

DEFAULT = {"tv": 0.15, "kl": 0.05}
TINY = 1e-8


@dataclass(frozen=True)
class DPPO(Loss):
    divergence: Literal["tv", "kl"] = "tv"
    low: float | None = None
    high: float | None = None
    anchor: Literal["old", "sampler"] = "old"
    ratio_cap: float = 20.0
    kl_coefficient: float = 0.0

    def __post_init__(self) -> None:
        require_choice("dppo.divergence", self.divergence, ("tv", "kl"))
        require_choice("dppo.anchor", self.anchor, ("old", "sampler"))
        for name in ("low", "high"):
            most = {"at_most": 1} if self.divergence == "tv" else {}
            require_range(f"dppo.{name}", getattr(self, name), above=0, **most)
        require_range("dppo.ratio_cap", self.ratio_cap, at_least=1)
        require_range("dppo.kl_coefficient", self.kl_coefficient, at_least=0)

    @property
    def needs_sampler_logp(self) -> bool:
        return self.anchor == "sampler"

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        anchor = self._anchor(batch)
        x = log_ratio(batch.logp, anchor, valid)
        logp, ratio = only_valid(batch.logp, valid), x.detach().exp()
        too_high, too_low = self._outside(logp.detach(), only_valid(anchor, valid), x.detach(), advantage)
        credit = -ratio.clamp(max=self.ratio_cap) * advantage * logp
        loss = torch.where(too_high | too_low, 0.0, credit)
        if self.kl_coefficient:
            loss = loss + self.kl_coefficient * x.square()
        size = x.detach().abs()
        metrics = {
            "clip_ratio/low_mean": masked_mean(too_low.float(), valid),
            "clip_ratio/high_mean": masked_mean(too_high.float(), valid),
            "clip_ratio/region_mean": masked_mean((too_low | too_high).float(), valid),
            "ratio/mean": masked_mean(ratio, valid),
            "ratio/max_log": size.amax() if size.numel() else size.sum(),
            "dppo/capped_share": masked_mean((ratio >= self.ratio_cap).float(), valid),
        }
        return masked(loss, valid), metrics

    def _anchor(self, batch: TokenBatch) -> Tensor:
        """(B, T) nats: center of the trust region, and denominator of the ratio."""
        if self.anchor == "old":
            return batch.old_logp.detach()
        sampler = batch.require("sampler_logp", "dppo")
        return torch.where(sampler.isnan(), batch.old_logp, sampler).detach()

    def _outside(self, logp: Tensor, anchor: Tensor, x: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) bool twice: tokens with A > 0 above the region, tokens with A < 0 below it."""
        p, p0 = logp.exp(), anchor.exp()
        low, high = (DEFAULT[self.divergence] if bound is None else bound for bound in (self.low, self.high))
        if self.divergence == "tv":
            return (advantage > 0) & (p - p0 > high), (advantage < 0) & (p0 - p > low)
        rest, rest0 = -torch.expm1(logp), -torch.expm1(anchor)
        moved = -p0 * x.clamp(-LIMIT, LIMIT) + rest0 * ((rest0 + TINY) / (rest + TINY)).log()
        return (advantage > 0) & (moved > high) & (p > p0), (advantage < 0) & (moved > low) & (p < p0)
