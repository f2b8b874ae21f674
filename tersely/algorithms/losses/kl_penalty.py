"""KL penalty: a wrapper that adds the divergence from the reference model to another loss.

Paper: arXiv 2402.03300 (GRPO); estimators k1, k2, k3 after Schulman, "Approximating KL divergence" (2020).
    L_it = base_it + beta * kl_it,      d = clamp(ref - logp, -20, 20)
    k1 = -d        k2 = d^2 / 2         k3 = exp(d) - d - 1
Symbols: logp, ref (B, T) nats; beta (no unit). `importance_weighted` multiplies kl by the ratio to the old policy, with
    gradient, as TRL's `use_bias_correction_kl` does.
Against GRPO: this is GRPO's KL term; most length recipes leave it out.
Degenerate: logp = ref -> kl 0 with zero gradient for k2 and k3. Fully masked -> 0.
Pitfalls: `base` of a mask belongs inside this wrapper, so that the KL acts on all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import log_ratio, masked
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class KLPenalty(Wrapper):
    needs_ref_logp: ClassVar[bool] = True
    holds_every_token: ClassVar[bool] = True

    beta: float = 0.001
    estimator: Literal["k1", "k2", "k3"] = "k3"
    importance_weighted: bool = False
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_range("kl_penalty.beta", self.beta, at_least=0)
        require_choice("kl_penalty.estimator", self.estimator, ("k1", "k2", "k3"))

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = self.base(batch)
        valid = batch.valid
        d = log_ratio(batch.require("ref_logp", "kl_penalty"), batch.logp, valid)
        kl = {"k1": -d, "k2": d.square() / 2, "k3": d.exp() - d - 1}[self.estimator]
        if self.importance_weighted:
            kl = kl * log_ratio(batch.logp, batch.old_logp, valid).exp()
        mean = torch.where(valid, kl.detach(), 0.0).sum() / valid.sum().clamp(min=1)
        return loss + self.beta * masked(kl, valid), {**metrics, "kl": mean}
