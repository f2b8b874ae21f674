"""ARES' entropy reward: number of high-entropy windows of a rollout against a target for its difficulty.

Paper: arXiv 2510.08457 (ARES, its policy optimisation AEPO), from main text and released code, which differ: two forms.
    N_i  windows of row i: tokens t whose next `window` tokens have mean entropy >= threshold (and whose own id is in
         `trigger_ids`);  d bucket of the group: easy p >= easy_rate, medium p >= hard_rate, else hard (tolerance 1e-9)
    threshold null: median over rows with a window of each row's 0.95 quantile of window means
    target = round(mean N of the bucket's decided rows in the batch) or targets[d];  delta = N - target
    released  margin = max(1, margins[d] max(target, 1));  cap = alpha[d] (1, 1, 1.2)[d];  sat(x) = sigmoid(x/temperature[d])
              cost(x) = min(cap, cap hub([x]+) / (margin + k)),  hub Huber's with k = huber[d]
       correct  easy -cost(delta - margin)      medium -cost(|delta| - margin)
              hard cap sat(delta + margin) where delta >= -margin, else -min(cap, cap/2 hub(-delta - margin)/(margin + k))
       incorrect  (0.6, 0.8, 1)[d] cap sat([delta - margin]+)
    paper     -1[incorrect] lambda g(delta), g = [delta]+, |delta|, [-delta]+; lambda = max(0, (mean N - target)/(var N + 1e-8))
Symbols: N, target, delta windows; entropy, threshold nats; p solve rate; var population variance over the bucket.
Against GRPO: an additive term; easy prompts should hesitate less, hard ones may hesitate more. Sum it with `correctness`.
Degenerate: all correct or K = 1: easy or hard by p. Rows too short: N = 0. No row with a window: all N 0. Zero entropy:
    threshold 0, every window counts. Group without decided row, undecided -> nan.
Pitfalls: `paper` without `targets` is always 0, as printed. sat(0) = 0.5 gives every incorrect answer at least 0.3 to 0.6
    alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, reaches, solve_rate
from tersely.core.present_tokens import prefilled
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts
from tersely.core.windows import window_means

BUCKETS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class ARESEntropy(Reward):
    includes_outcome: ClassVar[bool] = False
    scope: ClassVar[str] = "batch"
    violates_outcome_order: ClassVar[str] = (
        "sat(0) = 0.5 rewards every incorrect answer, and a hard group can pay an incorrect one more than a correct one"
    )

    window: int = 4
    threshold: float | None = None
    trigger_ids: tuple[int, ...] | None = None
    easy_rate: float = 2 / 3
    hard_rate: float = 1 / 3
    alpha: tuple[float, ...] = (0.5, 0.5, 0.5)
    margins: tuple[float, ...] = (0.15, 0.25, 0.35)
    huber: tuple[float, ...] = (2.0, 3.0, 4.0)
    temperature: tuple[float, ...] = (2.0, 2.5, 3.0)
    targets: tuple[float, ...] | None = None
    form: Literal["released", "paper"] = "released"

    def __post_init__(self) -> None:
        require_range("ares_entropy.window", self.window, at_least=1)
        require_range("ares_entropy.threshold", self.threshold, at_least=0)
        require_range("ares_entropy.easy_rate", self.easy_rate, at_least=0, at_most=1)
        require_range("ares_entropy.hard_rate", self.hard_rate, at_least=0, at_most=self.easy_rate)
        require_choice("ares_entropy.form", self.form, ("released", "paper"))
        for name in ("alpha", "margins", "huber", "temperature", "targets"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != 3:
                raise ConfigError(f"ares_entropy.{name}: got {list(values)}; expected 3 numbers: easy, medium, hard")
            for value in values:
                if name in ("huber", "temperature"):
                    require_range(f"ares_entropy.{name}", value, above=0)
                else:
                    require_range(f"ares_entropy.{name}", value, at_least=0)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("entropy",) if self.trigger_ids is None else ("entropy", "token_ids")

    def __call__(self, rollouts: Rollouts) -> Tensor:
        decided, right = decided_rows(rollouts), correct_rows(rollouts)
        count = self.counts(rollouts).view_as(decided).double()
        bucket = self._buckets(rollouts).expand_as(decided)
        score = self._released if self.form == "released" else self._paper
        value = torch.zeros_like(count)
        for d in range(3):
            rows = (bucket == d) & decided
            if rows.any():
                value = torch.where(rows, score(count, right, rows, d), value)
        return as_reward(value, rollouts)

    def counts(self, rollouts: Rollouts) -> Tensor:
        """(N,) high-entropy windows of each row."""
        entropy = rollouts.require("entropy", "ares_entropy")
        means = window_means(entropy, self.window)
        places = torch.arange(means.shape[1], device=means.device)
        first = prefilled(rollouts)
        whole = (places >= first) & (places + self.window < first + rollouts.length.unsqueeze(1))
        if rollouts.forced is not None:  # a window with forced tokens does not count
            count = rollouts.length + rollouts.forced.sum(1)
            forced = rollouts.forced[:, : means.shape[1]] | (window_means(rollouts.forced.float(), self.window) > 0)
            whole = (places + self.window < count.unsqueeze(1)) & ~forced
        if not whole.any():
            return torch.zeros(len(entropy), device=means.device)
        threshold = _batch_threshold(means, whole) if self.threshold is None else self.threshold
        high = whole & (means >= threshold)
        if self.trigger_ids is not None:
            ids = rollouts.require("token_ids", "ares_entropy")[:, : means.shape[1]]
            high &= torch.isin(ids, torch.tensor(self.trigger_ids, dtype=ids.dtype, device=ids.device))
        return high.sum(1)

    def _buckets(self, rollouts: Rollouts) -> Tensor:
        """(P, 1) index into BUCKETS."""
        rate = solve_rate(rollouts)
        return torch.where(reaches(rate, self.easy_rate), 0, torch.where(reaches(rate, self.hard_rate), 1, 2))

    def _released(self, count: Tensor, right: Tensor, rows: Tensor, d: int) -> Tensor:
        target = float(self.targets[d]) if self.targets is not None else float(round(count[rows].mean().item()))
        delta = count - target
        margin = max(1.0, self.margins[d] * max(target, 1.0))
        cap, k = self.alpha[d] * (1.0, 1.0, 1.2)[d], self.huber[d]

        def saturated(x: Tensor) -> Tensor:
            return torch.sigmoid(x / self.temperature[d])

        def cost(x: Tensor, share: float = 1.0) -> Tensor:
            return -(share * cap * _huber(x.clamp(min=0), k) / (margin + k)).clamp(max=cap)

        wrong = (0.6, 0.8, 1.0)[d] * cap * saturated((delta - margin).clamp(min=0))
        if d == 2:
            reward = torch.where(delta >= -margin, cap * saturated(delta + margin), cost(-delta - margin, 0.5))
        else:
            reward = cost((delta if d == 0 else delta.abs()) - margin)
        return torch.where(right, reward, wrong)

    def _paper(self, count: Tensor, right: Tensor, rows: Tensor, d: int) -> Tensor:
        chosen = count[rows]
        mean = chosen.mean().item()
        target = mean if self.targets is None else self.targets[d]
        rate = max(0.0, (mean - target) / (chosen.var(correction=0).item() + 1e-8))
        delta = count - target
        gap = (delta.clamp(min=0), delta.abs(), (-delta).clamp(min=0))[d]
        return torch.where(right, 0.0, -rate * gap)


def _huber(x: Tensor, k: float) -> Tensor:
    return torch.where(x <= k, x.square() / (2 * k), x - k / 2)


def _batch_threshold(means: Tensor, whole: Tensor) -> float:
    """Median over the rows with a window of each row's linear 0.95 quantile."""
    rows: Sequence[int] = whole.any(1).nonzero().flatten().tolist()
    quantiles = torch.stack([torch.quantile(means[row][whole[row]], 0.95) for row in rows])
    return torch.quantile(quantiles, 0.5).item()
