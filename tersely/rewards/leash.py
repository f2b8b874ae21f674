"""LEASH: a penalty beyond a target length, whose weight follows the mean length.

Paper: arXiv 2512.21540. From secondary sources; every constant: verify before calling it the paper's.
    r = clip(base - lambda max(0, L / target_length - 1), -1, 1) ,   base = 1 correct, wrong_reward incorrect
    update: lambda <- clip(lambda + learning_rate (mean L / target_length - 1), 0, max_penalty)
Symbols: L sampled tokens; target_length tokens; lambda (no unit), `penalty` at the start; the mean is over all decided
    rows of the batch.
Against GRPO: dual ascent on the constraint "mean length at most target_length".
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths, all truncated: the same formula.
    No decided row in the batch: lambda stays. Undecided -> nan.
Pitfalls: it penalises incorrect answers too; with `penalty: 0` nothing happens before the first update.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, either, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass
class LEASH(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = (
        "a correct answer far beyond the target is clipped at -1, a short incorrect one is not"
    )

    target_length: int = 4096
    penalty: float = 0.0
    learning_rate: float = 0.05
    max_penalty: float = 1.0
    wrong_reward: float = 0.0
    current: float = field(init=False)
    """lambda."""

    def __post_init__(self) -> None:
        require_range("leash.target_length", self.target_length, above=0)
        require_range("leash.penalty", self.penalty, at_least=0)
        require_range("leash.learning_rate", self.learning_rate, at_least=0)
        require_range("leash.max_penalty", self.max_penalty, at_least=0)
        require_range("leash.wrong_reward", self.wrong_reward, at_most=1)
        self.current = self.penalty

    def __call__(self, rollouts: Rollouts) -> Tensor:
        base = either(correct_rows(rollouts), 1.0, self.wrong_reward)
        excess = (lengths(rollouts) / self.target_length - 1).clamp(min=0)
        return as_reward((base - self.current * excess).clamp(-1, 1), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        decided = rollouts.decided
        if decided.any():
            excess = rollouts.length[decided].double().mean().item() / self.target_length - 1
            self.current = min(max(self.current + self.learning_rate * excess, 0.0), self.max_penalty)

    def state_dict(self) -> dict[str, float]:
        return {"current": self.current}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.current = float(state["current"])
