"""Entropy bonus: adds an entropy term to a loss. Used by the controller `entropy_target`.

Source: as in arXiv 2505.22312 (Skywork-OR1), from the released code.
    L_it = base_it - coefficient H_it ,   H with gradient
Symbols: H nats, of the current policy; coefficient (no unit). The mean over tokens is the aggregate's.
Against GRPO: one additional term.
Degenerate: coefficient 0 or no valid token: the base.
Pitfalls: the bonus follows the aggregate: under `sequence` long rows count no more than short ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.common import masked, only_valid
from tersely.algorithms.losses.wrapper import Wrapper
from tersely.core.errors import require_range
from tersely.core.protocols import Loss
from tersely.core.types import TokenBatch


@dataclass(frozen=True)
class EntropyBonus(Wrapper):
    coefficient: float = 0.0
    base: Loss = field(default_factory=Clip)

    def __post_init__(self) -> None:
        require_range("entropy_bonus.coefficient", self.coefficient, at_least=0)

    @property
    def needs_live_entropy(self) -> bool:
        return True

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = self.base(batch)
        entropy = only_valid(batch.require("live_entropy", "entropy_bonus"), batch.valid)
        return loss - masked(self.coefficient * entropy, batch.valid), metrics
