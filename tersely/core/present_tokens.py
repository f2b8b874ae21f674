"""Masks of the sampled tokens in each row, for the token-level advantages.

Shapes: N = P * K rows, T padded tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.core.types import Rollouts


def present_tokens(rollouts: Rollouts, width: int) -> Tensor:
    """(N, T) bool: position t of row i is a sampled token. A trained prefill precedes them in `token_ids` and is excluded,
    because it was not sampled."""
    places, length = torch.arange(width, device=rollouts.length.device), rollouts.length.unsqueeze(1)
    first = prefilled(rollouts)
    present = (places >= first) & (places < first + length)
    if rollouts.token_ids is not None and rollouts.token_ids.shape[1] == width:
        present = present & (rollouts.token_ids != -1)
    return present


def prefilled(rollouts: Rollouts) -> Tensor:
    """(N, 1) int64: tokens of a trained prefill at the start of a row of `token_ids`; 0 if ids are not known."""
    length = rollouts.length.unsqueeze(1)
    if rollouts.token_ids is None:
        return torch.zeros_like(length)
    return ((rollouts.token_ids != -1).sum(1, keepdim=True) - length).clamp(min=0)
