"""HAPO, Heterogeneous Adaptive Policy Optimization, the loss: bounds and credit depend on a token's entropy.

Paper: arXiv 2509.16591 (equations from secondary sources), from the released code. Its sampling is `hapo_temperature`,
its advantage `token_level_group_average`. Not the history-aware HAPO, which is the reward `hapo_history`.
    h = position of the token's log-entropy in [-1, 1], 0 at the `pivot_quantile` (see `core/token_entropy.py`)
    eL = clip_low (1 - clip_strength h) where h <= 0, else clip_low
    eR = clip_high (1 + clip_strength h) where h > 0, else clip_high
    inside = 1 - zL/2 <= r <= 1 + zR/2,    zL, zR = eL, eR (`zone: adapted`) or clip_low, clip_high (`base`)
    A' = A (1 + advantage_strength h) where (h > 0 and not inside) or (h <= 0 and inside), else A
    L = ppo(r, A', 1 - eL, 1 + eR, dual_clip)
Symbols: r ratio; eL, eR distances from 1; H nats. h, bounds, zone and A' carry no gradient.
Against GRPO: low entropy widens the left bound, high entropy the right one.
Degenerate: constant entropy or an empty batch: h = 0, and it equals `clip`. Both strengths 0: equals `clip`.
Pitfalls: `form: as_released` gives h <= 0 the opposite sign, as the released code does, so that no left bound ever widens.
    `statistics: micro_batch`, as released, makes the micro-batch a part of the method; `step` takes them from the whole
    batch over all ranks, handed to `observe_step` before its first micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.common import (
    advantages,
    clipped_surrogate,
    log_ratio,
    masked,
    masked_mean,
    ratio_metrics,
)
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.token_entropy import entropy_statistics, log_entropy, position, statistics_of
from tersely.core.types import TokenBatch


@dataclass
class HAPO(Loss):
    clip_low: float = 0.2
    clip_high: float = 0.2
    pivot_quantile: float = 0.8
    clip_strength: float = 1.0
    advantage_strength: float = 1.0
    dual_clip: float | None = 10.0
    entropy_floor: float = 1e-8
    zone: Literal["adapted", "base"] = "adapted"
    form: Literal["intended", "as_released"] = "intended"
    statistics: Literal["micro_batch", "step"] = "micro_batch"
    step_statistics: dict[str, float] | None = field(init=False, default=None)
    """Statistics of the batch passed to `observe_step`; used with `statistics: step`."""

    def __post_init__(self) -> None:
        require_range("hapo.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("hapo.clip_high", self.clip_high, at_least=0)
        require_range("hapo.pivot_quantile", self.pivot_quantile, at_least=0, at_most=1)
        require_range("hapo.clip_strength", self.clip_strength, at_least=0, at_most=1)
        require_range("hapo.advantage_strength", self.advantage_strength, at_least=0, at_most=1)
        require_range("hapo.entropy_floor", self.entropy_floor, above=0)
        require_choice("hapo.zone", self.zone, ("adapted", "base"))
        require_choice("hapo.form", self.form, ("intended", "as_released"))
        require_choice("hapo.statistics", self.statistics, ("micro_batch", "step"))
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip_high:
            raise ConfigError(
                f"hapo.dual_clip: got {self.dual_clip}; expected above 1 + clip_high = {1 + self.clip_high:g}, or null"
            )

    @property
    def needs_step_entropy(self) -> bool:
        return self.statistics == "step"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("entropy",) if self.needs_step_entropy else ()

    def observe_step(self, entropy: Tensor, mask: Tensor) -> None:
        """Compute statistics from the entropies (nats) and mask of the whole batch, gathered over ranks; any equal shapes."""
        self.step_statistics = entropy_statistics(entropy, mask, self.pivot_quantile, self.entropy_floor)

    def signal(self, batch: TokenBatch) -> Tensor:
        """h (B, T), 0 where not valid."""
        valid = batch.valid
        level = log_entropy(torch.where(valid, batch.require("entropy", "hapo"), 1.0), self.entropy_floor)
        statistics: Any = self.step_statistics
        if self.statistics == "micro_batch":
            statistics = statistics_of(level[valid], self.pivot_quantile)
        elif statistics is None and bool(valid.any()):
            raise ValueError("hapo.statistics: 'step' needs a call of observe_step with this batch's entropies")
        if statistics is None:
            return torch.zeros_like(level)
        h = position(level, statistics)
        if self.form == "as_released":
            h = h.abs()
        return torch.where(valid, h, 0.0)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        with torch.no_grad():
            h = self.signal(batch).to(ratio.dtype)
            left = self.clip_low * (1 - self.clip_strength * h.clamp(max=0))
            right = self.clip_high * (1 + self.clip_strength * h.clamp(min=0))
            zone = (left, right) if self.zone == "adapted" else (self.clip_low, self.clip_high)
            inside = (ratio >= 1 - zone[0] / 2) & (ratio <= 1 + zone[1] / 2)
            scaled = (h > 0) ^ inside
            advantage = torch.where(scaled, advantage * (1 + self.advantage_strength * h), advantage)
        loss = clipped_surrogate(ratio, advantage, 1 - left, 1 + right, self.dual_clip)
        metrics = ratio_metrics(x, ratio, batch, 1 - left, 1 + right) | {
            "hapo/high_entropy_share": masked_mean((h > 0).to(h.dtype), valid),
            "hapo/rescaled_share": masked_mean((scaled & (h != 0)).to(h.dtype), valid),
            "hapo/signal_mean": masked_mean(h, valid),
        }
        return masked(loss, valid), metrics
