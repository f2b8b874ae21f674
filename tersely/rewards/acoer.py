"""Acoer: a logarithmic bonus below a moving budget for correct answers, with a weight that follows accuracy.

Paper: arXiv 2606.22716, from the released code, whose defaults are reportedly the paper's.
    correct: 1 + a log(1 + k (1 - min(n / B, 1))) / log(1 + k)        incorrect: format_reward, or malformed_reward
    u-th update, of a batch with a decided row: d = 2 / (ema_span + 1); ema <- d x + (1 - d) ema, the first value sets it,
    for the accuracy and for the mean n of correct rows; a history keeps the last `window` accuracy emas. Where u > warmup and
    the history is full:
        a <- max(alpha_min, a decrease) if oldest - newest > accuracy_drop, else min(alpha_max, a increase)
        B <- max(min_target, target_ratio ema of n)
Symbols: n thinking tokens (`counts: thinking`) or sampled tokens (`all`); B tokens, `initial_target` at first (null: the run's
    cap); a, `alpha` at first; k `curvature`, 0 is the limit 1 - min(n / B, 1); ema_span, window, warmup batches.
Against GRPO: correct answers get a bonus below a moving budget, never less than 1.
Degenerate: no group statistic: all correct, one correct, K = 1, equal lengths, all truncated: the same formula. All incorrect:
    the format levels. A correct malformed row scores as correct. No correct row: the ema of n stays. No decided row: counts as
    an update and changes nothing. Undecided -> nan.
Pitfalls: a grows by 2 % per batch, from alpha to alpha_max within 163 updates after the warm-up. With a cap below
    initial_target there is next to no pressure: set initial_target and min_target. The release counts characters / 4, feeds 0
    into the ema of n for a batch without a correct row, and gives a row without `</think>` length 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import as_reward, correct_rows, either, formed_rows
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass
class Acoer(Reward):
    includes_outcome: ClassVar[bool] = True

    alpha: float = 0.02
    alpha_min: float = 0.01
    alpha_max: float = 0.5
    curvature: float = 5.0
    counts: Literal["thinking", "all"] = "thinking"
    initial_target: int | None = 4096
    target_ratio: float = 0.85
    min_target: int = 512
    ema_span: int = 50
    window: int = 100
    warmup: int = 200
    increase: float = 1.02
    decrease: float = 0.95
    accuracy_drop: float = 0.02
    format_reward: float = 0.0
    malformed_reward: float = 0.0
    current: float = field(init=False)
    """a."""
    target: float | None = field(init=False)
    """B in tokens; None for the run's cap."""
    accuracy: float | None = field(init=False, default=None)
    """ema."""
    tokens: float | None = field(init=False, default=None)
    """ema of n."""
    history: list[float] = field(init=False, default_factory=list)
    updates: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        for name in ("curvature", "accuracy_drop", "warmup"):
            require_range(f"acoer.{name}", getattr(self, name), at_least=0)
        for name in ("initial_target", "target_ratio", "min_target", "increase", "decrease"):
            require_range(f"acoer.{name}", getattr(self, name), above=0)
        require_range("acoer.alpha_min", self.alpha_min, at_least=0)
        require_range("acoer.alpha_max", self.alpha_max, at_least=self.alpha_min)
        require_range("acoer.alpha", self.alpha, at_least=self.alpha_min, at_most=self.alpha_max)
        require_choice("acoer.counts", self.counts, ("thinking", "all"))
        for name in ("ema_span", "window"):
            require_range(f"acoer.{name}", getattr(self, name), at_least=1)
        for name in ("format_reward", "malformed_reward"):
            require_range(f"acoer.{name}", getattr(self, name), at_most=1)
        self.current, self.target = self.alpha, self.initial_target

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = correct_rows(rollouts)
        budget = rollouts.max_length if self.target is None else self.target
        spare = 1 - (self._counted(rollouts).view_as(right) / budget).clamp(max=1)
        if self.curvature:
            spare = torch.log1p(self.curvature * spare) / math.log1p(self.curvature)
        formed = either(formed_rows(rollouts), self.format_reward, self.malformed_reward)
        return as_reward(torch.where(right, 1 + self.current * spare, formed), rollouts)

    def update(self, rollouts: Rollouts) -> None:
        self.updates += 1
        right, decided = rollouts.correct == 1, rollouts.decided
        if not decided.any():
            return
        self.accuracy = self._averaged(self.accuracy, rollouts.correct[decided].double().mean().item())
        if right.any():
            self.tokens = self._averaged(self.tokens, self._counted(rollouts)[right].mean().item())
        self.history = [*self.history, self.accuracy][-self.window :]
        if self.updates <= self.warmup or len(self.history) < self.window:
            return
        if self.history[0] - self.history[-1] > self.accuracy_drop:
            self.current = max(self.alpha_min, self.current * self.decrease)
        else:
            self.current = min(self.alpha_max, self.current * self.increase)
        if self.tokens is not None:
            self.target = max(float(self.min_target), self.target_ratio * self.tokens)

    def _averaged(self, before: float | None, value: float) -> float:
        share = 2 / (self.ema_span + 1)
        return value if before is None else share * value + (1 - share) * before

    def _counted(self, rollouts: Rollouts) -> Tensor:
        """(N,) float64 tokens."""
        if self.counts == "all":
            return rollouts.length.double()
        return rollouts.require("thinking_length", "acoer").double()

    def state_dict(self) -> dict[str, Any]:
        names = ("current", "target", "accuracy", "tokens", "updates")
        return {**{name: getattr(self, name) for name in names}, "history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, list(value) if name == "history" else value)
