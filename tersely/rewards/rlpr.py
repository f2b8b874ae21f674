"""RLPR: the policy's probability of the reference answer as the reward, without verifier or judge.

Paper: arXiv 2506.18254, released code.
    B_i = mean_t p_t        over the tokens of y*, teacher-forced after the rollout's reasoning
    A   = the same with no reasoning, by the initial policy, once per prompt
    r_i = (1 - c) clip(B_i - A, 0, 1) + c f_i - [a 10-word phrase occurs 10 times or more]
Symbols: y* reference tokens; p_t their probabilities; f_i the format was kept (0, 1); c format weight.
Against GRPO: a continuous reward in place of the verdict; its filter is `rlpr_std`, its format that of the prompting `rlpr`.
Degenerate: y* empty -> nan; no output contract -> every row is well formed; all malformed -> scores exist, f = 0;
    A = 1 -> 0 for all; undecided rows -> nan, as in every
    reward, although the verdict is not used.
Pitfalls: the mean of probabilities, not exp of the mean log: one unexpected token must not zero the score. A long
    reference has a high score, because its later tokens are predictable. There is no length term: add one.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import formed_rows
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


def mean_probability(logp: Tensor, mask: Tensor) -> Tensor:
    """(B, T) log-probabilities of the spliced texts and a mask of the reference's tokens -> (B,) float32; nan for none."""
    count = mask.sum(1)
    total = torch.where(mask.bool(), logp.double().exp(), 0.0).sum(1)
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan).float()


def repeats(text: str, words: int = 10, times: int = 10) -> bool:
    """True if a phrase of `words` words (split at spaces and underscores) occurs at least `times` times."""
    parts = [part for part in re.split(r"[\s_]+", text) if part]
    phrases = Counter(zip(*(parts[shift:] for shift in range(words)), strict=False))
    return bool(phrases) and max(phrases.values()) >= times


@dataclass(frozen=True)
class RLPR(Reward):
    """Scores, base scores, format and repetition of (N,) rollouts -> (N,) rewards."""

    format_weight: float = 0.1
    repetition_penalty: float = 1.0
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("reference_score", "reference_base", "repeated")
    violates_outcome_order: ClassVar[str] = (
        "it does not use the verdict: an incorrect rollout may make the reference likelier"
    )

    def __post_init__(self) -> None:
        require_range("rlpr.format_weight", self.format_weight, at_least=0, at_most=1)
        require_range("rlpr.repetition_penalty", self.repetition_penalty, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        score = rollouts.require("reference_score", "rlpr").double()
        gained = (score - rollouts.require("reference_base", "rlpr").double()).clamp(0, 1)
        formed = formed_rows(rollouts).flatten().double()
        reward = (1 - self.format_weight) * gained + self.format_weight * formed
        reward = reward - self.repetition_penalty * rollouts.require("repeated", "rlpr").double()
        return torch.where(rollouts.decided, reward, torch.nan).float()
