"""Clip-Cov: excludes a few random tokens with high covariance from the loss.

Paper: arXiv 2505.22617 (The Entropy Mechanism of RL), from the released code.
    candidates: valid, cov_low < cov < cov_high, and not already clipped (-clip(r) A > -r A is clipped)
    k = min(max(int(fraction n), 1), candidates) of them, without replacement, have loss 0; the rest ppo(r, A, ...)
Symbols: cov nats (see `covariance.py`); n valid tokens of the micro-batch; clip distances from 1; fraction share of n.
Against GRPO: excludes some of the few tokens that collapse entropy.
Degenerate: no candidate: no token is zeroed or sampled. `fraction: 1` zeroes every candidate.
Pitfalls: "at least one" over-selects in tiny micro-batches. The tokens are sampled from (seed, progress), not from the global
    generator: equal seed, step and batch give equal tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, clipped_surrogate, log_ratio, masked, ratio_metrics
from tersely.algorithms.losses.covariance import token_covariance
from tersely.core.errors import ConfigError, require_range
from tersely.core.protocols import Loss
from tersely.core.seeds import sample_seed
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class ClipCov(Loss):
    clip_low: float = 1.0
    clip_high: float = 1.0
    cov_low: float = 1.0
    cov_high: float = 5.0
    fraction: float = 2e-4
    dual_clip: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("clip_cov.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("clip_cov.clip_high", self.clip_high, at_least=0)
        require_range("clip_cov.cov_low", self.cov_low)
        require_range("clip_cov.cov_high", self.cov_high, above=self.cov_low)
        require_range("clip_cov.fraction", self.fraction, above=0, at_most=1)
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip_high:
            raise ConfigError(
                f"clip_cov.dual_clip: got {self.dual_clip}; expected above 1 + clip_high = {1 + self.clip_high:g}, or null"
            )

    def with_ratio_bounds(self, low: float, high: float) -> ClipCov:
        return replace(self, clip_low=1 - low, clip_high=high - 1)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        low, high = 1 - self.clip_low, 1 + self.clip_high
        loss = clipped_surrogate(ratio, advantage, low, high, self.dual_clip)
        with torch.no_grad():
            cov = token_covariance(batch)
            clipped = -ratio.clamp(low, high) * advantage > -ratio * advantage
            candidates = valid & (cov > self.cov_low) & (cov < self.cov_high) & ~clipped
            dropped = self._draw(candidates, valid, batch.progress)
            metrics = ratio_metrics(x, ratio, batch, low, high)
            metrics["clip_cov/dropped_share"] = dropped.sum() / valid.sum().clamp(min=1)
        return masked(loss, valid & ~dropped), metrics

    def _draw(self, candidates: Tensor, valid: Tensor, progress: float) -> Tensor:
        """(B, T) bool: the sampled tokens."""
        places = candidates.flatten().nonzero().flatten()
        dropped = torch.zeros_like(candidates.flatten())
        if len(places):
            count = min(max(int(self.fraction * int(valid.sum())), 1), len(places))
            generator = torch.Generator().manual_seed(sample_seed(self.seed, 0, float(progress).hex(), 0, "clip_cov"))
            chosen = torch.randperm(len(places), generator=generator)[:count].to(places.device)
            dropped[places[chosen]] = True
        return dropped.view_as(candidates)
