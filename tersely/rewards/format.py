"""Format: reward for keeping the prompting's output contract (thinking closed, an answer given, tags in order).

Paper: arXiv 2501.12948 (DeepSeek-R1's format reward).
    r_i = well_formed if row i is well formed, else malformed
Symbols: r_i reward (no unit). An additive term: write `[{name: correctness}, {name: format, weight: 0.2}]`.
Against GRPO: an extra term.
Degenerate: `rollouts.well_formed` None -> every row is well formed, a constant that no advantage sees. Undecided -> nan.
Pitfalls: the contract is checked on prompt tail plus completion, because chat templates open `<think>` themselves; a
    malformed correct row may be worth less than a well-formed incorrect one only if the weight exceeds correctness'.
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
class Format(Reward):
    includes_outcome: ClassVar[bool] = False

    well_formed: float = 1.0
    malformed: float = 0.0

    def __post_init__(self) -> None:
        require_range("format.well_formed", self.well_formed)
        require_range("format.malformed", self.malformed, at_most=self.well_formed)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        formed = rollouts.well_formed
        if formed is None:
            formed = torch.ones_like(rollouts.truncated)
        value = torch.where(formed, self.well_formed, self.malformed)
        return torch.where(rollouts.decided, value, torch.nan).float()
