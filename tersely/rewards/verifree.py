"""VeriFree: the likelihood of the reference answer after the rollout's reasoning, as the reward of that reasoning.

Paper: arXiv 2505.21493, released code (the limit of 7 tokens is from secondary sources: verify).
    R_i = prod_t p_t = exp(sum_t log p_t)   over the tokens of y*
    A_i = (R_i - mean R) K / (K - 1)        advantage `rloo`
    supervised weight of y*'s tokens = R_i   not in this reward: see Pitfalls
Symbols: y* reference tokens; p_t their probabilities after reasoning z_i; K rollouts per prompt; A_i advantage of z_i's tokens.
Against GRPO: no verdict, no division by the spread, no ratio clipping (one update per batch), no KL.
Degenerate: K = 1 -> advantage 0. All R equal -> advantage 0. No answer after the thinking (log-probability -inf) -> R = 0.
    y* empty, or longer than `max_tokens` -> nan: the product of a long reference vanishes. Undecided rows -> nan.
Pitfalls: the supervised part belongs to the gradient; without it, as here, the estimator is biased (it learns to reason
    towards y*, not to write it). z ends where the answer opens (rl/rollouts/reference_score.py); a model that answers in
    boxes needs the prompting for boxes, or R = 0 for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class VeriFree(Reward):
    """(N,) summed log-probabilities of the references and their tokens -> (N,) rewards."""

    max_tokens: int = 7
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("reference_logp", "reference_tokens")
    violates_outcome_order: ClassVar[str] = (
        "it does not use the verdict: an incorrect rollout may make the reference likelier"
    )
    label: ClassVar[str] = "adapted: the supervised term on the reference's tokens is not trained"

    def __post_init__(self) -> None:
        require_range("verifree.max_tokens", self.max_tokens, at_least=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        likelihood = rollouts.require("reference_logp", "verifree").double().exp()
        count = rollouts.require("reference_tokens", "verifree")
        known = rollouts.decided & (count > 0) & (count <= self.max_tokens)
        return torch.where(known, likelihood, torch.nan).float()
