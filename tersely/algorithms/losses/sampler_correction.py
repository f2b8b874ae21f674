"""Sampler correction: importance weights from the rollout engine's distribution to the trainer's.

Source: verl and TRL (truncated and masked importance sampling); no single paper.
    d = old - sampler (nan counts as 0);   L = w base
    token_*     w = exp(clamp(d)) of each token        sequence_*  w = exp(clamp(sum over the row's tokens of d))
    *_truncate  clip(w, floor, cap)                    *_mask      w where floor <= w <= cap, else 0
Symbols: d nats; w, floor, cap ratios. w carries no gradient.
Against GRPO: corrects the engine's rounding and an adaptive temperature.
Degenerate: no nan, old = sampler: w = 1 and it equals the base. A fully masked row: w = 1, loss 0.
Pitfalls: sequence modes sum over tokens and so mask long completions first: watch `sampler/masked_share`. TRL's own
    correction must be off, or the weight is applied twice. An adaptive temperature goes with token_truncate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import LIMIT, masked, masked_mean, only_valid
from tersely.algorithms.losses.dppo import DPPO
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.protocols import Loss, loss_chain
from tersely.core.types import TokenBatch

MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


@dataclass(frozen=True)
class SamplerCorrection(Wrapper):
    needs_sampler_logp: ClassVar[bool] = True

    mode: Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] = "token_truncate"
    cap: float = 2.0
    floor: float = 0.0
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_choice("sampler_correction.mode", self.mode, MODES)
        require_range("sampler_correction.cap", self.cap, above=0)
        require_range("sampler_correction.floor", self.floor, at_least=0, at_most=self.cap)
        if any(isinstance(part, DPPO) and part.needs_sampler_logp for part in loss_chain(self.base)):
            raise ConfigError(
                "sampler_correction.base: got dppo with anchor sampler, which already divides by the engine's probabilities. "
                "Remove sampler_correction, or use anchor: old"
            )

    @property
    def weighs_whole_rows(self) -> bool:
        return self.mode.startswith("sequence")

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        sampler = batch.require("sampler_logp", "sampler_correction")
        loss, metrics = self.base(batch)
        valid = batch.valid
        with torch.no_grad():
            d = (only_valid(batch.old_logp, valid) - only_valid(sampler, valid)).nan_to_num(0.0)
            if self.mode.startswith("sequence"):
                d = d.sum(1, keepdim=True).expand_as(loss)
            raw = d.clamp(-LIMIT, LIMIT).exp()
            outside = (raw < self.floor) | (raw > self.cap)
            weight = raw.masked_fill(outside, 0.0) if self.mode.endswith("mask") else raw.clamp(self.floor, self.cap)
            share = masked_mean(outside.to(loss.dtype), valid)
            is_mask = self.mode.endswith("mask")
            metrics = metrics | {
                "sampler/weight_mean": masked_mean(weight, valid),
                "sampler/masked_share": share if is_mask else torch.zeros_like(share),
                "sampler/truncated_share": torch.zeros_like(share) if is_mask else share,
            }
        return masked(weight.to(loss.dtype) * loss, valid), metrics
