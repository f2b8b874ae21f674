"""Guard against reward hacking: reward rises while accuracy falls."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from tersely.configs.guards import RewardHackingSpec
from tersely.rl.guards.base import Counting

STATISTICS = ("reward", "efficiency/tokens_mean", "verify/accuracy")


class RewardHacking(Counting):
    """Reward rises while tokens and accuracy fall: the length term is gained at the cost of correct answers.

    Compares the mean of the last `window` observations with that of the first.
    """

    spec: RewardHackingSpec
    statistics = STATISTICS
    fix = "Lower the weight of the length term, or use a controller such as accuracy_floor"

    def __init__(self, spec: RewardHackingSpec):
        super().__init__(spec)
        self.first: list[list[float]] = []
        self.last: list[list[float]] = []

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.spec.window:
            self.first.append(list(values))
            return None
        self.last = [*self.last, list(values)][-self.spec.window :]
        if len(self.last) < self.spec.window:
            return None
        reward, tokens, accuracy = (fmean(column) for column in zip(*self.first, strict=True))
        now_reward, now_tokens, now_accuracy = (fmean(column) for column in zip(*self.last, strict=True))
        if (
            now_reward <= reward
            or now_tokens > self.spec.tokens * tokens
            or now_accuracy >= accuracy - self.spec.threshold
        ):
            return None
        return (
            f"reward rose from {reward:.3f} to {now_reward:.3f}, while tokens fell from {tokens:.4g} to {now_tokens:.4g} "
            f"and accuracy from {accuracy:.3f} to {now_accuracy:.3f} (means of {self.spec.window} batches)"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": self.first, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first, self.last = [list(row) for row in state["first"]], [list(row) for row in state["last"]]
