"""Entropy-ranked SFT: trains only on tokens with a high loss relative to their entropy.

Paper: arXiv 2508.03178 (Light-IF), from the released code; the defaults are the published command's (the code's: 0.2
and 1.0).
    s = NLL - entropy_weight H, detached ;    the top max(1, floor(fraction n)) valid tokens have weight 1, others 0
    loss = mean NLL over the kept
Symbols: NLL, H, s nats; n valid tokens of the micro-batch.
Against plain SFT: confident tokens, and tokens as uncertain as expected, are dropped.
Degenerate: n = 0 -> loss 0. Equal s: the lowest flat index first.
Pitfalls: with a global token count divide by `kept_count(num_items)`: int(num_items fraction) alone can be 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.losses.common import masked_mean, only_valid
from tersely.core.errors import require_range
from tersely.core.sft_loss import SFTLoss


@dataclass(frozen=True)
class EntropySFT(SFTLoss):
    fraction: float = 0.8
    entropy_weight: float = 0.8

    def __post_init__(self) -> None:
        require_range("entropy_sft.fraction", self.fraction, above=0, at_most=1)
        require_range("entropy_sft.entropy_weight", self.entropy_weight, at_least=0)

    def kept_count(self, tokens: int) -> int:
        """Number of kept tokens out of `tokens`, at least one."""
        return max(1, math.floor(self.fraction * tokens))

    def __call__(self, nll: Tensor, entropy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) nats, nats, 0/1 -> weights (B, T) and the loss."""
        valid = mask.to(torch.bool)
        nll = only_valid(nll, valid)
        score = (nll.detach() - self.entropy_weight * only_valid(entropy.detach(), valid)).flatten()
        places = valid.flatten().nonzero().flatten()
        kept = torch.zeros_like(valid.flatten())
        if len(places):
            order = score[places].sort(descending=True, stable=True).indices
            kept[places[order[: self.kept_count(len(places))]]] = True
        kept = kept.view_as(valid)
        return kept.to(nll.dtype), masked_mean(nll, kept)
