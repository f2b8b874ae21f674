"""S-GRPO: rewards correct answers at early exits of a trace more than those at later exits.

Paper: arXiv 2505.07686, from secondary sources: verify the constants before calling them the paper's.
    r = decay^(correct rows with an earlier exit) for a correct row,   0 for an incorrect one
Symbols: decay no unit; the rows of a group in the order of their exits from one trace (ties by position).
Against GRPO: the whole reward. The rows come from prompting `s_grpo`, whose last row is the trace itself.
Degenerate: all incorrect: 0. One correct: 1, at any exit. All correct: 1, decay, decay^2, ..: the full trace gets least. K = 1:
    the verdict. Truncated: by c; the exits of a truncated trace may be correct. Undecided -> nan, counted by no row.
Pitfalls: it needs `exit`. With one trace per prompt nothing reduces the variance over traces. Tokens that rows share get the
    credits of all later exits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class SGRPO(Reward):
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("exit",)

    decay: float = 0.5

    def __post_init__(self) -> None:
        require_range("s_grpo.decay", self.decay, above=0, at_most=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        exits, right = rollouts.grouped(rollouts.require("exit", "s_grpo")), correct_rows(rollouts)
        places = torch.arange(exits.shape[1], device=exits.device)
        own, other = exits.unsqueeze(2), exits.unsqueeze(1)
        earlier = (other < own) | ((other == own) & (places < places.unsqueeze(1)))
        before = (earlier & right.unsqueeze(1)).sum(2).double()
        return as_reward(torch.where(right, self.decay**before, 0.0), rollouts)
