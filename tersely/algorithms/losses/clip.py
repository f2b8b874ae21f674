"""Clip: the clipped surrogate of PPO on tokens or on whole sequences.

Paper: arXiv 2402.03300 (GRPO); clip-higher arXiv 2503.14476 (DAPO); dual clip arXiv 1912.09729; sequence ratio
    arXiv 2507.18071 (GSPO).
    L_it = ppo(r_it, A_it, 1 - clip_low, 1 + clip_high, dual_clip)
    r_it = exp(x_it) (`importance: token`), or exp(mean over the row's tokens of x) (`sequence`)
Symbols: x clamped log-ratio, nats; clip_low, clip_high distances from 1 in ratio space; dual_clip a ratio.
Against GRPO: equal clips of 0.2 are GRPO; 0.2 / 0.28 with dual clip 10 is DAPO's recipe.
Degenerate: a fully masked row has ratio 1 and loss 0; a zero advantage has loss 0; `dual_clip: null` equals a huge one.
Pitfalls: if old and current policy are the same, the bounds have no effect. With `sequence` each token's credit is averaged
    over its row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from tersely.algorithms.losses.common import advantages, clipped_surrogate, log_ratio, masked, ratio_metrics, row_mean
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class Clip(Loss):
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    importance: Literal["token", "sequence"] = "token"

    def __post_init__(self) -> None:
        require_range("clip.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("clip.clip_high", self.clip_high, at_least=0)
        require_choice("clip.importance", self.importance, ("token", "sequence"))
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip_high:
            raise ConfigError(
                f"clip.dual_clip: got {self.dual_clip}; expected above 1 + clip_high = {1 + self.clip_high:g} "
                "(most recipes use 10), or null"
            )

    def with_ratio_bounds(self, low: float, high: float) -> Clip:
        return replace(self, clip_low=1 - low, clip_high=high - 1)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid = batch.valid
        x = log_ratio(batch.logp, batch.old_logp, valid)
        if self.importance == "sequence":
            x = row_mean(x, valid)
        ratio = x.exp()
        low, high = 1 - self.clip_low, 1 + self.clip_high
        loss = clipped_surrogate(ratio, advantages(batch), low, high, self.dual_clip)
        return masked(loss, valid), ratio_metrics(x, ratio, batch, low, high)
