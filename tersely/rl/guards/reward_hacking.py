"""Guard against reward hacking: reward rises while accuracy falls."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tersely.core.errors import require_range
from tersely.rl.guards.base import Counting

STATISTICS = ("reward", "efficiency/tokens_mean", "verify/accuracy")


@dataclass
class RewardHacking(Counting):
    """Reward rises while tokens and accuracy fall: the length term is gained at the cost of correct answers.

    Compares the mean of the last `window` observations with that of the first.
    """

    name, statistics = "reward_hacking", STATISTICS
    fix = "Lower the weight of the length term, or use a controller such as accuracy_floor"

    threshold: float = 0.05
    """Absolute fall of accuracy."""
    patience: int = 3
    tokens: float = 0.5
    """Share of the beginning's tokens below which the guard counts them as fallen."""
    window: int = 8
    first: list[list[float]] = field(init=False, default_factory=list)
    last: list[list[float]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("guards.reward_hacking.threshold", self.threshold, at_most=1)
        require_range("guards.reward_hacking.tokens", self.tokens, above=0, below=1)
        require_range("guards.reward_hacking.window", self.window, at_least=1)

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.window:
            self.first.append(list(values))
            return None
        self.last = [*self.last, list(values)][-self.window :]
        if len(self.last) < self.window:
            return None
        reward, tokens, accuracy = (fmean(column) for column in zip(*self.first, strict=True))
        now_reward, now_tokens, now_accuracy = (fmean(column) for column in zip(*self.last, strict=True))
        if now_reward <= reward or now_tokens > self.tokens * tokens or now_accuracy >= accuracy - self.threshold:
            return None
        return (
            f"reward rose from {reward:.3f} to {now_reward:.3f}, while tokens fell from {tokens:.4g} to {now_tokens:.4g} "
            f"and accuracy from {accuracy:.3f} to {now_accuracy:.3f} (means of {self.window} batches)"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": self.first, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first, self.last = [list(row) for row in state["first"]], [list(row) for row in state["last"]]
