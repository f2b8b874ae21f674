"""Thinkless: a higher reward for a correct answer in short mode than in thinking mode.

Paper: arXiv 2505.13379, from the released code. The loss that weighs the control token against the response (DeGRPO) is a
matter of the loss slot.
    r = correct_short correct in mode `short`,  correct_think correct otherwise,  wrong_reward incorrect,
        malformed_reward not well formed
Symbols: rewards (no unit). The control tokens `<short>` and `<think>` come first in the completion.
Against GRPO: the level of a correct answer depends on the mode.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths and all truncated need no rule.
    Undecided -> nan.
Pitfalls: with the control token at full weight the mode collapses early; the model needs fine-tuning on both tokens first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, either, formed_rows, rows_in_mode
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Thinkless(Reward):
    includes_outcome: ClassVar[bool] = True

    correct_short: float = 1.0
    correct_think: float = 0.5
    wrong_reward: float = -1.0
    malformed_reward: float = -1.0

    def __post_init__(self) -> None:
        require_range("thinkless.correct_short", self.correct_short)
        require_range("thinkless.correct_think", self.correct_think)
        require_range("thinkless.wrong_reward", self.wrong_reward, at_most=min(self.correct_short, self.correct_think))
        require_range("thinkless.malformed_reward", self.malformed_reward)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        short = rows_in_mode(rollouts, "short", "thinkless")
        paid = either(short, self.correct_short, self.correct_think)
        value = torch.where(correct_rows(rollouts), paid, self.wrong_reward)
        return as_reward(torch.where(formed_rows(rollouts), value, self.malformed_reward), rollouts)
