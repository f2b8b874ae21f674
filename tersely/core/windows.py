"""High-entropy windows: positions whose next few tokens have a high mean entropy.

Paper: arXiv 2510.08457 (ARES).
    a window starts at valid token t when the mean entropy of the next `window` valid tokens (t+1 .. t+window, all
    present) is at least the threshold; the averaged tokens are the ones inside
Symbols: entropy, threshold nats; window tokens.
Degenerate: a row of no more than `window` tokens has no window.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window_means(entropy: Tensor, window: int) -> Tensor:
    """(B, T) nats -> (B, max(T - window, 0)): column t is the mean over t+1 .. t+window, float64."""
    width = entropy.shape[1] - window
    if width <= 0:
        return entropy.new_zeros((entropy.shape[0], 0), dtype=torch.float64)
    return entropy.detach().double()[:, 1:].unfold(1, window, 1).mean(-1)


def inside_windows(entropy: Tensor, valid: Tensor, window: int, threshold: float) -> Tensor:
    """(B, T) bool: valid tokens inside a high-entropy window. Masked tokens in between are skipped."""
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
    packed = torch.where(valid, entropy.detach(), 0.0).gather(1, order)
    means = window_means(packed, window)
    places = torch.arange(means.shape[1], device=valid.device)
    starts = (means >= threshold) & (places + window < valid.sum(1, keepdim=True))
    inside = torch.zeros_like(valid)
    for shift in range(1, window + 1):
        inside[:, shift : shift + means.shape[1]] |= starts
    return torch.zeros_like(valid).scatter(1, order, inside) & valid
