"""Short-RL: Kimi's length rank on correct rows only, with a tolerance above the shortest, while accuracy holds.

Paper: arXiv 2505.12284, from the released code.
    correct: weight (1/2 if L <= Lmin + length_tolerance, else 1/2 - (L - Lmin)/(Lmax - Lmin + epsilon))       over C
    incorrect: 0                    all 0 while the batch's accuracy < best - accuracy_tolerance
    update: best <- max(best, accuracy), over the decided rows of the batch
Symbols: L, length_tolerance tokens (200 for logic puzzles); C correct rows of the group; best, accuracy shares.
    An additive term: `[{name: correctness, right: 2, wrong: -1.5}, {name: short_rl}]`, or weight 0.29 with correctness 1 / 0.
Against GRPO: an extra term between -weight / 2 and weight / 2 on correct rows.
Degenerate: all incorrect: 0. One correct, K = 1, equal lengths: weight / 2. All correct: the same formula. Truncated: by c.
    Undecided -> nan. No batch yet: the gate is open. No decided row: nothing changes. A correct row stays above an incorrect
    one for weight <= 2.
Pitfalls: `best` is a maximum of noise: after some hundred small batches the gate closes for good. Use a larger tolerance, and
    watch `short_rl/gate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths, max_of, min_of
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass
class ShortRL(Reward):
    includes_outcome: ClassVar[bool] = False
    scope: ClassVar[str] = "batch"

    weight: float = 1.0
    length_tolerance: float = 100
    accuracy_tolerance: float = 0.05
    epsilon: float = 1e-5
    best: float | None = field(init=False, default=None)
    """Highest accuracy of earlier batches."""

    def __post_init__(self) -> None:
        require_range("short_rl.weight", self.weight, at_least=0)
        require_range("short_rl.length_tolerance", self.length_tolerance, at_least=0)
        require_range("short_rl.accuracy_tolerance", self.accuracy_tolerance, at_least=0, at_most=1)
        require_range("short_rl.epsilon", self.epsilon, at_least=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right, length = correct_rows(rollouts), lengths(rollouts)
        shortest, longest = min_of(length, right), max_of(length, right)
        above = length - shortest
        rank = 0.5 - above / (longest - shortest + self.epsilon).clamp(min=1e-30)
        rank = torch.where(above <= self.length_tolerance, 0.5, rank)
        value = torch.where(right, rank, 0.0) if self._open(rollouts) else torch.zeros_like(length)
        return as_reward(self.weight * value, rollouts)

    def update(self, rollouts: Rollouts) -> None:
        if (accuracy := _accuracy(rollouts)) is not None:
            self.best = accuracy if self.best is None else max(self.best, accuracy)

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        return {"short_rl/gate": float(self._open(rollouts))}

    def _open(self, rollouts: Rollouts) -> bool:
        accuracy = _accuracy(rollouts)
        if self.best is None or accuracy is None:
            return True
        return accuracy >= self.best - self.accuracy_tolerance - 1e-9

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state.get("best", self.best)


def _accuracy(rollouts: Rollouts) -> float | None:
    """Share of correct rows among the decided rows of the batch; None without one."""
    decided = rollouts.correct[rollouts.decided]
    return decided.double().mean().item() if len(decided) else None
