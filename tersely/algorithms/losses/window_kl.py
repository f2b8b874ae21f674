"""Window KL, the loss of ARES: relaxes the KL to the reference inside high-entropy windows.

Paper: arXiv 2510.08457 (appendix and Algorithm 1); `discount` is ours, the paper only requires below 1.
    L_it = base_it + beta w_it k3_it ,   w = discount inside a high-entropy window (see `core/windows.py`), else 1
    k3 = exp(d) - d - 1 ,   d = clamp(ref - logp, -20, 20)
Symbols: beta (no unit); window tokens; threshold nats.
Against GRPO: a weaker KL on uncertain spans. The controller `ares_kl`, if used, scales beta.
Degenerate: rows of no more than `window` tokens: w = 1. Zero entropy with threshold above 0: w = 1. Fully masked -> 0.
Pitfalls: the released code has no token-wise discount: `discount: 1`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import log_ratio, masked, masked_mean, only_valid
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch
from tersely.core.windows import inside_windows


@dataclass(frozen=True)
class WindowKL(Wrapper):
    needs_ref_logp: ClassVar[bool] = True
    label: ClassVar[str] = "adapted: the paper gives no value of the discount"

    beta: float = 0.01
    discount: float = 0.5
    window: int = 4
    threshold: float = 1.5
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_range("window_kl.beta", self.beta, at_least=0)
        require_range("window_kl.discount", self.discount, at_least=0, at_most=1)
        require_range("window_kl.window", self.window, at_least=1)
        require_range("window_kl.threshold", self.threshold, at_least=0)

    def with_kl_factor(self, factor: float) -> WindowKL:
        return replace(self, beta=self.beta * factor)

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        reference = batch.require("ref_logp", "window_kl")
        loss, metrics = self.base(batch)
        valid = batch.valid
        d = log_ratio(reference, batch.logp, valid)
        k3 = d.exp() - d - 1
        entropy = only_valid(batch.require("entropy", "window_kl"), valid)
        inside = inside_windows(entropy, valid, self.window, self.threshold)
        weight = self.beta * torch.ones_like(k3).masked_fill(inside, self.discount)
        known = k3.detach()
        metrics = metrics | {
            "kl": masked_mean(known, valid),
            "kl/outside_windows": masked_mean(known, valid & ~inside),
            "window_kl/inside_share": masked_mean(inside.to(k3.dtype), valid),
            "window_kl/beta": k3.new_tensor(self.beta),
        }
        return loss + masked(weight * k3, valid), metrics
