"""No trim: every row keeps all of its tokens.

Paper: arXiv 2402.03300 (GRPO).
    keep_i = L_i
Against GRPO: this is GRPO.
Degenerate: none.
Pitfalls: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.core.protocols import Trim
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class NoTrim(Trim):
    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.length
