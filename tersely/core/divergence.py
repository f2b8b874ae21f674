"""Divergences between distributions over the vocabulary, from log-probs (C, V) in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_divergence(first: Tensor, second: Tensor) -> Tensor:
    """(C,) nats: KL(first || second). A token of probability 0 under `first` adds nothing."""
    p = first.exp()
    return (p * torch.where(p > 0, first - second, 0.0)).sum(-1)


def entropy_of(logp: Tensor) -> Tensor:
    """(C,) nats."""
    p = logp.exp()
    return -(p * torch.where(p > 0, logp, 0.0)).sum(-1)
