"""PEAR, Phase Entropy Aware Reward: correct answers lose reward for the entropy of their thinking, minus that of their answer.

Paper: arXiv 2510.08026. From third-party notes; format_reward and malformed_reward: verify before calling them the paper's.
    correct: min(1, correct_reward - max(0, H_think - alpha H_answer))       incorrect: format_reward, or malformed_reward
Symbols: H mean old-policy entropy (nats) of the row's thinking and answer positions, 0 for an empty phase; alpha (no unit).
Against GRPO: a correct row loses up to its mean entropy.
Degenerate: thinking never closed: all but the last token is thinking and H_answer = 0. Empty thinking: H_think 0, and the full
    reward for alpha >= 0. All correct: the spread is entropy alone. All incorrect: the format levels. One correct, K = 1, equal
    lengths, truncated: the same formula. A correct malformed row scores as correct. Undecided -> nan.
Pitfalls: it rewards confidence, not brevity: watch guard entropy_collapse. In an all-correct group a z-score cancels its
    scale. Entropies are at the training temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, either, formed_rows
from tersely.core.present_tokens import answer_tokens, thinking_tokens
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class PEAR(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a mean entropy above 1 nat makes a correct row negative"
    needs: ClassVar[tuple[str, ...]] = ("entropy", "thinking_end", "answer_start")

    alpha: float = 1.0
    correct_reward: float = 1.0
    format_reward: float = 0.0
    malformed_reward: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "correct_reward", "format_reward", "malformed_reward"):
            require_range(f"pear.{name}", getattr(self, name))

    def __call__(self, rollouts: Rollouts) -> Tensor:
        entropy = rollouts.require("entropy", "pear").double()
        phases = (phase(rollouts, entropy.shape[1], "pear") for phase in (thinking_tokens, answer_tokens))
        thinking, answer = (torch.where(p, entropy, 0.0).sum(1) / p.sum(1).clamp(min=1) for p in phases)
        paid = (self.correct_reward - (thinking - self.alpha * answer).clamp(min=0)).clamp(max=1)
        formed = either(formed_rows(rollouts), self.format_reward, self.malformed_reward)
        right = correct_rows(rollouts)
        return as_reward(torch.where(right, paid.view_as(formed), formed), rollouts)
