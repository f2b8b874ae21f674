"""Acoer: a logarithmic bonus below a moving budget for correct answers, with a weight that follows accuracy.

Paper: arXiv 2606.22716. From secondary sources; alpha, min_target, ema_decay, bonus_floor, format_reward and
malformed_reward: verify before calling them the paper's.
    correct: 1 + a max(log(1 + k (1 - L / B)) / log(1 + k), bonus_floor)      (an argument <= 0 counts as the floor)
    incorrect: format_reward if well formed, else malformed_reward
    B = max(min_target, target_ratio ema) ;   the run's cap before the first correct row was seen
    update: ema <- ema_decay ema + (1 - ema_decay) mean correct length of the batch (the first value sets it);
        every `adjust_every`-th update, where the window of batch accuracies is not empty: if there is a previous window
        mean, a <- a decrease when now < previous - accuracy_drop, else a increase; then a new window starts
Symbols: L, B, ema sampled tokens; k `curvature`, a (no unit; `alpha` at the start).
Against GRPO: correct answers get a bonus below a moving budget.
Degenerate: no group statistic: all correct, one correct, K = 1, equal lengths, all truncated: the same formula. All incorrect:
    the format levels. A correct malformed row scores as correct. No correct row in a batch: ema stays. Undecided -> nan.
Pitfalls: the budget follows the policy's own lengths down to `min_target`. `a` grows without bound while accuracy holds;
    outcome order holds while a |bonus_floor| <= 1 - format_reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward, correct_rows, either, formed_rows, lengths
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass
class Acoer(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.2
    curvature: float = 5.0
    target_ratio: float = 0.85
    min_target: int = 512
    ema_decay: float = 0.9
    bonus_floor: float = -1.0
    format_reward: float = 0.0
    malformed_reward: float = 0.0
    adjust_every: int = 100
    increase: float = 1.02
    decrease: float = 0.95
    accuracy_drop: float = 0.02
    current: float = field(init=False)
    """a."""
    ema: float | None = field(init=False, default=None)
    """Tokens."""
    window: list[float] = field(init=False, default_factory=list)
    previous: float | None = field(init=False, default=None)
    updates: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        for name in ("alpha", "accuracy_drop"):
            require_range(f"acoer.{name}", getattr(self, name), at_least=0)
        for name in ("curvature", "target_ratio", "min_target", "increase", "decrease"):
            require_range(f"acoer.{name}", getattr(self, name), above=0)
        require_range("acoer.ema_decay", self.ema_decay, at_least=0, at_most=1)
        require_range("acoer.bonus_floor", self.bonus_floor, at_most=1)
        require_range("acoer.format_reward", self.format_reward, at_most=1)
        require_range("acoer.malformed_reward", self.malformed_reward, at_most=1)
        require_range("acoer.adjust_every", self.adjust_every, at_least=1)
        self.current = self.alpha

    def __call__(self, rollouts: Rollouts) -> Tensor:
        budget = rollouts.max_length if self.ema is None else max(self.min_target, self.target_ratio * self.ema)
        argument = 1 + self.curvature * (1 - lengths(rollouts) / budget)
        bonus = argument.clamp(min=1e-300).log() / math.log1p(self.curvature)
        paid = 1 + self.current * torch.where(argument > 0, bonus, self.bonus_floor).clamp(min=self.bonus_floor)
        formed = either(formed_rows(rollouts), self.format_reward, self.malformed_reward)
        return as_reward(torch.where(correct_rows(rollouts), paid, formed), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        right, decided = rollouts.correct == 1, rollouts.decided
        if right.any():
            mean = rollouts.length[right].double().mean().item()
            self.ema = mean if self.ema is None else self.ema_decay * self.ema + (1 - self.ema_decay) * mean
        if decided.any():
            self.window.append(rollouts.correct[decided].double().mean().item())
        self.updates += 1
        if self.updates % self.adjust_every == 0 and self.window:
            now = sum(self.window) / len(self.window)
            if self.previous is not None:
                self.current *= self.decrease if now < self.previous - self.accuracy_drop else self.increase
            self.previous, self.window = now, []

    def state_dict(self) -> dict[str, Any]:
        names = ("current", "ema", "previous", "updates")
        return {**{name: getattr(self, name) for name in names}, "window": list(self.window)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, list(value) if name == "window" else value)
