"""RLPR: the policy's own probability of the reference answer as the reward; no verifier, no judge.

Paper: arXiv 2506.18254, released code.
    B_i = mean_t p_t        over the tokens of y*, teacher-forced after the rollout's reasoning
    A   = the same with no reasoning, by the initial policy, once a prompt
    r_i = (1 - c) clip(B_i - A, 0, 1) + c f_i - [a 10-word phrase stands 10 times or more]
    keep(group) = std(r) >= beta ema ,   ema_t = 0.99 ema_{t-1} + 0.01 mean std_t
Symbols: y* reference tokens; p_t their probabilities; f_i the format was kept (0, 1); c format weight; beta share of the
    running spread; steps are generation batches.
Against GRPO: a continuous reward in place of the verdict, and this is the one filter that looks at a reward.
Degenerate: y* empty -> nan; one rollout -> spread 0, kept only while the filter sleeps; all malformed -> scores exist,
    f = 0; A = 1 -> 0 for all; undecided rows (nan) are left out of the spread.
Traps: the mean of probabilities, not exp of the mean log: one unexpected token must not zero the score. A long
    reference flatters itself, because its later tokens are predictable. Nothing here asks for brevity: add a term.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tersely.checks import require_range


def mean_probability(logp: Tensor, mask: Tensor) -> Tensor:
    """(B, T) log-probabilities of the spliced texts and a mask of the reference's tokens -> (B,) float32; nan for none."""
    count = mask.sum(1)
    total = torch.where(mask.bool(), logp.double().exp(), 0.0).sum(1)
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan).float()


def repeats(text: str, words: int = 10, times: int = 10) -> bool:
    """Whether a phrase of so many words (split at spaces and underscores) stands so many times or more."""
    parts = [part for part in re.split(r"[\s_]+", text) if part]
    phrases = Counter(zip(*(parts[shift:] for shift in range(words)), strict=False))
    return bool(phrases) and max(phrases.values()) >= times


@dataclass(frozen=True)
class RLPR:
    """(N,) scores, base scores, format flags and repetition flags -> (N,) rewards."""

    format_weight: float = 0.1
    repetition_penalty: float = 1.0

    def __post_init__(self):
        require_range("rlpr.format_weight", self.format_weight, at_least=0, at_most=1)
        require_range("rlpr.repetition_penalty", self.repetition_penalty, at_least=0)

    def __call__(self, score: Tensor, base: Tensor, well_formed: Tensor, repeated: Tensor) -> Tensor:
        gained = (score.double() - base.double()).clamp(0, 1)
        reward = (1 - self.format_weight) * gained + self.format_weight * well_formed.double()
        return (reward - self.repetition_penalty * repeated.double()).float()


@dataclass
class RLPRStd:
    """Groups whose rewards spread at least `beta` times as much as usual. beta: 0.5, 0.9 and 1.0 in the paper, by model."""

    beta: float = 0.5
    decay: float = 0.99
    records_from: int = 6
    acts_from: int = 11
    ema: float | None = field(default=None, init=False)
    step: int = field(default=0, init=False)

    def __post_init__(self):
        require_range("rlpr_std.beta", self.beta, at_least=0)
        require_range("rlpr_std.decay", self.decay, at_least=0, below=1)
        require_range("rlpr_std.records_from", self.records_from, at_least=1)
        require_range("rlpr_std.acts_from", self.acts_from, at_least=self.records_from)

    def __call__(self, rewards: Tensor) -> Tensor:
        """(P, K) rewards of the coming step -> (P,) keep. Only reads."""
        if self.step + 1 < self.acts_from or self.ema is None:
            return torch.ones(rewards.shape[0], dtype=torch.bool)
        return group_std(rewards) >= self.beta * self.ema

    def update(self, rewards: Tensor) -> None:
        """Take the step's (P, K) rewards, unfiltered, into the running spread."""
        self.step += 1
        spread = group_std(rewards).mean().item()
        if self.step >= self.records_from and spread == spread:
            self.ema = spread if self.ema is None else self.decay * self.ema + (1 - self.decay) * spread

    def state_dict(self) -> dict:
        return {"ema": self.ema, "step": self.step}

    def load_state_dict(self, state: dict) -> None:
        self.ema, self.step = state["ema"], state["step"]


def group_std(rewards: Tensor) -> Tensor:
    """(P, K) -> (P,) population standard deviation of the decided rewards; 0 where fewer than two are."""
    values = rewards.double()
    decided = ~values.isnan()
    count = decided.sum(1).clamp(min=1)
    mean = torch.where(decided, values, 0.0).sum(1) / count
    gap = torch.where(decided, values - mean[:, None], 0.0)
    return (gap.square().sum(1) / count).sqrt()
