"""A-DLP: a linear length penalty whose weight follows the batch accuracy.

Paper: arXiv 2505.18298, from the released code.
    r = c - lambda L
    update: lambda <- max(0, lambda + learning_rate (accuracy - target_accuracy))
Symbols: c verdict; L sampled tokens; lambda reward per token, `penalty` at the start; accuracy the mean verdict over all
    decided rows of the batch.
Against GRPO: a length penalty on correct and incorrect alike, tightened while accuracy is above the target.
Degenerate: no group statistic: all correct, all incorrect, one correct, K = 1, equal lengths, all truncated: the same formula.
    No decided row in the batch: lambda stays. Undecided -> nan.
Pitfalls: 4,000 tokens cost 4 at 1e-3, far more than being correct is worth: it needs a z-score, under which only ratios act.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass
class ADLP(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "a correct answer loses lambda per token, without bound"

    penalty: float = 1e-3
    learning_rate: float = 1e-3
    target_accuracy: float = 0.62
    current: float = field(init=False)
    """lambda, reward per token."""

    def __post_init__(self) -> None:
        require_range("adlp.penalty", self.penalty, at_least=0)
        require_range("adlp.learning_rate", self.learning_rate, at_least=0)
        require_range("adlp.target_accuracy", self.target_accuracy, at_least=0, at_most=1)
        self.current = self.penalty

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return as_reward(correct_rows(rollouts).double() - self.current * lengths(rollouts), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        decided = rollouts.decided
        if decided.any():
            accuracy = rollouts.correct[decided].double().mean().item()
            self.current = max(0.0, self.current + self.learning_rate * (accuracy - self.target_accuracy))

    def state_dict(self) -> dict[str, float]:
        return {"current": self.current}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.current = float(state["current"])
