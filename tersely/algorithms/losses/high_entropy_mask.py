"""80/20: trains only on the tokens with high entropy (forking tokens).

Paper: arXiv 2506.01939 (Beyond the 80/20 Rule; details from secondary sources), as in TRL.
    L_it = base_it where H_it >= linear quantile (1 - fraction) of the micro-batch's entropies, else 0
Symbols: H nats; fraction share of tokens kept; `rescale: kept` multiplies by n / n_kept, tokens over kept tokens.
Against GRPO: about a fifth of the tokens, and with `rescale: none` (TRL's divisor) about a fifth of the step.
Degenerate: all H equal: everything is kept. `fraction: 1` equals the base. Empty batch -> 0.
Pitfalls: mask the policy term only: `kl_penalty` belongs around this wrapper, not in it. Always report `rescale`.
    The quantile is of the micro-batch, so its size is part of the method.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import masked, only_valid
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import require_choice, require_range
from tersely.core.protocols import Loss
from tersely.core.quantiles import linear_quantile
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class HighEntropyMask(Wrapper):
    masks_tokens: ClassVar[bool] = True

    fraction: float = 0.2
    rescale: Literal["none", "kept"] = "none"
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_range("high_entropy_mask.fraction", self.fraction, above=0, at_most=1)
        require_choice("high_entropy_mask.rescale", self.rescale, ("none", "kept"))

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = self.base(batch)
        valid = batch.valid
        kept = self._kept(only_valid(batch.require("entropy", "high_entropy_mask").detach(), valid), valid)
        count, kept_count = valid.sum(), kept.sum()
        if self.rescale == "kept":
            loss = loss * (count / kept_count.clamp(min=1)).to(loss.dtype)
        share = kept_count / count.clamp(min=1)
        return masked(loss, kept), metrics | {"high_entropy_mask/kept_share": share}

    def _kept(self, entropy: Tensor, valid: Tensor) -> Tensor:
        """(B, T) bool."""
        values = entropy[valid]
        if values.numel() == 0:
            return torch.zeros_like(valid)
        return valid & (entropy >= linear_quantile(values, 1 - self.fraction))
