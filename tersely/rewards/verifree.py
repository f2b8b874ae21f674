"""VeriFree: the likelihood of the reference answer after the rollout's own reasoning, as the reward of that reasoning.

Paper: arXiv 2505.21493, released code (the limit of 7 tokens is from secondary sources: verify).
    R_i = prod_t p_t = exp(sum_t log p_t)   over the tokens of y*
    A_i = (R_i - mean R) K / (K - 1)
    supervised weight of y*'s tokens = R_i
Symbols: y* reference tokens; p_t their probabilities after reasoning z_i; K rollouts a prompt; A_i advantage of z_i's tokens.
Against GRPO: no verdict, no division by the spread, no ratio clipping (one update a batch), no KL.
Degenerate: K = 1 -> advantage 0, only the supervised part trains. All R equal -> advantage 0. `answer_missing` -> R = 0.
    y* empty, or longer than `max_tokens` -> nan: the product of a long reference vanishes.
Traps: the supervised part belongs to the gradient; without it the estimator is biased. Split before `<answer`, without
    its `>`, which merges with what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.checks import require_range


@dataclass(frozen=True)
class VeriFree:
    """(N, T) log-probabilities and mask of the reference's tokens, (N,) bool -> (N,) rewards."""

    max_tokens: int = 7

    def __post_init__(self):
        require_range("verifree.max_tokens", self.max_tokens, at_least=1)

    def __call__(self, logp: Tensor, mask: Tensor, answer_missing: Tensor) -> Tensor:
        count = mask.sum(1)
        likelihood = torch.where(mask.bool(), logp.double(), 0.0).sum(1).exp()
        likelihood = torch.where(answer_missing.bool(), 0.0, likelihood)
        return torch.where((count > 0) & (count <= self.max_tokens), likelihood, torch.nan).float()


def leave_one_out(rewards: Tensor, group_size: int) -> Tensor:
    """(N,) rewards -> (N,) advantages against the mean of the others; 0 for K = 1 and for undecided rows."""
    values = rewards.double().view(-1, group_size)
    decided = ~values.isnan()
    count = decided.sum(1, keepdim=True)
    mean = torch.where(decided, values, 0.0).sum(1, keepdim=True) / count.clamp(min=1)
    scaled = (values - mean) * count / (count - 1).clamp(min=1)
    return torch.where(decided & (count > 1), scaled, 0.0).reshape(-1).float()
