"""GSPO, Group Sequence Policy Optimization: one ratio per completion, the geometric mean of its token ratios.

Paper: arXiv 2507.18071, from the released code (clip values from secondary sources).
    s_i = exp(mean over the row's tokens of x)
    sequence  L_it = ppo(s_i, A_it, 1 - clip_low, 1 + clip_high), gradient through the mean
    token     the same with s_it = sg[s_i] exp(logp_it - sg[logp_it])        (GSPO-token)
Symbols: x clamped log-ratio, nats; clip_low, clip_high distances from 1; sg stops the gradient.
Against GRPO: a whole completion is clipped or not; the bounds are a thousand times narrower.
Degenerate: a fully masked row has s = 1 and loss 0. One-token completions: equals `clip` with these bounds.
Pitfalls: with token-level advantages `sequence` gives every token its row's mean credit; `token` keeps each token's credit.
    With one advantage per row both forms have the same value and gradient.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.common import (
    advantages,
    clipped_surrogate,
    log_ratio,
    masked,
    only_valid,
    ratio_metrics,
    row_mean,
)
from tersely.core.errors import require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class GSPO(Loss):
    clip_low: float = 3e-4
    clip_high: float = 4e-4
    form: Literal["sequence", "token"] = "sequence"

    def __post_init__(self) -> None:
        require_range("gspo.clip_low", self.clip_low, at_least=0, at_most=1)
        require_range("gspo.clip_high", self.clip_high, at_least=0)
        require_choice("gspo.form", self.form, ("sequence", "token"))

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, advantage = batch.valid, advantages(batch)
        x = row_mean(log_ratio(batch.logp, batch.old_logp, valid), valid)
        ratio = x.exp()
        if self.form == "token":
            logp = only_valid(batch.logp, valid)
            ratio = ratio.detach() * torch.exp(logp - logp.detach())
        elif _varies_within_a_row(advantage, valid):
            warnings.warn(
                "gspo with form 'sequence' averages token-level advantages over each row; use {name: gspo, form: token}"
            )
        low, high = 1 - self.clip_low, 1 + self.clip_high
        loss = clipped_surrogate(ratio, advantage, low, high)
        return masked(loss, valid), ratio_metrics(x, ratio, batch, low, high)


def _varies_within_a_row(advantage: Tensor, valid: Tensor) -> bool:
    if advantage.numel() == 0:
        return False
    highest = torch.where(valid, advantage, -torch.inf).amax(1)
    lowest = torch.where(valid, advantage, torch.inf).amin(1)
    return bool((highest - lowest > 1e-8).any())
