"""Masks of the tokens in each row, for token-level components.

Shapes: N = P * K rows, T padded tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.core.types import Rollouts


def present_tokens(rollouts: Rollouts, width: int) -> Tensor:
    """(N, T) bool: position t of row i is a token. A trained prefill at the start of `token_ids` is excluded, because it was
    not sampled; `forced` tokens are included."""
    places, length = torch.arange(width, device=rollouts.length.device), rollouts.length.unsqueeze(1)
    if rollouts.forced is not None:
        return places < length + rollouts.forced.sum(1, keepdim=True)
    first = prefilled(rollouts)
    present = (places >= first) & (places < first + length)
    if rollouts.token_ids is not None and rollouts.token_ids.shape[1] == width:
        present = present & (rollouts.token_ids != -1)
    return present


def sampled_tokens(rollouts: Rollouts, width: int) -> Tensor:
    """(N, T) bool: position t of row i is a sampled token. Statistics of a row use only these."""
    present = present_tokens(rollouts, width)
    return present if rollouts.forced is None else present & ~rollouts.forced[:, :width]


def thinking_tokens(rollouts: Rollouts, width: int, component: str) -> Tensor:
    """(N, T) bool: sampled positions of the thinking. In a row that never closes it, the last position is left out."""
    end = torch.minimum(rollouts.require("thinking_end", component), positions(rollouts) - 1)
    return sampled_tokens(rollouts, width) & (torch.arange(width, device=end.device) < end.unsqueeze(1))


def answer_tokens(rollouts: Rollouts, width: int, component: str) -> Tensor:
    """(N, T) bool: sampled positions of the answer; none in a row that never closes its thinking."""
    start = rollouts.require("answer_start", component)
    return sampled_tokens(rollouts, width) & (torch.arange(width, device=start.device) >= start.unsqueeze(1))


def positions(rollouts: Rollouts) -> Tensor:
    """(N,) int64: number of positions of each row, sampled and forced; with a trained prefill, the prefill too."""
    if rollouts.forced is not None:
        return rollouts.length + rollouts.forced.sum(1)
    return rollouts.length + prefilled(rollouts).squeeze(1)


def prefilled(rollouts: Rollouts) -> Tensor:
    """(N, 1) int64: tokens of a trained prefill at the start of a row of `token_ids`; 0 if ids are not known."""
    length = rollouts.length.unsqueeze(1)
    if rollouts.forced is not None:
        return rollouts.forced.long().cumprod(1).sum(1, keepdim=True)
    if rollouts.token_ids is None:
        return torch.zeros_like(length)
    return ((rollouts.token_ids != -1).sum(1, keepdim=True) - length).clamp(min=0)
