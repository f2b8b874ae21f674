"""Quantiles of token statistics of any size: `torch.quantile` accepts at most 2^24 elements.

linear    torch.quantile's default, between the two neighbours of position q (n - 1)
nearest   element floor(q (n - 1) + 0.5) of the sorted values
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TORCH_LIMIT = 2**24
"""Maximum number of elements of `torch.quantile`."""


def linear_quantile(values: Tensor, q: float) -> Tensor:
    """() linear quantile of a non-empty 1-d tensor, detached."""
    values = values.detach()
    if values.numel() <= TORCH_LIMIT:
        return torch.quantile(values, q)
    ordered = values.sort().values
    place = q * (values.numel() - 1)
    below = math.floor(place)
    above = min(below + 1, values.numel() - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)


def nearest_quantile(values: Tensor, q: float) -> Tensor:
    """() nearest quantile of a non-empty 1-d tensor, detached."""
    ordered = values.detach().sort().values
    return ordered[math.floor(q * (values.numel() - 1) + 0.5)]


def row_quantiles(values: Tensor, valid: Tensor, q: float) -> Tensor:
    """(B, 1) linear quantile over the valid tokens of each row; nan for a row without any."""
    if values.numel() == 0:
        return values.new_full((values.shape[0], 1), torch.nan)
    return torch.nanquantile(torch.where(valid, values.detach(), torch.nan), q, dim=1, keepdim=True)
