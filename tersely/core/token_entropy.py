"""Entropy statistics of heterogeneous HAPO: the position of a token's log-entropy between the extremes of a batch.

Paper: arXiv 2509.16591, from the released code.
    l = log(max(H, floor));  pivot = nearest quantile of l;  upper = max l - pivot;  lower = pivot - min l
    spread = sqrt(mean (l - pivot)^2)
    position = (l - pivot) / max(upper, 1e-6) where l > pivot, else (l - pivot) / max(lower, 1e-6)
Symbols: H entropy, nats; l, pivot, upper, lower, spread log nats; position in [-1, 1], negative for low entropy.
Degenerate: no valid token -> no statistics (None). Constant entropy -> upper = lower = 0 and position 0.
Pitfalls: computed in float64, so that scaling all H does not change the position.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tersely.core.quantiles import nearest_quantile

SMALLEST_SPAN = 1e-6
"""Minimum divisor of the position, log nats."""


def log_entropy(entropy: Tensor, floor: float) -> Tensor:
    """float64 log of the entropy, not below log(floor)."""
    return entropy.detach().double().clamp(min=floor).log()


def entropy_statistics(entropy: Tensor, mask: Tensor, quantile: float, floor: float) -> dict[str, float] | None:
    """(pivot, spread, upper, lower) over the tokens with mask 1; None without such tokens."""
    tensors = statistics_of(log_entropy(entropy[mask.to(torch.bool)], floor), quantile)
    return None if tensors is None else {name: value.item() for name, value in tensors.items()}


def statistics_of(log_entropies: Tensor, quantile: float) -> dict[str, Tensor] | None:
    """The same statistics from a 1-d tensor of log-entropies, as tensors on its device."""
    if log_entropies.numel() == 0:
        return None
    pivot = nearest_quantile(log_entropies, quantile)
    return {
        "pivot": pivot,
        "spread": (log_entropies - pivot).square().mean().sqrt(),
        "upper": log_entropies.max() - pivot,
        "lower": pivot - log_entropies.min(),
    }


def position(log_entropies: Tensor, statistics: Mapping[str, Tensor | float]) -> Tensor:
    """Position of each log-entropy, any shape, float64 in [-1, 1]; clamped beyond the extremes of the statistics."""
    upper, lower = (
        torch.as_tensor(statistics[side], dtype=torch.float64, device=log_entropies.device).clamp(min=SMALLEST_SPAN)
        for side in ("upper", "lower")
    )
    gap = log_entropies - statistics["pivot"]
    return torch.where(gap > 0, gap / upper, gap / lower).clamp(-1.0, 1.0)
