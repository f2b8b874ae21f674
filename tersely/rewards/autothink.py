"""AutoThink: trains the model to decide whether to think, with three stages of rewards.

Paper: arXiv 2505.10832. Formulas from the released code; text and hyper-parameters from the paper.
    r0 = 1 / 0 thinking correct / incorrect,  2 / -1 not thinking correct / incorrect,  malformed_reward (then no further term)
    stage 1   z = share of think rows among the decided rows of the whole batch
              d_think = clip((z - gamma) balance, 0, 1) ,   d_no = clip((1 - z - gamma) balance, 0, 1)
              think:    (1 - d_think) r0 + d_think (0 correct, -1 incorrect)
              no_think: (1 - d_no) r0 + d_no (1 correct, -2 incorrect)
    stage 2   r0
    stage 3   y = (L - mean) / std among the group's well-formed correct rows, and among its well-formed incorrect ones
              correct: r0 - 1 + exp(-alpha y) ;   incorrect: r0 + 1 - exp(-beta y)
Symbols: L sampled tokens; z, gamma shares; balance, alpha, beta (no unit); sample std. Modes: `think`, `no_think`.
Against GRPO: the reward depends on the mode, in stage 1 on how often the whole batch uses it.
Degenerate: a class of fewer than two rows or equally long has no length term (so does K = 1). All one mode: its d is 1,
    so that all-think pays 0 / -1. All truncated: by c. z counts malformed rows by their mode. Undecided -> nan.
Pitfalls: z per rank is a different method. Stage 3 rewards long incorrect answers. Malformed (0) beats an incorrect no_think
    (-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.core.group_stats import (
    as_reward,
    correct_rows,
    decided_rows,
    either,
    formed_rows,
    incorrect_rows,
    lengths,
    rows_in_mode,
    zscore_within,
)
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class AutoThink(Reward):
    includes_outcome: ClassVar[bool] = True

    stage: Literal[1, 2, 3] = 1
    gamma: float = 0.5
    balance: float = 2.0
    alpha: float = 0.05
    beta: float = 0.05
    malformed_reward: float = 0.0

    def __post_init__(self) -> None:
        if self.stage not in (1, 2, 3):
            raise ConfigError(f"autothink.stage: got {self.stage}; expected 1, 2 or 3")
        require_range("autothink.gamma", self.gamma, at_least=0, at_most=1)
        require_range("autothink.balance", self.balance, at_least=0)
        require_range("autothink.alpha", self.alpha, at_least=0)
        require_range("autothink.beta", self.beta, at_least=0)
        require_range("autothink.malformed_reward", self.malformed_reward)

    @property
    def scope(self) -> str:
        return "batch" if self.stage == 1 else "group"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        think = self._think(rollouts)
        right = correct_rows(rollouts)
        base = _levels(right, think, (1.0, 0.0), (2.0, -1.0))
        value = base
        if self.stage == 1:
            z = _share(think & decided_rows(rollouts), decided_rows(rollouts))
            d_think = min(max((z - self.gamma) * self.balance, 0.0), 1.0)
            d_no = min(max((1 - z - self.gamma) * self.balance, 0.0), 1.0)
            weight = either(think, d_think, d_no)
            value = (1 - weight) * base + weight * _levels(right, think, (0.0, -1.0), (1.0, -2.0))
        if self.stage == 3:
            value = base + self._length_term(rollouts, right)
        return as_reward(torch.where(formed_rows(rollouts), value, self.malformed_reward), rollouts)

    def _length_term(self, rollouts: Rollouts, right: Tensor) -> Tensor:
        """(P, K) stage 3's term, from lengths standardised among the well-formed rows of the same verdict."""
        length, formed = lengths(rollouts), formed_rows(rollouts)
        y_right = zscore_within(length, right & formed, sample=True)
        y_wrong = zscore_within(length, incorrect_rows(rollouts) & formed, sample=True)
        return torch.where(right, (-self.alpha * y_right).exp() - 1, 1 - (-self.beta * y_wrong).exp())

    @staticmethod
    def _think(rollouts: Rollouts) -> Tensor:
        think = rows_in_mode(rollouts, "think", "autothink")
        other = ~(think | rows_in_mode(rollouts, "no_think", "autothink"))
        if other.any():
            name = rollouts.require("mode", "autothink")[int(other.flatten().nonzero()[0])]
            raise ValueError(f"autothink: rollouts.mode: got {name!r}; expected 'think' or 'no_think'")
        return think


def _levels(right: Tensor, think: Tensor, thinking: tuple[float, float], not_thinking: tuple[float, float]) -> Tensor:
    """(P, K) float64: (correct, incorrect) of the two modes."""
    return torch.where(think, either(right, *thinking), either(right, *not_thinking))


def _share(chosen: Tensor, among: Tensor) -> float:
    """Share over the whole batch; 0 for an empty batch."""
    return chosen.sum().item() / max(among.sum().item(), 1)
