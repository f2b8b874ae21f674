"""TEA-RL, token-wise entropy-adaptive RL: an entropy bonus for tokens whose log-prob and advantage are correlated.

Paper: arXiv 2508.03178 (Light-IF). `released` is from the released code, where the call is never reached; `scaled` is from
secondary sources, and so are temperature and cap: verify before calling them the paper's.
    w_it = softmax over the row's tokens of cov / temperature           (cov: see `covariance.py`, detached)
    u = min(|o_i| w, cap) (`scaled`)    or    clamp(10 w, 0, 5) (`released`)
    L_it = base_it - coefficient u_it H_it
Symbols: cov, H nats, H with gradient (`live_entropy`); |o_i| trained tokens of the row; u (no unit).
Against GRPO: a bonus only for the tokens whose update would reduce entropy.
Degenerate: fully masked row: u = 0. One token: w = 1. Equal cov: w = 1/|o_i|, u = 1 when scaled.
Pitfalls: the released form's bonus vanishes with length as 1/|o_i|; its gradient through cov is a bug, not reproduced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import masked, masked_mean, only_valid
from tersely.algorithms.losses.covariance import token_covariance
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class TEARL(Wrapper):
    needs_live_entropy: ClassVar[bool] = True

    coefficient: float = 0.05
    temperature: float = 1.0
    cap: float = 5.0
    form: Literal["scaled", "released"] = "scaled"
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_range("tea_rl.coefficient", self.coefficient, at_least=0)
        require_range("tea_rl.temperature", self.temperature, above=0)
        require_range("tea_rl.cap", self.cap, above=0)
        require_choice("tea_rl.form", self.form, ("scaled", "released"))

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        entropy = batch.require("live_entropy", "tea_rl")
        loss, metrics = self.base(batch)
        valid = batch.valid
        strength = self.strength(token_covariance(batch), valid).to(loss.dtype)
        bonus = self.coefficient * strength * only_valid(entropy, valid)
        metrics = metrics | {
            "tea_rl/strength_mean": masked_mean(strength, valid),
            "tea_rl/bonus_mean": masked_mean(bonus.detach(), valid),
        }
        return loss - masked(bonus, valid), metrics

    def strength(self, cov: Tensor, valid: Tensor) -> Tensor:
        """u (B, T), 0 where not valid."""
        w = torch.softmax((cov / self.temperature).masked_fill(~valid, -torch.inf), dim=1)
        w = torch.where(valid, w, 0.0)
        if self.form == "released":
            return (10 * w).clamp(0.0, 5.0)
        return (valid.sum(1, keepdim=True) * w).clamp(max=self.cap)
