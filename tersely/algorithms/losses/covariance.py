"""Per-token covariance of log-prob and advantage; tokens with high values reduce entropy.

Papers: arXiv 2505.22617 (clip_cov, kl_cov), arXiv 2508.03178 (tea_rl), from the released codes.
    cov_it = (A_it - mean A) (logp_it - mean logp)       means over the valid tokens of the micro-batch
Symbols: A advantage (no unit); logp, cov nats.
Degenerate: no valid token -> 0 everywhere; one valid token -> 0.
Pitfalls: always detached; one released implementation lets a gradient through.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.algorithms.losses.common import masked_mean, only_valid
from tersely.core.types import TokenBatch


def token_covariance(batch: TokenBatch) -> Tensor:
    """(B, T) detached float64, 0 where not valid."""
    valid = batch.valid
    advantage = only_valid(batch.advantage.detach(), valid).double()
    logp = only_valid(batch.logp.detach(), valid).double()
    product = (advantage - masked_mean(advantage, valid)) * (logp - masked_mean(logp, valid))
    return torch.where(valid, product, 0.0)
