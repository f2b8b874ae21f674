"""CISPO: clips importance weights but keeps the gradient of every token.

Paper: arXiv 2506.13585 (MiniMax-M1), from the released code; the cap of 5 is a later recommendation (ScaleRL).
    L_it = -sg[clip(r_it, ratio_floor, ratio_cap)] A_it logp_it
Symbols: r ratio; ratio_floor, ratio_cap absolute ratios; sg stops the gradient.
Against GRPO: REINFORCE with a truncated weight: d L / d logp = -w A exactly, for every token.
Degenerate: A = 0 -> 0. A fully masked row -> 0. With one update per rollout batch every weight is 1.
Pitfalls: `ratio_cap` is not a distance from 1: other frameworks call 1 + eps_high what is 5.0 here, TRL's `epsilon_high` under
    `loss_type: cispo` is the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.algorithms.losses.common import advantages, log_ratio, masked, only_valid, ratio_metrics
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class CISPO(Loss):
    ratio_cap: float = 5.0
    ratio_floor: float = 0.0

    def __post_init__(self) -> None:
        require_range("cispo.ratio_cap", self.ratio_cap, at_least=1)
        require_range("cispo.ratio_floor", self.ratio_floor, at_least=0, at_most=1)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid = batch.valid
        x = log_ratio(batch.logp, batch.old_logp, valid).detach()
        ratio = x.exp()
        weight = ratio.clamp(self.ratio_floor, self.ratio_cap)
        loss = -weight * advantages(batch) * only_valid(batch.logp, valid)
        return masked(loss, valid), ratio_metrics(x, ratio, batch, self.ratio_floor, self.ratio_cap)
