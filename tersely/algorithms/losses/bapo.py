"""BAPO, balanced clipping: searches the bounds until the positive tokens contribute enough.

Paper: arXiv 2510.18927; paper and released code disagree (see Pitfalls). Experimental.
    start lo = low_min, hi = high_min; while rho(lo, hi) < target: raise lo by low_step to low_max, then hi by high_step
    to high_max; then ppo(r, A, lo, hi, dual_clip)
    rho = sum E+ / (|sum E-| + 1e-8) over valid tokens
    as_released  E = A min(r, hi) where A >= 0,  A max(r, lo) where A < 0
    active       E = A r, and 0 for a clipped token (r > hi with A >= 0, r < lo with A < 0)
Symbols: lo, hi, the ranges and dual_clip are ratios; target a ratio of sums; grid points low_min + k low_step.
Against GRPO: asymmetric bounds that move with each micro-batch.
Degenerate: positives without negatives: rho is huge, no search. No positives, or all advantages 0: both maxima. target 0
    equals `clip` with distances 1 - low_min, high_min - 1 and this dual clip. Empty batch -> 0.
Pitfalls: as released, raising lo makes |E-| larger, so the first half of the search moves rho in the wrong direction; the
    paper calls the target a share (0.5 of it is a ratio of 1). `all_reduce` (a function of a tensor of sums) joins ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.common import advantages, clipped_surrogate, log_ratio, masked, ratio_metrics
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass
class BAPO(Loss):
    low_min: float = 0.6
    low_max: float = 0.9
    high_min: float = 1.2
    high_max: float = 3.0
    low_step: float = 0.05
    high_step: float = 0.05
    target: float = 0.5
    dual_clip: float | None = 3.0
    form: Literal["as_released", "active"] = "as_released"
    all_reduce: Callable[[Tensor], Tensor] | None = field(init=False, default=None, repr=False, compare=False)
    """Sums over ranks; None on one process."""

    def __post_init__(self) -> None:
        require_range("bapo.low_min", self.low_min, at_least=0, at_most=1)
        require_range("bapo.low_max", self.low_max, at_least=self.low_min, at_most=1)
        require_range("bapo.high_min", self.high_min, at_least=1)
        require_range("bapo.high_max", self.high_max, at_least=self.high_min)
        require_range("bapo.low_step", self.low_step, above=0)
        require_range("bapo.high_step", self.high_step, above=0)
        require_range("bapo.target", self.target, at_least=0)
        require_choice("bapo.form", self.form, ("as_released", "active"))
        if self.dual_clip is not None and not self.dual_clip >= self.high_max:
            raise ConfigError(
                f"bapo.dual_clip: got {self.dual_clip}; expected at least high_max = {self.high_max:g}, or null"
            )

    def sum_over_ranks(self, all_reduce: Callable[[Tensor], Tensor]) -> None:
        if self.all_reduce is None:
            self.all_reduce = all_reduce

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = log_ratio(batch.logp, batch.old_logp, valid)
        ratio = x.exp()
        low, high = self.search(ratio.detach()[valid].double(), advantage[valid].double())
        loss = clipped_surrogate(ratio, advantage, low, high, self.dual_clip)
        metrics = ratio_metrics(x, ratio, batch, low, high)
        metrics |= {"bapo/low": x.new_tensor(low), "bapo/high": x.new_tensor(high)}
        return masked(loss, valid), metrics

    def search(self, ratio: Tensor, advantage: Tensor) -> tuple[float, float]:
        """(lo, hi) for 1-d ratios and advantages of the valid tokens."""
        lows, highs = (
            _grid(self.low_min, self.low_max, self.low_step),
            _grid(self.high_min, self.high_max, self.high_step),
        )
        upward, downward = advantage >= 0, advantage < 0
        gains = [self._sum(ratio[upward], advantage[upward], high, above=True) for high in highs]
        losses = [self._sum(ratio[downward], advantage[downward], low, above=False) for low in lows]
        sums = torch.stack(gains + losses)
        if self.all_reduce is not None:
            sums = self.all_reduce(sums)
        totals = sums.tolist()
        positive, negative = totals[: len(highs)], totals[len(highs) :]
        path = [(i, 0) for i in range(len(lows))] + [(len(lows) - 1, j) for j in range(1, len(highs))]
        for i, j in path:
            if positive[j] / (abs(negative[i]) + 1e-8) >= self.target:
                break
        return lows[i], highs[j]

    def _sum(self, ratio: Tensor, advantage: Tensor, bound: float, above: bool) -> Tensor:
        if self.form == "active":
            active = ratio <= bound if above else ratio >= bound
            return (advantage * ratio * active).sum()
        return (advantage * (ratio.clamp(max=bound) if above else ratio.clamp(min=bound))).sum()


def _grid(first: float, last: float, step: float) -> list[float]:
    """first + k step up to last, with a tolerance for rounding."""
    return [first + k * step for k in range(int((last - first) / step + 1e-9) + 1)]
